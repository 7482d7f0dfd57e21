"""Responses that pass through: what must be known of them on the way."""

from __future__ import annotations

from typing import Any

from apps.proxy.dialects.base import Answer, StreamWatch
from apps.proxy.dialects.event_watch import MALFORMED, EventWatch
from apps.proxy.dialects.natives import Resumed
from apps.proxy.dialects.responses_heard import ResponsesBackStream
from apps.proxy.dialects.responses_resumed import ResumedResponse
from apps.proxy.dialects.responses_wire import (
    Event,
    Response,
    decode_event,
    decode_response,
    tokens_of,
    trouble_of,
    unwrapped,
)
from apps.proxy.dialects.responses_write import PATH
from apps.proxy.dialects.translation import NotAnAnswer, Payload
from apps.proxy.dialects.wire_json import UNREADABLE, written

_SPLICED = '{"error":{"message":"a second response began in it","type":"server_error","code":"upstream_malformed"}}'
_NO_OUTPUT = ("message", "reasoning")
"""Items whose beginning says nothing yet; that of a tool call does."""


class ResponsesStream(EventWatch):
    """Follows one stream. It is whole with ``response.completed`` or ``response.incomplete``; nothing after them counts."""

    __slots__ = ("_begun",)

    marks = (b'.completed"', b'.incomplete"', b'.failed"', b'"error"', b'.created"', b"[DONE]")

    def __init__(self) -> None:
        super().__init__()
        self._begun = False

    def look(self, data: bytes, event: bytes) -> bool:
        if data == b"[DONE]":
            return False
        try:
            said = decode_event(data)
            kind = said.type
            if kind in ("response.completed", "response.incomplete"):
                return self._end(decode_response(said.response), event)
        except UNREADABLE:
            self.error = MALFORMED
            return False
        if kind == "response.created":
            if self._begun:
                self.error = _SPLICED
                return False
            self._begun = True
        elif kind == "response.failed" or kind == "error" or (not kind and said.error is not None):
            self.error = self._failure(said)
            return False
        elif kind.endswith(".delta") or (
            kind == "response.output_item.added" and said.item is not None and said.item.get("type") not in _NO_OUTPUT
        ):
            self.has_output = True
        return True

    def _end(self, response: Response, event: bytes) -> bool:
        if response.usage is not None:
            self.tokens = tokens_of(response.usage, response.output)
        self.finished = self.has_output = True
        self.rest = event + b"\n\n"
        return False

    def _failure(self, said: Event) -> str:
        """An in-band error as all formats have it: ``{"error": {...}}``."""
        error = said.error or {"message": said.message, "code": said.code, "param": said.param}
        if said.type == "response.failed":
            try:
                error = decode_response(said.response).error
            except UNREADABLE:
                error = None
        trouble = trouble_of(error, "the response failed, and the provider does not say why", "server_error")
        return written({"error": {"message": trouble.message, "type": trouble.type, "code": trouble.code, "param": trouble.param}}).decode()

    def measure(self, data: bytes) -> int:
        try:
            said = decode_event(data)
        except UNREADABLE:
            return len(data)
        return len(said.delta.encode("utf-8", "surrogatepass")) if type(said.delta) is str else 0


def native_answer(body: bytes) -> Answer | None:
    """What a 200's body says of itself; None when it is not a whole answer. One that is made in the background has no usage yet."""
    try:
        response = decode_response(body)
    except UNREADABLE:
        return None
    if response.error is not None or response.status in ("failed", "cancelled") or response.output is None:
        return None
    return Answer(tokens_of(response.usage, response.output) if response.usage is not None else None)


class ResponsesNative:
    """Requests that pass through (``apps.proxy.dialects.natives.Native``)."""

    stream_type = b"text/event-stream"
    headers: tuple[bytes, ...] = ()

    def path(self, model: str, *, stream: bool) -> str:
        return PATH

    def changed(self, asked: Payload, model: str, cap: int | None) -> Payload:
        """Without reasoning that other formats' models thought: only they could read it, and everybody else refuses it."""
        changes: Payload = {}
        if asked.get("model") != model:
            changes["model"] = model
        if cap is not None and asked.get("max_output_tokens") is None:
            changes["max_output_tokens"] = cap
        items = asked.get("input")
        if type(items) is list and any(_foreign(item) for item in items):
            changes["input"] = [item for item in items if not _foreign(item)]
        return {**asked, **changes} if changes else asked

    def answer(self, body: bytes) -> Answer | None:
        return native_answer(body)

    def stream(self, asked: Payload | None = None) -> ResponsesStream:
        return ResponsesStream()

    def resume(self, watch: StreamWatch, asked: Payload) -> Resumed | None:
        """Only in the middle of a message's text."""
        passed = watch.passed() if isinstance(watch, ResponsesStream) else None
        front = ResumedResponse(asked)
        if passed is None or not front.take(passed) or not front.can_go_on():
            return None
        try:
            return Resumed(ResponsesBackStream().feed(passed), front)
        except NotAnAnswer:
            return None


def _foreign(item: Any) -> bool:
    return type(item) is dict and item.get("type") == "reasoning" and unwrapped(item.get("encrypted_content")) is not None
