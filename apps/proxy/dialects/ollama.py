"""Ollama's own chat API: models on one's own machines. Apps do not speak it to the proxy. Source: Ollama's API reference, "Chat".

A stream is lines of JSON, each an answer of its own; the last is ``done``. Calls have no ids there: they are made here, and the name of the
function that was called goes back with its result. Ollama counts tokens; a prompt that lay in its cache is not counted.
"""

from __future__ import annotations

import json
from typing import Any
from uuid import uuid4

import msgspec

from apps.proxy.dialects import ollama_request
from apps.proxy.dialects.pivot import head_of
from apps.proxy.dialects.translation import BackStream, Chunk, Completion, NotAnAnswer, Payload, Sent, Trouble
from apps.proxy.dialects.wire_json import UNREADABLE

__all__ = ["OllamaBack"]

MAX_LINE_BYTES = 16 * 1024 * 1024
"""A line beyond this is no answer: it would be held in memory whole."""
_BEGINNING = 300
_NOTHING = msgspec.Raw(b"")
_FINISHES = {"stop": "stop", "length": "length", "load": "stop", "unload": "stop", "": "stop"}


class WireFunction(msgspec.Struct):
    name: str = ""
    arguments: msgspec.Raw = _NOTHING


class WireCall(msgspec.Struct):
    function: WireFunction | None = None


class WireMessage(msgspec.Struct):
    content: str | None = None
    thinking: str | None = None
    tool_calls: list[WireCall] | None = None


class WireAnswer(msgspec.Struct):
    """A whole answer, or one line of a stream."""

    message: WireMessage | None = None
    done: bool = False
    done_reason: str | None = None
    prompt_eval_count: int | None = None
    eval_count: int | None = None
    error: Any = None


_decode = msgspec.json.Decoder(WireAnswer).decode


def _decoded(data: bytes) -> WireAnswer:
    try:
        return _decode(data)
    except UNREADABLE as error:
        raise NotAnAnswer(f"the answer is not what this format has: {error}") from None


class OllamaBack:
    name = "ollama"
    stream_type = b"application/x-ndjson"

    def request(self, payload: Payload, model: str, *, stream: bool) -> Sent:
        return ollama_request.request(payload, model, stream=stream)

    def answer(self, body: bytes, payload: Payload) -> Completion:
        answer = _decoded(body)
        message = answer.message
        if answer.error is not None or message is None or not answer.done:
            raise NotAnAnswer("the answer is no message that is done")
        said: Payload = {"role": "assistant", "content": message.content or None, "refusal": None}
        if message.thinking:
            said["reasoning_content"] = message.thinking
        calls = _calls(message)
        if calls:
            said["tool_calls"] = calls
        choice = {"index": 0, "message": said, "logprobs": None, **_finish(answer, called=bool(calls))}
        return {**head_of(payload, "chat.completion"), "choices": [choice], "usage": _usage(answer)}

    def stream(self, payload: Payload) -> BackStream:
        return OllamaStream(payload)

    def error(self, status: int, body: bytes) -> Trouble:
        try:
            said = _decode(body).error
        except UNREADABLE:
            said = None
        message = said.strip() if type(said) is str else ""
        if not message:
            beginning = body[: _BEGINNING * 4].decode("utf-8", "replace").strip()[:_BEGINNING]
            message = f"The provider answered {status}: {beginning or 'nothing'}"
        if status == 404:
            return Trouble(message, "not_found_error", "model_not_found")
        if status in (401, 403):
            return Trouble(message, "authentication_error", "invalid_api_key")
        if status in (429, 503):
            return Trouble(message, "rate_limit_error" if status == 429 else "server_error", "overloaded")
        return Trouble(message, "server_error" if status >= 500 else "invalid_request_error")


class OllamaStream:
    """Whole once a line said that it is done; what comes after it is not read."""

    __slots__ = ("_calls", "_ended", "_head", "_held", "_size", "_started", "finished")

    def __init__(self, payload: Payload) -> None:
        self.finished = False
        self._ended = False
        self._started = False
        self._head = head_of(payload, "chat.completion.chunk")
        self._held: list[bytes] = []
        self._size = 0
        self._calls = 0

    def feed(self, data: bytes) -> list[Chunk]:
        chunks: list[Chunk] = []
        first, *rest = data.split(b"\n")
        self._held.append(first)
        self._size += len(first)
        for line in rest:
            whole, self._held, self._size = b"".join(self._held), [line], len(line)
            self._line(whole, chunks)
        if self._size > MAX_LINE_BYTES and not self._ended:
            raise NotAnAnswer(f"a line is larger than {MAX_LINE_BYTES} bytes")
        return chunks

    def close(self) -> list[Chunk]:
        chunks: list[Chunk] = []
        whole, self._held = b"".join(self._held), []
        self._line(whole, chunks)
        return chunks

    def _line(self, line: bytes, chunks: list[Chunk]) -> None:
        if self._ended or not line.strip():
            return
        answer = _decoded(line)
        if answer.error is not None:
            self._ended = True
            words = answer.error if type(answer.error) is str else json.dumps(answer.error)
            chunks.append({"error": {"message": words, "type": "server_error", "code": None}})
            return
        message = answer.message
        if message is None:
            raise NotAnAnswer("a line without a message")
        if not self._started:
            self._started = True
            chunks.append(self._chunk({"role": "assistant", "content": ""}))
        if message.thinking:
            chunks.append(self._chunk({"reasoning_content": message.thinking}))
        if message.content:
            chunks.append(self._chunk({"content": message.content}))
        for call in _calls(message):
            chunks.append(self._chunk({"tool_calls": [{"index": self._calls, **call}]}))
            self._calls += 1
        if answer.done:
            last = self._chunk({})
            last["choices"][0].update(_finish(answer, called=self._calls > 0))
            self._ended = self.finished = True
            chunks += [last, {**self._head, "choices": [], "usage": _usage(answer)}]

    def _chunk(self, delta: Payload) -> Chunk:
        return {**self._head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]}


def _calls(message: WireMessage) -> list[Payload]:
    """Raises NotAnAnswer."""
    calls: list[Payload] = []
    for call in message.tool_calls or ():
        if call.function is None or not call.function.name:
            raise NotAnAnswer("a call without a name")
        data = bytes(call.function.arguments)
        if data in (b"", b"null"):
            data = b"{}"
        if data[:1] != b"{":
            raise NotAnAnswer("a call's arguments are no JSON object")
        function = {"name": call.function.name, "arguments": data.decode("utf-8", "replace")}
        calls.append({"id": f"call_{uuid4().hex[:24]}", "type": "function", "function": function})
    return calls


def _finish(answer: WireAnswer, *, called: bool) -> Payload:
    """A reason that is not known is a filtered answer: never a whole one. Older servers say none."""
    reason = answer.done_reason or ""
    finish = _FINISHES.get(reason, "content_filter")
    said: Payload = {"finish_reason": "tool_calls" if called and finish == "stop" else finish}
    if reason:
        said["native_finish_reason"] = reason
    return said


def _usage(answer: WireAnswer) -> Payload:
    prompt, completion = max(0, answer.prompt_eval_count or 0), max(0, answer.eval_count or 0)
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}
