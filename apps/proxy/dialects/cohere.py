"""Cohere's Chat API, version 2: how its models are asked, and what they answer. Apps do not speak it to the proxy.

Source: Cohere's API reference and its page of errors.
"""

from __future__ import annotations

import msgspec

from apps.proxy.dialects import cohere_request
from apps.proxy.dialects.cohere_answer import UNREADABLE, CohereStream, pivot_answer
from apps.proxy.dialects.translation import BackStream, Completion, Payload, Sent, Trouble

__all__ = ["CohereBack"]

_BEGINNING = 300
"""Characters of a body that is told where nothing in it can be read."""
_TROUBLES: dict[int, tuple[str, str | None]] = {
    401: ("authentication_error", "invalid_api_key"),
    402: ("insufficient_quota", "insufficient_quota"),
    403: ("permission_error", None),
    404: ("not_found_error", "model_not_found"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
    498: ("invalid_request_error", "content_filter"),
    503: ("server_error", "overloaded"),
    504: ("server_error", "timeout"),
}
_TOO_LONG = ("too many tokens", "context length")


class _Said(msgspec.Struct):
    message: str = ""


_decode = msgspec.json.Decoder(_Said).decode


class CohereBack:
    name = "cohere"
    stream_type = b"text/event-stream"

    def request(self, payload: Payload, model: str, *, stream: bool) -> Sent:
        return cohere_request.request(payload, model, stream=stream)

    def answer(self, body: bytes, payload: Payload) -> Completion:
        return pivot_answer(body, payload)

    def stream(self, payload: Payload) -> BackStream:
        return CohereStream(payload)

    def error(self, status: int, body: bytes) -> Trouble:
        try:
            message = _decode(body).message.strip()
        except UNREADABLE:
            message = ""
        if not message:
            beginning = body[: _BEGINNING * 4].decode("utf-8", "replace").strip()[:_BEGINNING]
            message = f"The provider answered {status}: {beginning or 'nothing'}"
        type_, code = _TROUBLES.get(status) or ("server_error" if status >= 500 else "invalid_request_error", None)
        if type_ == "invalid_request_error" and any(words in message.lower() for words in _TOO_LONG):
            return Trouble(message, type_, "context_length_exceeded", "messages")
        return Trouble(message, type_, code)
