"""Cohere's answers and streams as the pivot's. Source: Cohere's API reference, "Chat API (v2)".

Tokens are those that Cohere bills: its own prompt around the app's is not the app's. Citations have no word in the pivot, and are carried
as ``message["citations"]`` as they came. A model's plan before its calls is its thinking.
"""

from __future__ import annotations

import time
from typing import Any
from uuid import uuid4

import msgspec

from apps.proxy.dialects.sse import Event, Framer
from apps.proxy.dialects.translation import Chunk, Completion, NotAnAnswer, Payload

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
_FINISHES = {"COMPLETE": "stop", "STOP_SEQUENCE": "stop", "MAX_TOKENS": "length", "TOOL_CALL": "tool_calls"}
_FAILED = frozenset({"ERROR", "TIMEOUT"})


class Counts(msgspec.Struct):
    input_tokens: float | None = None
    output_tokens: float | None = None


class WireUsage(msgspec.Struct):
    billed_units: Counts | None = None
    tokens: Counts | None = None
    cached_tokens: float | None = None


class WirePart(msgspec.Struct):
    type: str | None = None
    text: str | None = None
    thinking: str | None = None


class WireFunction(msgspec.Struct):
    name: str = ""
    arguments: str | None = None


class WireCall(msgspec.Struct):
    id: str = ""
    function: WireFunction | None = None


class WireMessage(msgspec.Struct):
    content: list[WirePart] | None = None
    tool_plan: str | None = None
    tool_calls: list[WireCall] | None = None
    citations: list[Any] | None = None


class WireAnswer(msgspec.Struct):
    id: str = ""
    message: WireMessage | None = None
    finish_reason: str | None = None
    usage: WireUsage | None = None


class PieceOfMessage(msgspec.Struct):
    """Of a stream each event has one thing where a whole answer has lists; the start has empty lists."""

    content: WirePart | list[Any] | None = None
    tool_plan: str | None = None
    tool_calls: WireCall | list[Any] | None = None
    citations: Any = None


class WireDelta(msgspec.Struct):
    message: PieceOfMessage | None = None
    finish_reason: str | None = None
    usage: WireUsage | None = None
    error: str | None = None


class WireEvent(msgspec.Struct):
    type: str = ""
    id: str | None = None
    index: int = 0
    delta: WireDelta | None = None


_decode_answer = msgspec.json.Decoder(WireAnswer).decode
_decode_event = msgspec.json.Decoder(WireEvent).decode


def pivot_answer(body: bytes, payload: Payload) -> Completion:
    """Raises NotAnAnswer."""
    try:
        answer = _decode_answer(body)
    except UNREADABLE as error:
        raise NotAnAnswer(f"the answer is not what this format has: {error}") from None
    message = answer.message
    if message is None or not answer.finish_reason:
        raise NotAnAnswer("the answer is no message with a reason why it ended")
    finish = _finish(answer.finish_reason)
    texts, thoughts = [], [message.tool_plan or ""]
    for part in message.content or ():
        if part.text is None and part.thinking is None:
            raise NotAnAnswer(f"a part of type {part.type!r} that was not asked for, or that says nothing")
        texts.append(part.text or "")
        thoughts.append(part.thinking or "")
    said: Payload = {"role": "assistant", "content": "".join(texts) or None, "refusal": None}
    if any(thoughts):
        said["reasoning_content"] = "".join(thoughts)
    calls = [_call(call) for call in message.tool_calls or ()]
    if calls:
        said["tool_calls"] = calls
    if message.citations:
        said["citations"] = message.citations
    choice: Payload = {
        "index": 0,
        "message": said,
        "logprobs": None,
        "finish_reason": "stop" if finish == "tool_calls" and not calls else finish,
        "native_finish_reason": answer.finish_reason,
    }
    completion: Completion = {**_head(answer.id, payload, "chat.completion"), "choices": [choice]}
    if answer.usage is not None:
        completion["usage"] = pivot_usage(answer.usage)
    return completion


def _finish(reason: str) -> str:
    """Raises NotAnAnswer where the model failed. A reason that is not known is a filtered answer: never a whole one."""
    if reason in _FAILED:
        raise NotAnAnswer(f"the model failed: {reason}")
    return _FINISHES.get(reason, "content_filter")


def _head(identity: str, payload: Payload, kind: str) -> Payload:
    model = payload.get("model")
    return {
        "id": identity or f"chatcmpl-{uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": model if type(model) is str else "",
    }


def _call(call: WireCall) -> Payload:
    if not call.id or call.function is None or not call.function.name:
        raise NotAnAnswer("a call without its id or name")
    function = {"name": call.function.name, "arguments": call.function.arguments or "{}"}
    return {"id": call.id, "type": "function", "function": function}


def pivot_usage(usage: WireUsage) -> Payload:
    counts = usage.billed_units or usage.tokens or Counts()
    prompt, completion = _whole(counts.input_tokens), _whole(counts.output_tokens)
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": min(prompt, _whole(usage.cached_tokens))},
    }


def _whole(count: float | None) -> int:
    return int(max(0.0, count)) if count is not None and count < 2**53 else 0


