"""Anthropic's wire format: messages checked and read as a chat call, answers and events written. No sockets, no time.

What is said, how long it is and what it costs are the same as in OpenAI's format. Source: Anthropic's API reference, Messages.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from apps.simulator.counting import BYTES_PER_TOKEN, text_tokens
from apps.simulator.openai import EXTENSION, SIMULATED, ChatCall, Choice, Refused, arguments, encode
from apps.simulator.wire import Asked, Usage

PATH = re.compile(r"/v1/messages")
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    529: "overloaded_error",
}
_REASONS = {"stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use"}
MALFORMED = b'event: content_block_delta\ndata: {"type":"content_block_delta","delta":\n\nthis line is no field of an event stream\n\n'


def error_body(status: int, message: str, *, param: str | None = None, code: str | None = None) -> bytes:
    """Anthropic's error object, marked as simulated. It has no place for param and code."""
    kind = _TYPES.get(status, "invalid_request_error" if status < 500 else "api_error")
    return encode({"type": "error", "error": {"type": kind, "message": message}, "request_id": None, SIMULATED: True})


def models_body(names: list[str], created: int) -> bytes:
    made = datetime.fromtimestamp(created, UTC).isoformat().replace("+00:00", "Z")
    rows = [{"type": "model", "id": name, "display_name": name, "created_at": made} for name in names]
    ends = {"first_id": names[0] if names else None, "last_id": names[-1] if names else None}
    return encode({"data": rows, "has_more": False, **ends, SIMULATED: True})


def chat_call(asked: Asked) -> ChatCall:
    """The request as a chat call. Raises Refused."""
    return read(asked.body)


def read(body: dict[str, Any]) -> ChatCall:
    """The same of a body alone. Raises Refused."""
    if not isinstance(body.get("max_tokens"), int):
        raise Refused("max_tokens: Field required")
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refused("messages: at least one message is required")
    asked: list[dict[str, Any]] = []
    if body.get("system"):
        asked.append({"role": "system", "content": _text(body["system"])})
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in ("user", "assistant"):
            raise Refused(f"messages.{index}.role: Input should be 'user' or 'assistant'")
        asked.append({"role": message["role"], "content": _text(message.get("content"))})
    chat: dict[str, Any] = {"model": body.get("model"), "messages": asked, "max_tokens": body["max_tokens"]}
    for name in ("stream", "temperature", "top_k", "metadata", EXTENSION):
        if name in body:
            chat[name] = body[name]
    if body.get("stop_sequences"):
        chat["stop"] = body["stop_sequences"]
    if body.get("tools"):
        chat["tools"] = [
            {"type": "function", "function": {"name": tool.get("name"), "parameters": tool.get("input_schema")}}
            for tool in body["tools"]
            if isinstance(tool, dict)
        ]
    choice = body.get("tool_choice")
    if isinstance(choice, dict):
        named = {"type": "function", "function": {"name": choice.get("name")}}
        chat["tool_choice"] = {"any": "required", "none": "none", "auto": "auto"}.get(str(choice.get("type")), named)
    wanted = (body.get("output_config") or {}).get("format") or body.get("output_format")
    if isinstance(wanted, dict) and wanted.get("type") == "json_schema":
        chat["response_format"] = {"type": "json_schema", "json_schema": {"schema": wanted.get("schema")}}
    if asked[-1]["role"] == "assistant":  # Anthropic goes on from a last message of the model's own
        chat["continue_final_message"] = True
    return ChatCall(chat)


def _text(content: Any) -> Any:
    """Texts joined; anything else is left to be counted as it is."""
    if isinstance(content, list) and all(isinstance(block, dict) and block.get("type") == "text" for block in content):
        return "".join(str(block.get("text", "")) for block in content)
    return content


def answer_body(answer_id: str, created: int, call: ChatCall, choices: list[Choice], usage: Usage | None) -> bytes:
    """The JSON answer; it has one choice."""
    choice = choices[0]
    if choice.tool is None:
        block: dict[str, Any] = {"type": "text", "text": choice.text}
    else:
        block = {"type": "tool_use", "id": f"toolu_{answer_id[-12:]}", "name": choice.tool, "input": arguments(choice)}
    body = {**_message(answer_id, call), "content": [block], "stop_reason": _reason(call, choice), "stop_sequence": None}
    if usage is not None:
        body["usage"] = _usage(usage)
    return encode({**body, SIMULATED: True})


def _message(answer_id: str, call: ChatCall) -> dict[str, Any]:
    return {"id": answer_id, "type": "message", "role": "assistant", "model": call.model}


def _reason(call: ChatCall, choice: Choice) -> str:
    return _REASONS.get(choice.finish_reason, choice.finish_reason)


def _usage(usage: Usage) -> dict[str, int]:
    return {
        "input_tokens": usage["prompt_tokens"],
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": 0,
        "output_tokens": usage["completion_tokens"],
    }


class Events:
    """Writes the events of one streamed message; it has one choice."""

    error = b"event: error\ndata: " + error_body(529, "Overloaded (simulated).") + b"\n\n"
    malformed = MALFORMED

    def __init__(self, answer_id: str, created: int, call: ChatCall, usage: Usage) -> None:
        self._call = call
        self._id = answer_id
        self._usage = usage
        self._reason = "end_turn"

    def opening(self, index: int, choice: Choice) -> bytes:
        started = {**_usage(self._usage), "output_tokens": 1}
        message = {**_message(self._id, self._call), "content": [], "stop_reason": None, "stop_sequence": None, "usage": started}
        block: dict[str, Any] = {"type": "text", "text": ""}
        if choice.tool is not None:
            block = {"type": "tool_use", "id": f"toolu_{self._id[-12:]}", "name": choice.tool, "input": {}}
        begun = _event("message_start", message={**message, SIMULATED: True})
        return begun + _event("content_block_start", index=0, content_block=block) + _event("ping")

    def pieces(self, index: int, choice: Choice, tokens_per_event: int) -> Iterator[tuple[int, bytes]]:
        """(tokens, event) for each piece of the content."""
        size = tokens_per_event * BYTES_PER_TOKEN
        kind, field = ("text_delta", "text") if choice.tool is None else ("input_json_delta", "partial_json")
        for start in range(0, len(choice.text), size):
            piece = choice.text[start : start + size]
            yield text_tokens(piece), _event("content_block_delta", index=0, delta={"type": kind, field: piece})

    def closing(self, index: int, choice: Choice) -> bytes:
        self._reason = _reason(self._call, choice)
        return _event("content_block_stop", index=0)

    def ending(self, *, usage: bool, done: bool) -> bytes:
        counted = {"usage": _usage(self._usage)} if usage else {}
        told = _event("message_delta", delta={"stop_reason": self._reason, "stop_sequence": None}, **counted)
        return told + _event("message_stop") if done else told


def _event(kind: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), encode({"type": kind, **fields}))
