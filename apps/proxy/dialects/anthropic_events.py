"""The Messages API's streams as the pivot's: what providers of this format send, read event by event."""

from __future__ import annotations

import time

from apps.proxy.dialects.anthropic_answer import FINISHES, is_structured, thought
from apps.proxy.dialects.anthropic_wire import (
    STRUCTURED_TOOL,
    WireBlock,
    WireDelta,
    WireEvent,
    WireUsage,
    decode_event,
    input_text,
    pivot_usage,
    usage_merged,
)
from apps.proxy.dialects.sse import Event, Framer
from apps.proxy.dialects.translation import Chunk, NotAnAnswer, Payload

_PASSED_OVER = frozenset({"ping"})
_SPACE = b" \t\r\n\xef\xbb\xbf"


class _Open:
    """A block that has begun. call: its place among the calls; -1: the structured answer, or no call. said: something of it was given."""

    __slots__ = ("block", "call", "said", "signature", "texts")

    def __init__(self, block: WireBlock, call: int) -> None:
        self.block = block
        self.call = call
        self.said = False
        self.texts: list[str] = []
        self.signature = ""


class AnthropicBackStream:
    """Blocks may not begin twice, and nothing may be said of one that did not begin. Kinds of events that are not known are passed over,
    as the provider asks for. What comes after the end is not read. Whole once a stop reason was given: a missing ``message_stop`` is
    made up for.
    """

    __slots__ = (
        "_begun",
        "_calls",
        "_ended",
        "_framer",
        "_head",
        "_open",
        "_seen",
        "_stop",
        "_structured",
        "_usage",
        "_worded",
        "finished",
    )

    def __init__(self, payload: Payload) -> None:
        self.finished = False
        self._framer = Framer()
        self._structured = is_structured(payload)
        self._open: dict[int, _Open] = {}
        self._seen: set[int] = set()
        self._calls = 0
        self._begun = False
        self._ended = False
        self._stop = ""
        self._usage: WireUsage | None = None
        self._head: Chunk | None = None
        self._worded = False

    def feed(self, data: bytes) -> list[Chunk]:
        if not self._begun:
            start = data.lstrip(_SPACE)
            if start[:1] in (b"<", b"{", b"["):
                raise NotAnAnswer("a page or an object instead of a stream")
            self._begun = bool(start)
        return self._read(self._framer.feed(data))

    def close(self) -> list[Chunk]:
        chunks = self._read(self._framer.close())
        if not self._ended and self._stop:
            self._end(chunks)
        return chunks

    def _read(self, events: list[Event]) -> list[Chunk]:
        chunks: list[Chunk] = []
        for event in events:
            if self._ended:
                break
            if event.name in _PASSED_OVER or event.data == b"[DONE]":
                continue
            self._event(decode_event(event.data), chunks)
        return chunks

    def _event(self, event: WireEvent, chunks: list[Chunk]) -> None:
        kind = event.type
        if kind == "content_block_delta":
            opened = self._open.get(event.index)
            if opened is None or event.delta is None:
                raise NotAnAnswer("a piece of a block that is not open")
            self._delta(opened, event.delta, chunks)
        elif kind == "content_block_start":
            self._start(event, chunks)
        elif kind == "content_block_stop":
            opened = self._open.pop(event.index, None)
            if opened is None:
                raise NotAnAnswer("the end of a block that is not open")
            self._close_block(opened, chunks)
        elif kind == "message_start":
            self._message(event, chunks)
        elif kind == "message_delta":
            self._message_delta(event, chunks)
        elif kind == "message_stop":
            if not self._stop:
                raise NotAnAnswer("a stream that ends without saying why")
            self._end(chunks)
        elif kind == "error":
            self._ended = True
            error = event.error
            said = (error.type, error.message) if error is not None else ("api_error", "the provider broke off")
            chunks.append({"error": {"message": said[1] or said[0], "type": said[0] or "api_error", "code": None}})

    def _message(self, event: WireEvent, chunks: list[Chunk]) -> None:
        message = event.message
        if message is None or self._head is not None:
            raise NotAnAnswer("a second start" if message is not None else "a start without its message")
        self._usage = message.usage
        self._head = {"id": message.id, "object": "chat.completion.chunk", "created": int(time.time()), "model": message.model}
        chunks.append(self._chunk({"role": "assistant", "content": ""}))

    def _chunk(self, delta: Payload) -> Chunk:
        if self._head is None:
            raise NotAnAnswer("a stream that does not begin with its start")
        return {**self._head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}

    def _start(self, event: WireEvent, chunks: list[Chunk]) -> None:
        block = event.content_block
        if block is None or event.index in self._seen or self._head is None:
            raise NotAnAnswer("a block that begins twice, before the start, or without saying what it is")
        call = -1
        if block.type == "tool_use":
            if not block.id or not block.name:
                raise NotAnAnswer("a call that names no tool")
            if self._structured and block.name == STRUCTURED_TOOL:
                if self._worded:  # what was given cannot be taken back
                    raise NotAnAnswer("words before the structured answer")
            else:
                call = self._calls
                self._calls += 1
                function = {"name": block.name, "arguments": ""}
                chunks.append(self._chunk({"tool_calls": [{"index": call, "id": block.id, "type": "function", "function": function}]}))
        elif block.type not in ("text", "thinking", "redacted_thinking"):
            raise NotAnAnswer(f"a block of type {block.type!r} that was not asked for")
        opened = self._open[event.index] = _Open(block, call)
        self._seen.add(event.index)
        if block.type == "text" and block.text:
            self._text(block.text, chunks)
        elif block.type == "thinking" and block.thinking:
            opened.texts.append(block.thinking)
            chunks.append(self._chunk({"reasoning_content": block.thinking}))

    def _delta(self, opened: _Open, delta: WireDelta, chunks: list[Chunk]) -> None:
        kind, block = delta.type, opened.block.type
        if kind == "text_delta" and block == "text":
            if delta.text:
                self._text(delta.text, chunks)
        elif kind == "input_json_delta" and block == "tool_use":
            if delta.partial_json:
                opened.said = True
                chunks.append(self._chunk(self._arguments(opened, delta.partial_json)))
        elif kind == "thinking_delta" and block == "thinking":
            if delta.thinking:
                opened.texts.append(delta.thinking)
                chunks.append(self._chunk({"reasoning_content": delta.thinking}))
        elif kind == "signature_delta" and block == "thinking":
            opened.signature += delta.signature or ""
        elif kind in ("text_delta", "input_json_delta", "thinking_delta", "signature_delta"):
            raise NotAnAnswer(f"a piece of type {kind!r} in a block of type {block!r}")

    def _text(self, text: str, chunks: list[Chunk]) -> None:
        if self._structured and not self._worded:
            self._worded = not text.isspace()
        chunks.append(self._chunk({"content": text}))

    @staticmethod
    def _arguments(opened: _Open, text: str) -> Payload:
        if opened.call < 0:
            return {"content": text}
        return {"tool_calls": [{"index": opened.call, "function": {"arguments": text}}]}

    def _close_block(self, opened: _Open, chunks: list[Chunk]) -> None:
        block = opened.block
        if block.type == "tool_use":
            if not opened.said:  # some servers say the whole input at once, at the start
                text = input_text(block.input)
                if text is None:
                    raise NotAnAnswer("a call's input is no JSON object")
                chunks.append(self._chunk(self._arguments(opened, text)))
        elif block.type == "thinking":
            signature = opened.signature or block.signature or ""
            whole = {"type": "thinking", "thinking": "".join(opened.texts), "signature": signature}
            chunks.append(self._chunk({"thinking_blocks": [whole]}))
        elif block.type == "redacted_thinking":
            chunks.append(self._chunk({"thinking_blocks": [thought(block)]}))

    def _message_delta(self, event: WireEvent, chunks: list[Chunk]) -> None:
        if self._head is None:
            raise NotAnAnswer("a stream that does not begin with its start")
        self._usage = usage_merged(self._usage, event.usage)
        delta = event.delta
        if delta is None or delta.stop_reason is None or self._stop:
            return
        for opened in list(self._open.values()):
            self._close_block(opened, chunks)
        self._open.clear()
        self._stop = delta.stop_reason
        finish = FINISHES.get(self._stop, "stop")
        if finish == "tool_calls" and not self._calls:  # the structured answer is no call to whom it is for
            finish = "stop"
        last = self._chunk({})
        if delta.stop_details is not None and delta.stop_details.explanation:
            last["choices"][0]["delta"] = {"refusal": delta.stop_details.explanation}
        last["choices"][0]["finish_reason"] = finish
        last["choices"][0]["native_finish_reason"] = self._stop
        if delta.stop_sequence is not None:
            last["choices"][0]["stop_sequence"] = delta.stop_sequence
        chunks.append(last)

    def _end(self, chunks: list[Chunk]) -> None:
        self._ended = self.finished = True
        if self._usage is not None and self._head is not None:
            counted: Chunk = {**self._head, "choices": [], "usage": pivot_usage(self._usage)}
            if self._usage.service_tier == "batch":
                counted["service_tier"] = "batch"
            chunks.append(counted)
