"""Embeddings, rerank and classification by onnxruntime, behind the HTTP layer: texts to rows, rows to batches, numbers to answers."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from apps.engine.backend import Classified, Facts, Load, Ranked, Vector
from apps.engine.errors import Broken, Busy, Refused, UnfitModel
from apps.engine.onnx.batching import Batcher, Closed, Stop
from apps.engine.onnx.folder import Unusable, folder_read
from apps.engine.onnx.session import NotNumbers, Row, Session, TooLong, probabilities, scaled

MAX_RUNNING = 64
"""Requests from whose rows batches are made."""
MOST_TEXTS = 2_048
"""Of one request, as OpenAI has it."""
MOST_DOCUMENTS = 10_000
INLINE_CHARACTERS = 8_000
"""Beyond it texts become tokens off the event loop."""
FAILURES = 5
"""Batches in a row that fail until the engine gives up: its agent starts it anew."""
T = TypeVar("T")


class Settings(NamedTuple):
    """What an order may say, by the names that vLLM has for it where it has one. threads 0: as many as the process may use."""

    model: Path
    task: str = ""
    file: str = ""
    int8: bool = False
    pooling: str = ""
    normalise: bool | None = None
    max_model_len: int = 0
    max_num_seqs: int = 32
    max_num_batched_tokens: int = 4_096
    threads: int = 0
    gpu: bool = False


class OnnxBackend:
    """Serves one task of one model."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.labels: tuple[str, ...] = ()
        self._failures = 0
        self._problem = ""
        self._session: Session
        self._batcher = Batcher(self._computed, settings.max_num_seqs, settings.max_num_batched_tokens)

    # What every backend does

    def load(self) -> Facts:
        given = self.settings
        try:
            folder = folder_read(
                given.model,
                task=given.task,
                graph=given.file,
                int8=given.int8,
                pooling=given.pooling,
                normalise=given.normalise,
                most_tokens=given.max_model_len,
            )
            self._session = Session(folder, threads=given.threads, gpu=given.gpu)
        except Unusable as error:
            raise UnfitModel(str(error)) from None
        size = self._session.size
        if folder.task == "rerank" and size != 1:
            raise UnfitModel(f"{folder.graph} gives {size} scores a pair, and a reranker gives one. Serve it to classify.")
        if folder.task == "classify":
            named = folder.labels if len(folder.labels) == size else tuple(f"LABEL_{number}" for number in range(size))
            self.labels = named
        return Facts(frozenset({folder.task}), folder.most_tokens, self._session.version, MAX_RUNNING)

    def close(self) -> None:
        self._batcher.close()

    def load_now(self) -> Load:
        return Load(waiting=self._batcher.waiting, read=self._batcher.counts.tokens)

    def problem(self) -> str:
        return self._problem

    # The tasks

    async def embed(
        self, texts: Sequence[str | Sequence[int]], *, dimensions: int | None = None, truncate: int | None = None
    ) -> Sequence[Vector]:
        """dimensions: cut vectors to so many numbers and scale them anew, of models that were trained for it. truncate: cut texts to so
        many tokens, -1: to the context; None: refuse longer ones."""
        self._check_count(texts, MOST_TEXTS, "input")
        self._check_dimensions(dimensions)
        rows = await self._rows(texts, truncate)
        found = await self._run(rows)
        if dimensions is not None and dimensions < self._session.size:
            found = [scaled(vector[:dimensions]) for vector in found]
        return [Vector(vector, len(row)) for vector, row in zip(found, rows, strict=True)]

    async def rerank(self, query: str, documents: Sequence[str], *, truncate: int | None = None) -> Sequence[Ranked]:
        """A document is cut to what fits beside the query; truncate: to at most so many tokens."""
        self._check_count(documents, MOST_DOCUMENTS, "documents")
        most = 0 if truncate is None or truncate < 0 else max(1, truncate)
        size = len(query) + sum(map(len, documents))
        rows = await self._tokens(lambda: self._session.pairs(query, documents, most_of_document=most), size, "query")
        activation = self._session.folder.activation
        found = await self._run(rows)
        return [Ranked(float(probabilities(logits, activation)[0]), len(row)) for logits, row in zip(found, rows, strict=True)]

    async def classify(self, texts: Sequence[str | Sequence[int]], *, truncate: int | None = None) -> Sequence[Classified]:
        self._check_count(texts, MOST_TEXTS, "input")
        rows = await self._rows(texts, truncate)
        activation = self._session.folder.activation
        found = await self._run(rows)
        return [Classified(probabilities(logits, activation).tolist(), len(row)) for logits, row in zip(found, rows, strict=True)]

    # Inside

    def _computed(self, rows: Sequence[Row], stop: Stop) -> Sequence[Any]:
        return self._session.run(rows, stop)

    def _check_count(self, given: Sequence[Any], most: int, field: str) -> None:
        if len(given) > most:
            raise Refused(f"{field} has {len(given)} entries, and this engine takes {most} at once: send them in parts.", param=field)

    def _check_dimensions(self, wanted: int | None) -> None:
        folder, size = self._session.folder, self._session.size
        if wanted is None or wanted == size:
            return
        if not folder.matryoshka:
            raise Refused(
                f"This model's vectors have {size} numbers and cannot be cut: it was not trained for it (config.json names no "
                "matryoshka_dimensions). Leave dimensions out.",
                param="dimensions",
            )
        if wanted > size or (folder.sizes and wanted not in folder.sizes):
            sizes = ", ".join(map(str, sorted({*folder.sizes, size}))) if folder.sizes else f"1 to {size}"
            raise Refused(f"This model's vectors can have {sizes} numbers, not {wanted}.", param="dimensions")

    async def _rows(self, texts: Sequence[str | Sequence[int]], truncate: int | None) -> list[Row]:
        context = self._session.folder.most_tokens
        if truncate is not None and truncate != -1 and not 1 <= truncate <= context:
            raise Refused(f"truncate_prompt_tokens is -1, or from 1 to {context}, not {truncate}.", param="truncate_prompt_tokens")
        most = 0 if truncate is None else context if truncate == -1 else truncate

        def made() -> list[Row]:
            words = [text for text in texts if isinstance(text, str)]
            spoken = iter(
                self._session.rows(words, most=most) if len(words) > 1 else [self._session.row(word, most=most) for word in words]
            )
            rows = [next(spoken) if isinstance(text, str) else self._session.row_of_ids(text, most=most) for text in texts]
            if not all(map(len, rows)):
                raise Refused("input has an entry without a token: leave empty ones out.", param="input")
            return rows

        return await self._tokens(made, sum(map(len, texts)), "input")

    async def _tokens(self, make: Callable[[], T], size: int, field: str) -> T:
        try:
            return make() if size <= INLINE_CHARACTERS else await asyncio.to_thread(make)
        except TooLong as error:
            what = "the query may have half of that" if field == "query" else "shorten it, or send truncate_prompt_tokens=-1 to have it cut"
            raise Refused(f"{error} Of {field}: {what}.", param=field, code="context_length_exceeded") from None
        except ValueError as error:
            raise Refused(str(error), param=field) from None

    async def _run(self, rows: Sequence[Row]) -> list[Any]:
        try:
            found = await self._batcher.submit(rows)
        except Closed:
            raise Busy("The engine is shutting down.", code="shutting_down") from None
        except NotNumbers as error:
            self._failed(str(error))
            raise Broken(f"{error} The model or its quantisation is at fault.") from None
        except Exception as error:  # onnxruntime's own, most of them bare
            self._failed(str(error)[:300])
            raise Broken(f"The model failed: {str(error)[:300]}") from None
        self._failures = 0
        return found

    def _failed(self, why: str) -> None:
        self._failures += 1
        if self._failures >= FAILURES:
            self._problem = f"{self._failures} batches in a row failed, the last one with: {why}"
