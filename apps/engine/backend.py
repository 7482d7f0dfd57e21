"""What a server asks of whatever computes the answers. The HTTP layer (``apps.engine.http``) knows nothing else of it, and needs none of
its packages.

A backend is loaded once, off the event loop, and then asked on the event loop from many requests at once. It raises ``errors.EngineError``.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from typing import Literal, NamedTuple, Protocol

Task = Literal["chat", "completions", "embeddings", "rerank", "classify"]
Finish = Literal["stop", "length"]


class Facts(NamedTuple):
    """Of a loaded model. context: tokens of a prompt and its answer together. version: of what computes, as text.
    max_running: requests that are computed at once; more wait in line."""

    tasks: frozenset[Task]
    context: int
    version: str
    max_running: int


class Load(NamedTuple):
    """Now. waiting: requests that the backend was given and has not begun. kv_used: share of the KV cache, None where it has none.
    read: tokens of prompts since the start, where the backend counts them as it goes; None: they are counted with each answer. A request
    that takes minutes would else look like an engine that hangs."""

    waiting: int = 0
    kv_used: float | None = None
    read: int | None = None


class Sampling(NamedTuple):
    """temperature 0: the likeliest token always. top_k 0: all. seed: None: chance. ignore_eos: go on to max_tokens whatever the model
    says."""

    temperature: float = 1.0
    top_p: float = 1.0
    top_k: int = 0
    seed: int | None = None
    ignore_eos: bool = False


class Prompt(NamedTuple):
    """A prompt in the model's tokens. max_tokens: of its answer, within the context."""

    tokens: Sequence[int]
    max_tokens: int


class Piece(NamedTuple):
    """A part of an answer: text may be empty (half a character), tokens counts what it took. finish: set on the last one only."""

    text: str
    tokens: int
    finish: Finish | None = None


class Vector(NamedTuple):
    """values: floats, or an array of single precision such as numpy's. tokens: of the text."""

    values: Sequence[float]
    tokens: int


class Ranked(NamedTuple):
    """How well a document answers a query, 0 to 1. tokens: of both."""

    score: float
    tokens: int


class Classified(NamedTuple):
    """Probabilities in the order of labels."""

    probabilities: Sequence[float]
    tokens: int


class Backend(Protocol):
    """``load`` and ``close`` block and run off the event loop; everything else is asked on it. What a task is not served by raises
    nothing there: the HTTP layer refuses it by ``facts.tasks``."""

    def load(self) -> Facts:
        """Raises UnfitModel."""

    def close(self) -> None:
        """Free everything; nothing is asked afterwards."""

    def load_now(self) -> Load:
        """How busy it is; cheap."""

    def problem(self) -> str:
        """Why it will never answer again; "" while it may. Asked every second: the process ends with it."""


class Generator(Backend, Protocol):
    """A backend that writes (chat, completions)."""

    def chat_prompt(self, messages: Sequence[dict[str, object]], max_tokens: int | None) -> Prompt:
        """Through the model's chat template. Blocks for as long as tokenising takes. Raises Refused."""

    def prompt(self, given: str | Sequence[int], max_tokens: int | None) -> Prompt:
        """Raises Refused."""

    def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Sequence[Piece], None]:
        """Pieces as they come, several at once where the reader is late. Closing the generator cancels what is left and
        frees its memory."""


class Embedder(Backend, Protocol):
    """A backend that turns texts into vectors (embeddings)."""

    async def embed(
        self, texts: Sequence[str | Sequence[int]], *, dimensions: int | None = None, truncate: int | None = None
    ) -> Sequence[Vector]:
        """In the order of texts. dimensions: how many numbers a vector shall have, None: all. truncate: cut texts to so many tokens, -1: to
        the context; None: raise Refused for one that is longer than the context. Raises Refused for what the model cannot do of it."""


class Reranker(Backend, Protocol):
    """A backend that scores documents (rerank)."""

    async def rerank(self, query: str, documents: Sequence[str], *, truncate: int | None = None) -> Sequence[Ranked]:
        """In the order of documents. A document is cut to what fits beside the query; truncate: to at most so many tokens."""


class Classifier(Backend, Protocol):
    """A backend that names classes (classify). labels: by index."""

    labels: Sequence[str]

    async def classify(self, texts: Sequence[str | Sequence[int]], *, truncate: int | None = None) -> Sequence[Classified]:
        """In the order of texts; truncate: as of an Embedder."""


class Mailbox:
    """Pieces from whoever computes, read by one task on the same event loop; what came meanwhile is read at once."""

    __slots__ = ("_come", "_error", "_pieces", "_waiter")

    def __init__(self) -> None:
        self._pieces: list[Piece] = []
        self._error: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

    def put(self, piece: Piece) -> None:
        self._pieces.append(piece)
        self._wake()

    def fail(self, error: Exception) -> None:
        """The reader gets what came, then the error."""
        self._error = error
        self._wake()

    async def take(self) -> list[Piece]:
        """What has come; waits for the first. Raises what it failed with."""
        while not self._pieces:
            if self._error is not None:
                raise self._error
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter
        found, self._pieces = self._pieces, []
        return found

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None and not waiter.done():
            waiter.set_result(None)
