"""Chat, completions and the embeddings of a model that writes: transformers' continuous batching, asked from many requests at once.

The library's manager computes in a thread of its own, a step for all running requests at a time; requests join and leave between steps. It
is given no more requests than run at once: the line is the HTTP layer's.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import secrets
import threading
import time
from collections.abc import AsyncGenerator, Sequence
from typing import Any

import torch
from transformers import GenerationConfig
from transformers.generation.configuration_utils import ContinuousBatchingConfig

from apps.engine.backend import Facts, Load, Mailbox, Piece, Prompt, Sampling, Vector
from apps.engine.built_in.embedding import embedded
from apps.engine.built_in.loading import PAGE, Loaded, Options, kv_budget, version
from apps.engine.built_in.models import pooling_of
from apps.engine.built_in.sampling import processors
from apps.engine.built_in.text import Prompts, Writer
from apps.engine.errors import Broken, UnfitModel

log = logging.getLogger("bulkhead.engine")

START_SECONDS = 120.0


class Writing:
    """One loaded model that writes. Lives on one event loop, but for ``start`` and ``close``."""

    def __init__(self, found: Loaded, options: Options) -> None:
        self._found = found
        self._options = options
        self._manager: Any = None
        self._numbers = itertools.count()
        self._embedding = threading.Lock()
        self._pooling = ""
        self._prompts: Prompts

    def start(self) -> Facts:
        """Raises UnfitModel."""
        found, options = self._found, self._options
        kv_tokens, batch = kv_budget(found, options)
        context = min(found.context, kv_tokens - PAGE)
        self._pooling = options.pooling or pooling_of(found.path, causal=True)
        self._prompts = Prompts(found.tokenizer, context, found.model.config.get_text_config().vocab_size)
        manager = manager_of(found, kv_tokens=kv_tokens, batch_tokens=batch, max_running=options.max_running)
        manager.logit_processor = processors(found.device)
        manager.start()
        until = time.monotonic() + START_SECONDS
        while manager.batch_processor is None and manager.is_running() and time.monotonic() < until:
            time.sleep(0.005)
        self._manager = manager
        if problem := self.problem():
            raise UnfitModel(problem)
        return Facts(frozenset({"chat", "completions", "embeddings"}), context, version(), options.max_running)

    def close(self) -> None:
        if self._manager is not None and self._manager.is_running():
            self._manager.stop(block=True, timeout=5, hard_stop=True)

    def load_now(self) -> Load:
        processor = self._manager.batch_processor
        if processor is None:
            return Load()
        cache, scheduler = processor.cache, processor.scheduler
        # Pages that nobody uses and that are kept for the next prompt with the same beginning are given up when room is needed.
        kept = sum(len(one.ledger.cached_blocks) * one.bytes_per_block for one in cache.cache_allocators.values())
        free = float(cache.compute_free_capacity()) + kept / (cache.num_sectors * cache.bytes_per_sector)
        return Load(len(scheduler.waiting_requests), min(1.0, max(0.0, 1.0 - free)))

    def problem(self) -> str:
        if self._manager is None:
            return ""
        error = self._manager.background_thread_status.fatal_error
        if error is not None:
            return f"The thread that generates died: {type(error).__name__}: {error}"
        return "" if self._manager.is_running() else "The thread that generates has ended."

    def chat_prompt(self, messages: Sequence[dict[str, object]], max_tokens: int | None) -> Prompt:
        return self._prompts.chat(messages, max_tokens)

    def prompt(self, given: str | Sequence[int], max_tokens: int | None) -> Prompt:
        return self._prompts.plain(given, max_tokens)

    async def generate(self, prompt: Prompt, sampling: Sampling) -> AsyncGenerator[Sequence[Piece], None]:
        id = str(next(self._numbers))
        ends = frozenset() if sampling.ignore_eos else self._found.eos
        answer = Answer(Writer(self._found.tokenizer.backend_tokenizer), ends)
        manager, over = self._manager, False
        manager.register_result_handler(id, answer.heard)
        try:
            # The manager's queue has no bound, so this never waits.
            taken = manager.add_request(
                prompt.tokens, request_id=id, max_new_tokens=prompt.max_tokens, streaming=True, eos_token_id=sorted(ends) or -1,
                **_drawn(sampling),
            )  # fmt: skip
            if taken is None:
                raise Broken(self.problem() or "The engine takes no requests any more.")
            while not over:
                pieces = await answer.mail.take()
                over = pieces[-1].finish is not None
                yield pieces
        finally:
            if not over:
                manager.cancel_request(id)
                with manager.output_router._lock:
                    manager.output_router.result_handlers.pop(id, None)

    async def embed(self, texts: Sequence[str | Sequence[int]]) -> Sequence[Vector]:
        prompts = [self._prompts.plain(text, 1).tokens for text in texts]
        return await asyncio.to_thread(self._embedded, prompts)

    def _embedded(self, prompts: Sequence[Sequence[int]]) -> list[Vector]:
        with self._embedding:  # one at a time: generation goes on beside it
            return embedded(self._found.model.base_model, prompts, self._pooling, self._found.device)


class Answer:
    """What the manager tells of one request becomes pieces."""

    __slots__ = ("_ends", "_seen", "_writer", "mail")

    def __init__(self, writer: Writer, ends: frozenset[int]) -> None:
        self.mail = Mailbox()
        self._writer = writer
        self._ends = ends
        self._seen = 0

    def heard(self, output: Any) -> None:
        """On the event loop. output: all tokens so far."""
        if output.error is not None:
            log.error("a request failed: %s", output.error)
            self.mail.fail(Broken(f"The engine failed at this request: {output.error}"))
            return
        fresh = output.generated_tokens[self._seen :]
        self._seen += len(fresh)
        over = output.is_finished()
        if not over and len(fresh) == 1:
            self.mail.put(Piece(self._writer.add(fresh[0]), 1))
            return
        ended = bool(fresh) and fresh[-1] in self._ends
        text = "".join([self._writer.add(token) for token in (fresh[:-1] if ended else fresh)])
        if over:
            self.mail.put(Piece(text + self._writer.rest(), len(fresh), "stop" if ended else "length"))
        elif fresh:
            self.mail.put(Piece(text, len(fresh)))


def manager_of(found: Loaded, *, kv_tokens: int, batch_tokens: int, max_running: int) -> Any:
    """The library's manager, not started. Without CUDA graphs: what is drawn differs from request to request."""
    generation = GenerationConfig(do_sample=False, eos_token_id=sorted(found.eos) or -1, pad_token_id=0)
    return found.model.init_continuous_batching(
        generation_config=generation,
        continuous_batching_config=ContinuousBatchingConfig(
            page_size=PAGE, num_blocks=kv_tokens // PAGE, max_batch_tokens=batch_tokens, max_requests_per_batch=max_running,
            use_cuda_graph=False, use_async_batching=False, auto_switch_to_flash=False,
        ),
    )  # fmt: skip


def _drawn(sampling: Sampling) -> dict[str, float | int]:
    """Nothing for the likeliest token always."""
    if sampling.temperature < 1e-4:
        return {}
    said: dict[str, float | int] = {"temperature": sampling.temperature}
    if sampling.top_p < 1:
        said["top_p"] = sampling.top_p
    if sampling.top_k > 0:
        said["top_k"] = sampling.top_k
    if sampling.seed is not None:
        said["seed"] = sampling.seed
    return said


def seeded() -> None:
    """Chance that nobody can foresee, whatever the libraries have set."""
    torch.manual_seed(secrets.randbits(63))
