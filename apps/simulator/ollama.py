"""Ollama's own chat API: calls checked and read as a chat call, answers and lines of JSON written. No sockets, no time.

Source: Ollama's API reference, "Generate a chat completion".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

from apps.simulator.counting import BYTES_PER_TOKEN, text_tokens
from apps.simulator.openai import EXTENSION, SIMULATED, ChatCall, Choice, Refused, arguments, encode
from apps.simulator.wire import Asked, Usage

PATH = re.compile(r"/api/chat")
STREAM = b"content-type: application/x-ndjson\r\n"
_ROLES = ("user", "assistant", "system", "tool")
_OPTIONS = (("num_predict", "max_tokens"), ("temperature", "temperature"), ("top_k", "top_k"), ("seed", "seed"), ("stop", "stop"))


def error_body(status: int, message: str, *, param: str | None = None, code: str | None = None) -> bytes:
    """Ollama's error object, marked as simulated."""
    return encode({"error": message, SIMULATED: True})


def models_body(names: list[str]) -> bytes:
    details = {"format": "gguf", "family": "simulated", "parameter_size": "0B", "quantization_level": "Q4_0"}
    rows = [{"name": name, "model": name, "modified_at": _stamp(0), "size": 0, "digest": "simulated", "details": details} for name in names]
    return encode({"models": rows, SIMULATED: True})


def chat_call(asked: Asked) -> ChatCall:
    """The request as a chat call; it streams unless it says that it does not. Raises Refused."""
    body = asked.body
    messages = body.get("messages")
    if not isinstance(messages, list) or not messages:
        raise Refused("messages is required")
    for index, message in enumerate(messages):
        if not isinstance(message, dict) or message.get("role") not in _ROLES or not isinstance(message.get("content", ""), str):
            raise Refused(f"messages[{index}]: a role of {', '.join(_ROLES)} and a text as content are required")
    chat: dict[str, Any] = {"model": body.get("model"), "messages": messages, "stream": body.get("stream") is not False}
    for name in (EXTENSION, "metadata"):
        if name in body:
            chat[name] = body[name]
    options = body.get("options") or {}
    for theirs, ours in _OPTIONS:
        if options.get(theirs) is not None:
            chat[ours] = options[theirs]
    if body.get("tools"):
        chat["tools"] = body["tools"]
    form = body.get("format")
    if form:
        chat["response_format"] = (
            {"type": "json_schema", "json_schema": {"schema": form}} if isinstance(form, dict) else {"type": "json_object"}
        )
    if messages[-1]["role"] == "assistant":
        chat["continue_final_message"] = True
    return ChatCall(chat)


def _stamp(created: int) -> str:
    return datetime.fromtimestamp(created, UTC).isoformat().replace("+00:00", "Z")


def _counts(usage: Usage) -> dict[str, int]:
    return {"prompt_eval_count": usage["prompt_tokens"], "eval_count": usage["completion_tokens"]}


def _done(choice: Choice) -> dict[str, Any]:
    reason = "length" if choice.finish_reason == "length" else "stop"
    return {"done": True, "done_reason": reason, "total_duration": 1_000_000, "load_duration": 1000, "eval_duration": 1000}


def answer_body(answer_id: str, created: int, call: ChatCall, choices: list[Choice], usage: Usage | None) -> bytes:
    """The JSON answer; it has one choice."""
    choice = choices[0]
    said: dict[str, Any] = {"role": "assistant", "content": choice.text}
    if choice.tool is not None:
        said = {"role": "assistant", "content": "", "tool_calls": [{"function": {"name": choice.tool, "arguments": arguments(choice)}}]}
    body = {"model": call.model, "created_at": _stamp(created), "message": said, **_done(choice)}
    if usage is not None:
        body |= _counts(usage)
    return encode({**body, SIMULATED: True})


class Events:
    """Writes the lines of one streamed answer; a tool's call is one line."""

    error = encode({"error": "the model runner has unexpectedly stopped (simulated)", SIMULATED: True}) + b"\n"
    malformed = b'{"model":"broken","message":\nthis line is no JSON\n'

    def __init__(self, answer_id: str, created: int, call: ChatCall, usage: Usage) -> None:
        self._head = {"model": call.model, "created_at": _stamp(created)}
        self._usage = usage
        self._end: dict[str, Any] = {"done": True}

    def opening(self, index: int, choice: Choice) -> bytes:
        return b""

    def pieces(self, index: int, choice: Choice, tokens_per_event: int) -> Iterator[tuple[int, bytes]]:
        """(tokens, line) for each piece of the content."""
        if choice.tool is not None:
            calls = [{"function": {"name": choice.tool, "arguments": arguments(choice)}}]
            yield text_tokens(choice.text), self._line({"role": "assistant", "content": "", "tool_calls": calls}, {"done": False})
            return
        size = tokens_per_event * BYTES_PER_TOKEN
        for start in range(0, len(choice.text), size):
            piece = choice.text[start : start + size]
            yield text_tokens(piece), self._line({"role": "assistant", "content": piece}, {"done": False})

    def closing(self, index: int, choice: Choice) -> bytes:
        self._end = _done(choice)
        return b""

    def ending(self, *, usage: bool, done: bool) -> bytes:
        if not done:
            return b""
        return self._line({"role": "assistant", "content": ""}, {**self._end, **(_counts(self._usage) if usage else {})})

    def _line(self, message: dict[str, Any], more: dict[str, Any]) -> bytes:
        return encode({**self._head, "message": message, **more, SIMULATED: True}) + b"\n"
