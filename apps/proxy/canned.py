"""A route's prepared answer in OpenAI's shapes, for the time in which it calls no provider."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

if TYPE_CHECKING:
    from apps.proxy.exchange import Exchange

_encode = msgspec.json.Encoder().encode
_NO_USAGE = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}


def canned_answer(exchange: Exchange, text: str) -> bytes:
    """A whole chat completion that cost nothing."""
    message = {"role": "assistant", "content": text}
    return _encode(
        {
            **_shared(exchange, "chat.completion"),
            "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}],
            "usage": _NO_USAGE,
        }
    )


def canned_stream(exchange: Exchange, text: str) -> bytes:
    """The same as server-sent events, to the end."""
    shared = _shared(exchange, "chat.completion.chunk")
    events: list[dict[str, Any]] = [
        {**shared, "choices": [{"index": 0, "delta": {"role": "assistant", "content": text}, "finish_reason": None}]},
        {**shared, "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
    ]
    if exchange.usage_asked:
        events.append({**shared, "choices": [], "usage": _NO_USAGE})
    return b"".join(b"data: %b\n\n" % _encode(event) for event in events) + b"data: [DONE]\n\n"


def _shared(exchange: Exchange, kind: str) -> dict[str, Any]:
    return {
        "id": f"chatcmpl-{exchange.request_id}",
        "object": kind,
        "created": exchange.started_us // 1_000_000,
        "model": exchange.requested_model,
    }
