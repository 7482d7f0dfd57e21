"""Cohere's Chat API, version 2: calls checked and read as a chat call, answers and events written. No sockets, no time.

Source: Cohere's API reference, "Chat API (v2)".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from apps.simulator.counting import BYTES_PER_TOKEN, text_tokens
from apps.simulator.openai import EXTENSION, SIMULATED, ChatCall, Choice, Refused, encode
from apps.simulator.wire import Asked, Usage

PATH = re.compile(r"/v2/chat")
_REASONS = {"stop": "COMPLETE", "length": "MAX_TOKENS", "tool_calls": "TOOL_CALL"}
_ROLES = ("user", "assistant", "system", "tool")
_PASSED = ("model", "stream", "max_tokens", "temperature", "seed", "metadata", EXTENSION)


def error_body(status: int, message: str, *, param: str | None = None, code: str | None = None) -> bytes:
    """Cohere's error object, marked as simulated."""
    return encode({"id": "simulated", "message": message, SIMULATED: True})


def models_body(names: list[str]) -> bytes:
    rows = [
        {"name": name, "endpoints": ["embed" if "embed" in name else "chat"], "context_length": 128_000, "finetuned": False}
        for name in names
    ]
    return encode({"models": rows, SIMULATED: True})


def chat_call(asked: Asked) -> ChatCall:
    """The request as a chat call. Raises Refused."""
    body = asked.body
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refused("invalid request: list of messages must not be empty")
    said: list[dict[str, Any]] = []
    for index, one in enumerate(messages):
        if not isinstance(one, dict) or one.get("role") not in _ROLES:
            raise Refused(f"invalid request: messages[{index}].role must be one of {', '.join(_ROLES)}")
        turn = {"role": one["role"], "content": _text(one.get("content"))}
        if one.get("tool_calls"):
            turn["tool_calls"] = one["tool_calls"]
        said.append(turn)
    chat: dict[str, Any] = {"messages": said, **{name: body[name] for name in _PASSED if body.get(name) is not None}}
    if body.get("k") is not None:
        chat["top_k"] = body["k"]
    if body.get("stop_sequences"):
        chat["stop"] = body["stop_sequences"]
    if body.get("tools"):
        chat["tools"] = body["tools"]
        if body.get("response_format"):
            raise Refused("invalid request: cannot specify both response_format and tools")
        if body.get("tool_choice") == "REQUIRED":
            chat["tool_choice"] = "required"
    wanted = body.get("response_format")
    if isinstance(wanted, dict) and wanted.get("type") == "json_object":
        schema = wanted.get("json_schema") or wanted.get("schema")
        chat["response_format"] = {"type": "json_schema", "json_schema": {"schema": schema}} if schema else {"type": "json_object"}
    return ChatCall(chat)


def _text(content: Any) -> Any:
    """Texts joined; anything else is left to be counted as it is."""
    if isinstance(content, list) and all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in content):
        return "".join(part["text"] for part in content)
    return content


def _usage(usage: Usage) -> dict[str, Any]:
    """Billed are the app's tokens; Cohere's own prompt around them counts beside."""
    prompt, output = usage["prompt_tokens"], usage["completion_tokens"]
    billed = {"input_tokens": prompt, "output_tokens": output}
    return {"billed_units": billed, "tokens": {"input_tokens": prompt + 200, "output_tokens": output}, "cached_tokens": 0}


def _tool(answer_id: str, choice: Choice, text: str) -> dict[str, Any]:
    return {"id": f"{choice.tool}_{answer_id[-12:]}", "type": "function", "function": {"name": choice.tool, "arguments": text}}


def answer_body(answer_id: str, created: int, call: ChatCall, choices: list[Choice], usage: Usage | None) -> bytes:
    """The JSON answer; it has one choice."""
    choice = choices[0]
    said: dict[str, Any] = {"role": "assistant"}
    if choice.tool is None:
        said["content"] = [{"type": "text", "text": choice.text}]
    else:
        said |= {"tool_plan": "I will use a tool (simulated).", "tool_calls": [_tool(answer_id, choice, choice.text)]}
    body = {"id": answer_id, "finish_reason": _REASONS.get(choice.finish_reason, choice.finish_reason), "message": said}
    if usage is not None:
        body["usage"] = _usage(usage)
    return encode({**body, SIMULATED: True})


class Events:
    """Writes the events of one streamed message; it has one choice."""

    error = (
        b'event: message-end\ndata: {"type":"message-end","delta":{"error":"The model failed (simulated).","finish_reason":"ERROR"}}\n\n'
    )
    malformed = b'event: content-delta\ndata: {"type":"content-delta","delta":\n\nthis line is no field of an event stream\n\n'

    def __init__(self, answer_id: str, created: int, call: ChatCall, usage: Usage) -> None:
        self._id = answer_id
        self._usage = usage
        self._reason = "COMPLETE"

    def opening(self, index: int, choice: Choice) -> bytes:
        message = {"role": "assistant", "content": [], "tool_plan": "", "tool_calls": [], "citations": []}
        begun = _event("message-start", id=self._id, delta={"message": message}, **{SIMULATED: True})
        if choice.tool is None:
            return begun + _event("content-start", index=0, delta={"message": {"content": {"type": "text", "text": ""}}})
        plan = _event("tool-plan-delta", delta={"message": {"tool_plan": "I will use a tool (simulated)."}})
        return begun + plan + _event("tool-call-start", index=0, delta={"message": {"tool_calls": _tool(self._id, choice, "")}})

    def pieces(self, index: int, choice: Choice, tokens_per_event: int) -> Iterator[tuple[int, bytes]]:
        """(tokens, event) for each piece of the content."""
        size = tokens_per_event * BYTES_PER_TOKEN
        for start in range(0, len(choice.text), size):
            piece = choice.text[start : start + size]
            if choice.tool is None:
                event = _event("content-delta", index=0, delta={"message": {"content": {"text": piece}}})
            else:
                event = _event("tool-call-delta", index=0, delta={"message": {"tool_calls": {"function": {"arguments": piece}}}})
            yield text_tokens(piece), event

    def closing(self, index: int, choice: Choice) -> bytes:
        self._reason = _REASONS.get(choice.finish_reason, choice.finish_reason)
        return _event("content-end" if choice.tool is None else "tool-call-end", index=0)

    def ending(self, *, usage: bool, done: bool) -> bytes:
        if not done:
            return b""
        counted = {"usage": _usage(self._usage)} if usage else {}
        return _event("message-end", delta={"finish_reason": self._reason, **counted}) + b"data: [DONE]\n\n"


def _event(kind: str, **fields: Any) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (kind.encode(), encode({"type": kind, **fields}))
