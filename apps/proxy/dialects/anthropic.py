"""Anthropic's Messages API: apps that speak it, providers that serve it, and what passes between the two of them as it is.

Source: Anthropic's API reference, version 2023-06-01, and what its own SDKs read.
"""

from __future__ import annotations

from apps.proxy.dialects import anthropic_asked, anthropic_request
from apps.proxy.dialects.anthropic_answer import app_answer, pivot_answer
from apps.proxy.dialects.anthropic_events import AnthropicBackStream
from apps.proxy.dialects.anthropic_stream import AnthropicStream, open_block
from apps.proxy.dialects.anthropic_told import AnthropicFrontStream, trouble_told
from apps.proxy.dialects.anthropic_wire import decode_count, decode_message, decode_trouble, tokens_of
from apps.proxy.dialects.base import Answer, StreamWatch
from apps.proxy.dialects.natives import Resumed, retold
from apps.proxy.dialects.translation import Asked, BackStream, Completion, FrontStream, NotAnAnswer, Payload, Sent, Trouble
from apps.proxy.dialects.wire_json import UNREADABLE

__all__ = ["AnthropicBack", "AnthropicFront", "AnthropicNative", "AnthropicStream", "native_answer", "native_count"]

_BEGINNING = 300
"""Characters of a body that is told where nothing in it can be read."""
_STATUSES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    408: "timeout_error",
    413: "request_too_large",
    422: "invalid_request_error",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_TROUBLES: dict[str, tuple[str, str | None]] = {
    "invalid_request_error": ("invalid_request_error", None),
    "authentication_error": ("authentication_error", "invalid_api_key"),
    "billing_error": ("insufficient_quota", "insufficient_quota"),
    "permission_error": ("permission_error", None),
    "not_found_error": ("not_found_error", None),
    "request_too_large": ("invalid_request_error", "request_too_large"),
    "rate_limit_error": ("rate_limit_error", "rate_limit_exceeded"),
    "timeout_error": ("timeout_error", "timeout"),
    "overloaded_error": ("server_error", "overloaded"),
    "api_error": ("server_error", None),
}
"""(type, code) in OpenAI's words, by Anthropic's type."""


class AnthropicFront:
    name = "anthropic"
    alive = b'event: ping\ndata: {"type": "ping"}\n\n'

    def read(self, body: Payload) -> Asked:
        """Of ``/v1/messages`` and of ``/v1/messages/count_tokens`` (the same without an output)."""
        return anthropic_asked.read(body)

    def outline(self, body: Payload) -> Asked:
        """``read`` without what only a target of this format can be told: for choosing and counting, never to be sent."""
        return anthropic_asked.outline(body)

    def answer(self, completion: Completion, asked: Payload) -> Payload:
        """Raises NotAnAnswer where a call's arguments are no JSON object: this format cannot say them."""
        return app_answer(completion, asked)

    def counted(self, tokens: int) -> Payload:
        """The answer to a question for the tokens of an input."""
        return {"input_tokens": tokens}

    def stream(self, asked: Payload) -> FrontStream:
        return AnthropicFrontStream(asked)

    def error(self, status: int, trouble: Trouble, request_id: str) -> Payload:
        said = trouble_told(trouble, _STATUSES.get(status) or ("api_error" if status >= 500 else "invalid_request_error"))
        if trouble.param == "thread":  # at which SDKs send the whole conversation by themselves
            said["error"]["details"] = {"error_code": "thread_unsupported_request", "unsupported": ["thread"]}
        return {**said, "request_id": request_id}


class AnthropicBack:
    name = "anthropic"
    stream_type = b"text/event-stream"

    def request(self, payload: Payload, model: str, *, stream: bool) -> Sent:
        return anthropic_request.request(payload, model, stream=stream)

    def count_request(self, payload: Payload, model: str) -> Sent:
        return anthropic_request.count_request(payload, model)

    def answer(self, body: bytes, payload: Payload) -> Completion:
        return pivot_answer(body, payload)

    def stream(self, payload: Payload) -> BackStream:
        return AnthropicBackStream(payload)

    def error(self, status: int, body: bytes) -> Trouble:
        try:
            said = decode_trouble(body).error
        except UNREADABLE:
            beginning = body[: _BEGINNING * 4].decode("utf-8", "replace").strip()[:_BEGINNING]
            type_, code = _TROUBLES[_STATUSES.get(status, "api_error" if status >= 500 else "invalid_request_error")]
            return Trouble(f"The provider answered {status}: {beginning or 'nothing'}", type_, code)
        type_, code = _TROUBLES.get(said.type, ("server_error" if status >= 500 else "invalid_request_error", None))
        message = said.message or f"The provider answered {status} ({said.type})."
        if said.type == "not_found_error" and message.startswith("model:"):
            code = "model_not_found"
        elif said.type == "invalid_request_error" and ("prompt is too long" in message or "exceed context limit" in message):
            code = "context_length_exceeded"
        elif said.type == "invalid_request_error" and "credit balance is too low" in message:
            type_, code = "insufficient_quota", "insufficient_quota"
        return Trouble(message, type_, code)


class AnthropicNative:
    """What must be known where an app and a provider both speak this format, and its bytes pass through."""

    stream_type = b"text/event-stream"
    headers = (b"anthropic-beta",)

    def path(self, model: str, *, stream: bool) -> str:
        return anthropic_request.PATH

    def changed(self, asked: Payload, model: str, cap: int | None) -> Payload:
        if asked.get("model") == model and cap is None:
            return asked
        said = {**asked, "model": model}
        if cap is not None:
            said["max_tokens"] = cap
        return said

    def answer(self, body: bytes) -> Answer | None:
        return native_answer(body)

    def stream(self, asked: Payload | None = None) -> AnthropicStream:
        return AnthropicStream()

    def resume(self, watch: StreamWatch, asked: Payload) -> Resumed | None:
        """Only where the block that is open is the one that it would be had all of it been told here."""
        passed = watch.passed() if isinstance(watch, AnthropicStream) and not watch.malformed else None
        if passed is None:
            return None
        front = AnthropicFrontStream(asked)
        found = retold(passed, AnthropicBackStream({}), front)
        return found if found is not None and front.stands_at(*open_block(passed)) else None


def native_answer(body: bytes) -> Answer | None:
    """What a message's own bytes say of it; None when it is not a whole one."""
    try:
        message = decode_message(body)
    except NotAnAnswer:
        return None
    if message.error is not None or message.type != "message" or message.content is None:
        return None
    return Answer(tokens_of(message.usage) if message.usage is not None else None)


def native_count(body: bytes) -> int | None:
    """The tokens that an answer of ``count_tokens`` says; None when it is none."""
    try:
        return max(0, decode_count(body).input_tokens)
    except UNREADABLE:
        return None
