"""Events of Anthropic's streams, as its providers write them."""

from __future__ import annotations

import json
from typing import Any

USAGE = {"input_tokens": 5, "cache_read_input_tokens": 3, "cache_creation_input_tokens": 2, "output_tokens": 1}


def event(kind: str, **fields: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **fields}, ensure_ascii=False)}\n\n".encode()


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> bytes:
    told = [event("content_block_delta", index=index, delta=delta) for delta in deltas]
    return event("content_block_start", index=index, content_block=start) + b"".join(told) + event("content_block_stop", index=index)


def text(index: int, *pieces: str) -> bytes:
    return block(index, {"type": "text", "text": ""}, *({"type": "text_delta", "text": piece} for piece in pieces))


def call(index: int, name: str, *pieces: str, **fields: Any) -> bytes:
    start = {"type": "tool_use", "id": f"toolu_{index}", "name": name, "input": {}, **fields}
    return block(index, start, *({"type": "input_json_delta", "partial_json": piece} for piece in pieces))


START = event("message_start", message={"id": "msg_1", "type": "message", "role": "assistant", "model": "m", "content": [], "usage": USAGE})
PING = b'event: ping\ndata: {"type": "ping"}\n\n'
STOP = event("message_stop")
THOUGHT = block(
    0,
    {"type": "thinking", "thinking": "", "signature": ""},
    {"type": "thinking_delta", "thinking": "Hm, "},
    {"type": "thinking_delta", "thinking": "ü."},
    {"type": "signature_delta", "signature": "c2ln"},
)


def finish(reason: str = "end_turn", **delta: Any) -> bytes:
    return event("message_delta", delta={"stop_reason": reason, "stop_sequence": None, **delta}, usage={"output_tokens": 9})


WHOLE = (
    START
    + PING
    + THOUGHT
    + block(1, {"type": "redacted_thinking", "data": "x"})
    + text(2, "Lo", "öking 👀.")
    + call(3, "look", '{"a"', ': "ü"}')
    + call(4, "look")
    + finish("tool_use")
    + STOP
)
