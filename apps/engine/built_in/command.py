"""What the built-in engine takes on its command line, and what it becomes."""

from __future__ import annotations

import argparse
import os
from collections.abc import AsyncGenerator, Sequence
from typing import TYPE_CHECKING, cast

from apps.engine.backend import Facts, Load, Piece, Prompt, Sampling, Vector
from apps.engine.built_in.models import checked
from apps.engine.errors import UnfitModel, Unsupported

if TYPE_CHECKING:
    from apps.engine.built_in.embedding import Reading
    from apps.engine.built_in.generation import Writing


def arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--revision", default="", help="of a hub's model")
    parser.add_argument("--device", default="auto", choices=("auto", "cpu", "cuda"))
    parser.add_argument("--dtype", default="auto", choices=("auto", "float32", "bfloat16", "float16"), help="auto: float32 on a CPU")
    parser.add_argument("--context", type=int, default=0, help="tokens of a prompt and its answer (the model's positions)")
    parser.add_argument("--max-running", type=int, default=64, help="requests that are computed at once")
    parser.add_argument("--kv-tokens", type=int, default=0, help="of the KV cache (what fits)")
    parser.add_argument("--batch-tokens", type=int, default=0, help="of one step (512 on a CPU, 4096 on CUDA)")
    parser.add_argument("--memory", type=int, help="bytes that the engine may use, weights and all")
    parser.add_argument("--threads", type=int, default=0, help="of a CPU (all)")
    parser.add_argument("--pooling", default="", choices=("", "last", "mean", "cls"), help="of embeddings (as the model's files say)")


def backend(options: argparse.Namespace) -> BuiltIn:
    """Raises UnfitModel for what can be seen without loading anything: PyTorch takes seconds to import."""
    checked(options.model)
    if options.max_running < 1:
        raise UnfitModel("--max-running must be 1 or more.")
    return BuiltIn(options)


class BuiltIn:
    """A model that writes or one that only reads: which, is known once it is loaded. PyTorch is imported then, too, so that the engine
    listens, and says that it loads, from its first moment."""

    def __init__(self, options: argparse.Namespace) -> None:
        self._options = options
        self._inner: Writing | Reading | None = None

    def load(self) -> Facts:
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
        os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
        from apps.engine.built_in.embedding import Reading
        from apps.engine.built_in.generation import Writing, seeded
        from apps.engine.built_in.loading import Options, loaded, quieted

        given = self._options
        options = Options(
            given.model, given.revision, given.device, given.dtype, given.context, given.kv_tokens, given.batch_tokens, given.max_running,
            given.memory, given.threads, given.pooling,
        )  # fmt: skip
        seeded()
        quieted()
        found = loaded(options)
        inner = Writing(found, options) if found.causal else Reading(found, options)
        facts = inner.start()
        self._inner = inner
        return facts

    def close(self) -> None:
        if self._inner is not None:
            self._inner.close()

    def load_now(self) -> Load:
        return self._inner.load_now() if self._inner is not None else Load()

    def problem(self) -> str:
        return self._inner.problem() if self._inner is not None else ""

    def chat_prompt(self, messages: Sequence[dict[str, object]], max_tokens: int | None) -> Prompt:
        return self._writing.chat_prompt(messages, max_tokens)

    def prompt(self, given: str | Sequence[int], max_tokens: int | None) -> Prompt:
        return self._writing.prompt(given, max_tokens)

    def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Sequence[Piece], None]:
        return self._writing.generate(prompt, sampling)

    async def embed(
        self, texts: Sequence[str | Sequence[int]], *, dimensions: int | None = None, truncate: int | None = None
    ) -> Sequence[Vector]:
        assert self._inner is not None
        if truncate is not None:
            raise Unsupported("truncate_prompt_tokens", "This engine does not cut texts: send shorter ones.")
        vectors = await self._inner.embed(texts)
        if dimensions is not None and vectors and dimensions != len(vectors[0].values):
            size = len(vectors[0].values)
            raise Unsupported("dimensions", f"This model's vectors have {size} dimensions, and this engine does not shorten them.")
        return vectors

    @property
    def _writing(self) -> Writing:
        """The HTTP layer asks only what the facts offer."""
        return cast("Writing", self._inner)
