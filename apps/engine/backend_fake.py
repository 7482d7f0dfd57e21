"""A backend without a model, for tests of the HTTP layer: it writes the prompt back, word by word, at a pace that can be set. It says so in
its version; nothing offers it."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncGenerator, Sequence

from apps.engine.backend import Classified, Facts, Load, Piece, Prompt, Ranked, Sampling, Task, Vector
from apps.engine.errors import Refused, UnfitModel

ALL: frozenset[Task] = frozenset({"chat", "completions", "embeddings", "rerank", "classify"})


class FakeBackend:
    """A token is a word, its number the word's place in ``words``. hold: while it is cleared nothing is written after the first word.
    unfit: what ``load`` refuses with. fails_after: words after which a generation fails."""

    labels: Sequence[str] = ("even", "odd")

    def __init__(self, *, tasks: frozenset[Task] = ALL, max_running: int = 4, context: int = 256, unfit: str = "") -> None:
        self.words: list[str] = []
        self.hold = asyncio.Event()
        self.hold.set()
        self.fails_after: int | None = None
        self.may_load = threading.Event()
        self.may_load.set()
        self.dead = ""
        self.held = 0
        """Prompts whose memory is held now."""
        self._facts = Facts(tasks, context, "fake, without a model", max_running)
        self._unfit = unfit

    def load(self) -> Facts:
        self.may_load.wait()
        if self._unfit:
            raise UnfitModel(self._unfit)
        return self._facts

    def close(self) -> None:
        self.held = 0

    def load_now(self) -> Load:
        return Load(0, self.held / 10)

    def problem(self) -> str:
        return self.dead

    def chat_prompt(self, messages: Sequence[dict[str, object]], max_tokens: int | None) -> Prompt:
        return self.prompt(" ".join(str(message["content"]) for message in messages), max_tokens)

    def prompt(self, given: str | Sequence[int], max_tokens: int | None) -> Prompt:
        tokens = [self._number(word) for word in given.split()] if isinstance(given, str) else list(given)
        if len(tokens) >= self._facts.context:
            raise Refused("longer than the context", param="messages", code="context_length_exceeded")
        return Prompt(tokens, min(max_tokens or self._facts.context, self._facts.context - len(tokens)))

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Sequence[Piece], None]:
        self.held += 1
        try:
            for at, token in enumerate(prompt.tokens[: prompt.max_tokens]):
                if at == self.fails_after:
                    raise RuntimeError("a fault of the backend's own")
                yield [Piece(("" if at == 0 else " ") + self.words[token], 1)]
                await self.hold.wait()
                await asyncio.sleep(0)
            yield [Piece("", 0, "stop" if prompt.max_tokens >= len(prompt.tokens) else "length")]
        finally:
            self.held -= 1

    async def embed(
        self, texts: Sequence[str | Sequence[int]], *, dimensions: int | None = None, truncate: int | None = None
    ) -> Sequence[Vector]:
        await self.hold.wait()
        if dimensions not in (None, 2):
            raise Refused("vectors of two numbers cannot be cut", param="dimensions")
        if truncate is not None:
            texts = [" ".join(text.split()[:truncate]) if isinstance(text, str) else text[:truncate] for text in texts]
        return [Vector((float(len(text)), 0.5), len(text.split()) if isinstance(text, str) else len(text)) for text in texts]

    async def rerank(self, query: str, documents: Sequence[str], *, truncate: int | None = None) -> Sequence[Ranked]:
        asked = set(query.split())
        documents = [" ".join(document.split()[:truncate]) for document in documents]
        return [Ranked(len(asked & set(document.split())) / max(1, len(asked)), len(document.split())) for document in documents]

    async def classify(self, texts: Sequence[str | Sequence[int]], *, truncate: int | None = None) -> Sequence[Classified]:
        counts = [len(text.split()) if isinstance(text, str) else len(text) for text in texts]
        shares = [(0.9, 0.1) if len(text) % 2 == 0 else (0.1, 0.9) for text in texts]
        return [Classified(share, count) for share, count in zip(shares, counts, strict=True)]

    def _number(self, word: str) -> int:
        if word not in self.words:
            self.words.append(word)
        return self.words.index(word)
