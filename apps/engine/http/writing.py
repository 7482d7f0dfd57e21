"""Chat and completions: a request read, its prompts generated side by side, the answer whole or streamed."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any, NamedTuple

from apps.engine.backend import Generator, Piece, Prompt, Sampling
from apps.engine.errors import Refused, Unsupported
from apps.engine.http import fields
from apps.engine.http.fields import Body
from apps.engine.http.gate import Gate
from apps.engine.http.metrics import Metrics
from apps.engine.http.reply import Reply
from apps.engine.http.shapes import Choice, Shape
from apps.engine.http.stops import Stops

_SAMPLED = frozenset(
    {"model", "stream", "stream_options", "max_tokens", "temperature", "top_p", "top_k", "seed", "stop", "n", "ignore_eos"}
)
_CHAT = _SAMPLED | {"messages", "max_completion_tokens"}
_COMPLETIONS = _SAMPLED | {"prompt"}
_NEUTRAL: dict[str, tuple[object, ...]] = {
    "logprobs": (False,), "top_logprobs": (0,), "frequency_penalty": (0,), "presence_penalty": (0,), "repetition_penalty": (1,),
    "logit_bias": ({},), "min_p": (0,), "min_tokens": (0,), "store": (False,), "tools": ([],), "functions": ([],), "tool_choice": ("none",),
    "response_format": ({"type": "text"},), "modalities": (["text"],), "reasoning_effort": ("none",), "verbosity": ("medium",),
    "audio": (), "prediction": (), "web_search_options": (), "best_of": (1,), "echo": (False,), "suffix": ("",),
}  # fmt: skip
MAX_PROMPTS = 128
INLINE_BYTES = 16_384
"""Of a body: what is longer is tokenised off the event loop."""
DEFAULT_COMPLETION = 16
"""Tokens of a completion that names no limit, as at OpenAI."""


class Asked(NamedTuple):
    """A request, read. prompts: one for each choice."""

    prompts: list[Prompt]
    sampling: Sampling
    stops: tuple[str, ...]
    stream: bool
    with_usage: bool
    prompt_tokens: int


class Writing:
    """Answers both addresses over one backend."""

    def __init__(self, backend: Generator, model: str, gate: Gate, metrics: Metrics) -> None:
        self._backend = backend
        self._model = model
        self._gate = gate
        self._metrics = metrics

    async def chat(self, body: Body, size: int, reply: Reply) -> None:
        await self._answer(body, size, reply, chat=True)

    async def completions(self, body: Body, size: int, reply: Reply) -> None:
        await self._answer(body, size, reply, chat=False)

    async def _answer(self, body: Body, size: int, reply: Reply, *, chat: bool) -> None:
        began = time.monotonic()
        fields.known(body, _CHAT if chat else _COMPLETIONS, _NEUTRAL)
        fields.model_of(body, self._model)
        self._gate.check()
        read = self._chat_asked if chat else self._completions_asked
        asked = read(body) if size <= INLINE_BYTES else await asyncio.to_thread(read, body)
        shape = Shape(
            ("chatcmpl-" if chat else "cmpl-") + secrets.token_hex(12),
            int(time.time()),
            self._model,
            chat=chat,
            with_usage=asked.with_usage,
        )
        self._metrics.prompt_tokens += asked.prompt_tokens
        if asked.stream:
            await self._stream(asked, shape, reply, began)
        else:
            await self._whole(asked, shape, reply, began)
        self._metrics.latency.add(time.monotonic() - began)

    async def _whole(self, asked: Asked, shape: Shape, reply: Reply, began: float) -> None:
        texts: list[list[str]] = [[] for _ in asked.prompts]
        tokens, finishes = [0] * len(asked.prompts), [""] * len(asked.prompts)
        async with aclosing(self._pieces(asked, began)) as pieces:
            async for index, batch in pieces:
                for text, count, finish in batch:
                    texts[index].append(text)
                    tokens[index] += count
                    finishes[index] = finish or finishes[index]
        choices = [Choice("".join(text), count, finish) for text, count, finish in zip(texts, tokens, finishes, strict=True)]
        await reply.json(shape.whole(choices, asked.prompt_tokens))

    async def _stream(self, asked: Asked, shape: Shape, reply: Reply, began: float) -> None:
        total = 0
        opened: set[int] = set()
        async with aclosing(self._pieces(asked, began)) as pieces:
            async for index, batch in pieces:
                events = []
                if index not in opened:
                    opened.add(index)
                    events.append(shape.opening(index))
                for text, count, finish in batch:
                    total += count
                    if text:
                        events.append(shape.text(index, text))
                    if finish:
                        events.append(shape.finish(index, finish))
                if data := b"".join(events):
                    await reply.events(data)
        await reply.end(shape.closing(asked.prompt_tokens, total))

    # Generating

    async def _pieces(self, asked: Asked, began: float) -> AsyncGenerator[tuple[int, Sequence[Piece]], None]:
        """(index of the choice, its next pieces), stops obeyed."""
        if len(asked.prompts) == 1:
            async with aclosing(self._one(asked, 0, began)) as one:
                async for batch in one:
                    yield 0, batch
            return
        queue: asyncio.Queue[tuple[int, Sequence[Piece] | Exception]] = asyncio.Queue(maxsize=2 * len(asked.prompts))

        async def run(index: int) -> None:
            try:
                async with aclosing(self._one(asked, index, began)) as one:
                    async for batch in one:
                        await queue.put((index, batch))
            except Exception as error:
                await queue.put((index, error))

        tasks = [asyncio.create_task(run(index)) for index in range(len(asked.prompts))]
        try:
            left = len(tasks)
            while left:
                index, found = await queue.get()
                if isinstance(found, Exception):
                    raise found
                yield index, found
                left -= any(piece.finish for piece in found)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)

    async def _one(self, asked: Asked, index: int, began: float) -> AsyncGenerator[Sequence[Piece], None]:
        metrics, stops = self._metrics, Stops(asked.stops)
        sampling = asked.sampling
        if sampling.seed is not None and index:
            sampling = sampling._replace(seed=sampling.seed + index)
        async with self._gate.place():
            metrics.queue.add(time.monotonic() - began)
            last = 0.0
            async with aclosing(self._backend.generate(asked.prompts[index], sampling)) as generated:
                async for batch in generated:
                    now = time.monotonic()
                    fresh = sum(piece.tokens for piece in batch)
                    metrics.generation_tokens += fresh
                    if not last:
                        metrics.ttft.add(now - began)
                    elif fresh:
                        metrics.itl.add((now - last) / fresh, fresh)
                    last = now
                    if asked.stops:
                        batch = _stopped(batch, stops)
                    yield batch
                    if finish := batch[-1].finish:
                        metrics.finish(finish)
                        return

    # Reading

    def _chat_asked(self, body: Body) -> Asked:
        messages = _messages(body)
        limit = fields.whole(body, "max_completion_tokens", 1, 10_000_000) or fields.whole(body, "max_tokens", 1, 10_000_000)
        prompt = self._backend.chat_prompt(messages, limit)
        return self._asked(body, [prompt])

    def _completions_asked(self, body: Body) -> Asked:
        given = fields.tokens_or_texts(body, "prompt", MAX_PROMPTS)
        limit = fields.whole(body, "max_tokens", 1, 10_000_000) or DEFAULT_COMPLETION
        return self._asked(body, [self._backend.prompt(one, limit) for one in given])

    def _asked(self, body: Body, prompts: list[Prompt]) -> Asked:
        n = fields.whole(body, "n", 1, fields.MAX_CHOICES) or 1
        stream = fields.flag(body, "stream")
        options = body.get("stream_options")
        if options is not None and not (stream and isinstance(options, dict)):
            raise Refused("The field 'stream_options' goes with 'stream': true, and is an object.", param="stream_options")
        for name, value in (options or {}).items():
            if name not in ("include_usage", "include_obfuscation") or not isinstance(value, bool):
                raise Unsupported("stream_options", f"This engine does not do stream_options.{name}; include_usage is true or false.")
        sampling = Sampling(
            temperature=fields.number(body, "temperature", 0, 2, 1.0),
            top_p=fields.number(body, "top_p", 0, 1, 1.0),
            top_k=max(0, fields.whole(body, "top_k", -1, 10_000_000) or 0),
            seed=fields.whole(body, "seed", -(2**63), 2**63 - 1),
            ignore_eos=fields.flag(body, "ignore_eos"),
        )
        return Asked(
            [prompt for prompt in prompts for _ in range(n)],
            sampling,
            fields.stops_of(body),
            stream,
            bool((options or {}).get("include_usage")),
            sum(len(prompt.tokens) for prompt in prompts),
        )


def _stopped(batch: Sequence[Piece], stops: Stops) -> list[Piece]:
    """The pieces up to a stop, which becomes the end."""
    found = []
    for text, tokens, finish in batch:
        text, stop = stops.feed(text)
        if stop:
            found.append(Piece(text, tokens, "stop"))
            break
        found.append(Piece(text + stops.rest() if finish else text, tokens, finish))
    return found


def _messages(body: Body) -> list[dict[str, Any]]:
    """As chat templates take them: role and content as text. Raises Refused."""
    given = body.get("messages")
    if not isinstance(given, list) or not given:
        raise Refused("The field 'messages' must be a list of messages that is not empty.", param="messages")
    found = []
    for index, message in enumerate(given):
        where = f"messages[{index}]"
        role = message.get("role") if isinstance(message, dict) else None
        if role not in ("system", "developer", "user", "assistant", "tool"):
            raise Refused(f"{where} must be an object whose 'role' is system, developer, user, assistant or tool.", param=where)
        if message.get("tool_calls"):
            raise Unsupported(f"{where}.tool_calls", "This engine does not do tools: leave out messages that call them.")
        found.append({"role": "system" if role == "developer" else role, "content": _content(message.get("content"), where)})
    return found


def _content(content: Any, where: str) -> str:
    if isinstance(content, str):
        return content
    if not isinstance(content, list):
        raise Refused(f"{where}.content must be a text, or a list of parts.", param=f"{where}.content")
    texts = []
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else None
        if kind != "text" or not isinstance(part.get("text"), str):
            raise Unsupported(f"{where}.content", f"This engine reads text only, and {where} has a part of the type {kind!r}.")
        texts.append(part["text"])
    return "".join(texts)