class CohereStream:
    """Blocks may not begin twice, and nothing may be said of a call that did not begin. Kinds of events that are not known are passed over.
    Whole once ``message-end`` has said why it ended.
    """

    __slots__ = ("_begun", "_calls", "_ended", "_framer", "_head", "_open", "_payload", "finished")

    def __init__(self, payload: Payload) -> None:
        self.finished = False
        self._payload = payload
        self._framer = Framer()
        self._begun = False
        self._ended = False
        self._head: Payload | None = None
        self._calls: dict[int, int] = {}
        self._open: dict[int, bool] = {}
        """By the event's index, of calls that are open: whether anything of their arguments was said."""

    def feed(self, data: bytes) -> list[Chunk]:
        if not self._begun:
            start = data.lstrip()
            if start[:1] in (b"<", b"{", b"["):
                raise NotAnAnswer("a page or an object instead of a stream")
            self._begun = bool(start)
        return self._read(self._framer.feed(data))

    def close(self) -> list[Chunk]:
        return self._read(self._framer.close())

    def _read(self, events: list[Event]) -> list[Chunk]:
        chunks: list[Chunk] = []
        for event in events:
            if self._ended:
                break
            if event.data == b"[DONE]":
                continue
            try:
                said = _decode_event(event.data)
            except UNREADABLE as error:
                raise NotAnAnswer(f"an event of the stream is not what this format has: {error}") from None
            self._event(said, chunks)
        return chunks

    def _chunk(self, delta: Payload) -> Chunk:
        if self._head is None:
            raise NotAnAnswer("a stream that does not begin with its start")
        return {**self._head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}

    def _event(self, event: WireEvent, chunks: list[Chunk]) -> None:
        kind = event.type
        message = event.delta.message if event.delta is not None else None
        if kind in ("content-delta", "content-start"):
            part = message.content if message is not None else None
            if type(part) is not WirePart or (part.text is None and part.thinking is None):
                raise NotAnAnswer("a piece of content that says nothing")
            if part.text:
                chunks.append(self._chunk({"content": part.text}))
            if part.thinking:
                chunks.append(self._chunk({"reasoning_content": part.thinking}))
        elif kind == "tool-plan-delta":
            if message is not None and message.tool_plan:
                chunks.append(self._chunk({"reasoning_content": message.tool_plan}))
        elif kind in ("tool-call-start", "tool-call-delta"):
            call = message.tool_calls if message is not None else None
            if type(call) is not WireCall or call.function is None:
                raise NotAnAnswer("a piece of a call that says nothing")
            (self._start if kind == "tool-call-start" else self._arguments)(event.index, call, chunks)
        elif kind == "tool-call-end":
            self._close_call(event.index, chunks)
        elif kind == "citation-start":
            if message is not None and message.citations:
                found = message.citations
                chunks.append(self._chunk({"citations": found if type(found) is list else [found]}))
        elif kind == "message-start":
            if self._head is not None:
                raise NotAnAnswer("a second start")
            self._head = _head(event.id or "", self._payload, "chat.completion.chunk")
            chunks.append(self._chunk({"role": "assistant", "content": ""}))
        elif kind == "message-end":
            self._end(event.delta, chunks)
        elif not kind:
            raise NotAnAnswer("an event without its type")

    def _start(self, index: int, call: WireCall, chunks: list[Chunk]) -> None:
        if index in self._calls:
            raise NotAnAnswer("a call that begins twice")
        said = _call(call)
        arguments = call.function.arguments if call.function is not None else None
        self._calls[index] = len(self._calls)
        self._open[index] = bool(arguments)
        said["function"]["arguments"] = arguments or ""
        chunks.append(self._chunk({"tool_calls": [{"index": self._calls[index], **said}]}))

    def _arguments(self, index: int, call: WireCall, chunks: list[Chunk]) -> None:
        if index not in self._open:
            raise NotAnAnswer("a piece of a call that is not open")
        text = call.function.arguments if call.function is not None else None
        if text:
            self._open[index] = True
            chunks.append(self._chunk({"tool_calls": [{"index": self._calls[index], "function": {"arguments": text}}]}))

    def _close_call(self, index: int, chunks: list[Chunk]) -> None:
        said = self._open.pop(index, None)
        if said is None:
            raise NotAnAnswer("the end of a call that is not open")
        if not said:
            chunks.append(self._chunk({"tool_calls": [{"index": self._calls[index], "function": {"arguments": "{}"}}]}))

    def _end(self, delta: WireDelta | None, chunks: list[Chunk]) -> None:
        if delta is None or not delta.finish_reason:
            raise NotAnAnswer("a stream that ends without saying why")
        last = self._chunk({})
        if delta.finish_reason in _FAILED:
            self._ended = True
            message = delta.error or f"the model failed: {delta.finish_reason}"
            chunks.append({"error": {"message": message, "type": "server_error", "code": None}})
            return
        for index in list(self._open):
            self._close_call(index, chunks)
        finish = _finish(delta.finish_reason)
        last["choices"][0]["finish_reason"] = "stop" if finish == "tool_calls" and not self._calls else finish
        last["choices"][0]["native_finish_reason"] = delta.finish_reason
        chunks.append(last)
        self._ended = self.finished = True
        if delta.usage is not None and self._head is not None:
            chunks.append({**self._head, "choices": [], "usage": pivot_usage(delta.usage)})
