"""Gemini's wire format: generateContent checked and read as a chat call, answers and events written. No sockets, no time.

What is said, how long it is and what it costs are the same as in OpenAI's format. Source: Gemini API reference, generateContent.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any
from urllib.parse import unquote

from apps.simulator.counting import BYTES_PER_TOKEN, text_tokens
from apps.simulator.openai import EXTENSION, SIMULATED, ChatCall, Choice, Refused, arguments, encode
from apps.simulator.wire import Asked, Usage

PATH = re.compile(r"/v1(?:beta)?/(?:publishers/google/)?models/(?P<model>.+):(?P<method>generateContent|streamGenerateContent)")
_STATUSES = {
    400: "INVALID_ARGUMENT",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "NOT_FOUND",
    429: "RESOURCE_EXHAUSTED",
    503: "UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}
_REASONS = {"stop": "STOP", "length": "MAX_TOKENS", "tool_calls": "STOP"}
_ROLES = {"model": "assistant", "user": "user"}


def models_body(names: list[str]) -> bytes:
    methods = ["generateContent", "countTokens"]
    models = [{"name": f"models/{name}", "displayName": name, "supportedGenerationMethods": methods} for name in names]
    return encode({"models": models, SIMULATED: True})


def error_body(status: int, message: str, *, param: str | None = None, code: str | None = None) -> bytes:
    """Google's error object, marked as simulated. It has no place for param and code."""
    named = _STATUSES.get(status, "INVALID_ARGUMENT" if status < 500 else "INTERNAL")
    return encode({"error": {"code": status, "message": message, "status": named}, SIMULATED: True})


def chat_call(asked: Asked) -> ChatCall:
    """The request as a chat call. Raises Refused."""
    return read(asked.body, unquote(asked.match["model"]), stream=asked.match["method"] == "streamGenerateContent")


def read(body: dict[str, Any], model: str, *, stream: bool) -> ChatCall:
    """The same of a body alone. Raises Refused."""
    contents = body.get("contents")
    if not isinstance(contents, list) or not contents:
        raise Refused("* GenerateContentRequest.contents: contents is not specified")
    asked: list[dict[str, Any]] = []
    if isinstance(body.get("systemInstruction"), dict):
        asked.append({"role": "system", "content": _text(body["systemInstruction"])})
    for content in contents:
        role = content.get("role", "user") if isinstance(content, dict) else None
        if role not in _ROLES:
            raise Refused("Please use a valid role: user, model.")
        asked.append({"role": _ROLES[role], "content": _text(content)})
    chat: dict[str, Any] = {"model": model, "messages": asked, "stream": stream}
    if EXTENSION in body:
        chat[EXTENSION] = body[EXTENSION]
    settings = body.get("generationConfig") or {}
    for theirs, ours in (
        ("maxOutputTokens", "max_tokens"),
        ("temperature", "temperature"),
        ("topK", "top_k"),
        ("seed", "seed"),
        ("stopSequences", "stop"),
        ("candidateCount", "n"),
    ):
        if settings.get(theirs) is not None:
            chat[ours] = settings[theirs]
    if settings.get("responseMimeType") == "application/json":
        schema = settings.get("responseJsonSchema") or settings.get("responseSchema")
        chat["response_format"] = {"type": "json_schema", "json_schema": {"schema": schema}} if schema else {"type": "json_object"}
    _tools(body, chat)
    return ChatCall(chat)


def _tools(body: dict[str, Any], chat: dict[str, Any]) -> None:
    declared = [
        {
            "name": one.get("name"),  # Google's SDK writes the next in snake_case, and Google reads both
            "parameters": one.get("parametersJsonSchema") or one.get("parameters_json_schema") or one.get("parameters"),
        }
        for tool in body.get("tools") or ()
        for one in tool.get("functionDeclarations") or ()
    ]
    if not declared:
        return
    chat["tools"] = [{"type": "function", "function": function} for function in declared]
    config = (body.get("toolConfig") or {}).get("functionCallingConfig") or {}
    if config.get("mode") == "ANY":
        names = config.get("allowedFunctionNames") or ()
        chat["tool_choice"] = {"type": "function", "function": {"name": names[0]}} if names else "required"


def _text(content: dict[str, Any]) -> Any:
    """Texts joined; anything else is left to be counted as it is."""
    parts = content.get("parts")
    if isinstance(parts, list) and all(isinstance(part, dict) and isinstance(part.get("text"), str) for part in parts):
        return "".join(part["text"] for part in parts)
    return parts


def _usage(usage: Usage) -> dict[str, int]:
    prompt, output = usage["prompt_tokens"], usage["completion_tokens"]
    return {"promptTokenCount": prompt, "candidatesTokenCount": output, "totalTokenCount": prompt + output}


def _candidate(index: int, parts: list[dict[str, Any]], finish: str | None = None) -> dict[str, Any]:
    found: dict[str, Any] = {"content": {"parts": parts, "role": "model"}, "index": index}
    return {**found, "finishReason": _REASONS.get(finish, "OTHER")} if finish is not None else found


def _call(choice: Choice) -> dict[str, Any]:
    return {"functionCall": {"name": choice.tool, "args": arguments(choice)}}


def answer_body(answer_id: str, created: int, call: ChatCall, choices: list[Choice], usage: Usage | None) -> bytes:
    """The JSON answer."""
    candidates = [
        _candidate(index, [{"text": choice.text} if choice.tool is None else _call(choice)], choice.finish_reason)
        for index, choice in enumerate(choices)
    ]
    body: dict[str, Any] = {"candidates": candidates, "modelVersion": call.model, "responseId": answer_id, SIMULATED: True}
    if usage is not None:
        body["usageMetadata"] = _usage(usage)
    return encode(body)


class Events:
    """Writes the events of one streamed answer; a tool's call is one piece."""

    error = b"data: " + error_body(503, "The model is overloaded (simulated).") + b"\n\n"
    malformed = b'data: {"candidates":[{"content":\n\nthis line is no field of an event stream\n\n'

    def __init__(self, answer_id: str, created: int, call: ChatCall, usage: Usage) -> None:
        self._shared = {"modelVersion": call.model, "responseId": answer_id, SIMULATED: True}
        self._usage = usage
        self._ends: list[dict[str, Any]] = []

    def opening(self, index: int, choice: Choice) -> bytes:
        return b""

    def pieces(self, index: int, choice: Choice, tokens_per_event: int) -> Iterator[tuple[int, bytes]]:
        """(tokens, event) for each piece of the content."""
        if choice.tool is not None:
            yield text_tokens(choice.text), self._event([_candidate(index, [_call(choice)])])
            return
        size = tokens_per_event * BYTES_PER_TOKEN
        for start in range(0, len(choice.text), size):
            piece = choice.text[start : start + size]
            yield text_tokens(piece), self._event([_candidate(index, [{"text": piece}])])

    def closing(self, index: int, choice: Choice) -> bytes:
        self._ends.append(_candidate(index, [{"text": ""}], choice.finish_reason))
        return b""

    def ending(self, *, usage: bool, done: bool) -> bytes:
        """done: without it no candidate has a finish reason, which is how this format says that it is whole."""
        ends = self._ends if done else []
        return self._event(ends, **({"usageMetadata": _usage(self._usage)} if usage else {}))

    def _event(self, candidates: list[dict[str, Any]], **more: Any) -> bytes:
        return b"data: %b\n\n" % encode({"candidates": candidates, **self._shared, **more})
