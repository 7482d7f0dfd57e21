"""The pivot as chat completions of any OpenAI-compatible server take it: without what only other formats have.

An app that speaks OpenAI's format itself never comes here: its bytes pass through. This is for what fronts of other formats
read (``apps.proxy.dialects.translation`` names the extensions).
"""

from __future__ import annotations

from base64 import b64decode
from typing import Any

from apps.proxy.dialects.translation import Payload, Unsupported

OWN_CAP_HOSTS = ("api.openai.com", "openai.azure.com")
"""Hosts whose newer models refuse ``max_tokens``."""
STRICT_HOSTS = ("api.mistral.ai",)
"""Hosts that refuse a request for any field that they do not know. Source: Mistral's reference of ``/v1/chat/completions``."""
_OWN_NAMES = {"max_completion_tokens": "max_tokens", "seed": "random_seed"}
_MESSAGE_EXTRAS = ("thinking_blocks", "reasoning_content", "cache_control", "is_error")
_RETURNED = "The tools returned this, too:"
_FOLLOWS = "(It follows.)"
_TEXT_FILE = "data:text/plain;base64,"
_EFFORTS = ((4_096, "low"), (16_384, "medium"))
"""Budgets of thinking up to so many tokens, as an effort; larger ones are ``high``."""


def plain(payload: Payload, *, host: str, reasoning: bool) -> tuple[Payload, tuple[str, ...]]:
    """(the request without extensions, what had to be left out or said otherwise). ``payload`` is not changed.

    host: of the server. reasoning: its model is marked as one that reasons. Raises Unsupported for a document by its address.
    """
    said = dict(payload)
    notes: list[str] = []
    said["messages"] = _messages(payload["messages"], notes)
    tools = said.get("tools")
    if type(tools) is list:
        said["tools"] = [_without(tool, ("cache_control",), "cache_control", notes) for tool in tools]
    if said.pop("top_k", None) is not None:
        notes.append("top_k: left out, OpenAI's format has none")
    if said.pop("cache_control", None) is not None:
        _note(notes, _LEFT["cache_control"])
    _think(said, reasoning, notes)
    if host.endswith(STRICT_HOSTS):
        said = suited(said)
    if host.endswith(OWN_CAP_HOSTS) and said.get("metadata") is not None and said.get("store") is not True:
        del said["metadata"]
        notes.append("metadata: left out, OpenAI takes it only where 'store' is true")
    if host.endswith(OWN_CAP_HOSTS) and "max_tokens" in said:
        cap = said.pop("max_tokens")
        said.setdefault("max_completion_tokens", cap)
    return said, tuple(notes)


def suited(said: Payload) -> Payload:
    """A request as ``STRICT_HOSTS`` take it: the same by their names. What asks for usage in a stream is not said: they tell it always."""
    return {
        _OWN_NAMES.get(name, name): value for name, value in said.items() if name != "stream_options" and (name, value) != ("store", False)
    }


_LEFT = {
    "cache_control": "cache_control: left out, this provider caches by its own rules",
    "thinking_blocks": "thinking: what was thought earlier is not shown to this model",
    "reasoning_content": "thinking: what was thought earlier is not shown to this model",
    "is_error": "is_error: that a tool failed is said by its result's text alone",
    "signature": "tool_calls: their signatures are not shown to this model",
}


def _note(notes: list[str], note: str) -> None:
    if note not in notes:
        notes.append(note)


def _without(thing: Any, names: tuple[str, ...], default: str, notes: list[str]) -> Any:
    """``thing`` itself where it has none of the names."""
    if type(thing) is not dict or not any(name in thing for name in names):
        return thing
    for name in names:
        if thing.get(name):
            _note(notes, _LEFT.get(name, _LEFT[default]))
    return {name: value for name, value in thing.items() if name not in names}


def _messages(messages: Any, notes: list[str]) -> list[Any]:
    found: list[Any] = []
    beside: list[Any] = []
    """Of tools' results, what is no text: tools may return nothing else here, so the user says it after all of them."""
    for at, message in enumerate(messages):
        message = _without(message, _MESSAGE_EXTRAS, "cache_control", notes)
        if type(message) is dict:
            of_tool = message.get("role") == "tool"
            if beside and not of_tool:
                found.append({"role": "user", "content": [{"type": "text", "text": _RETURNED}, *beside]})
                beside = []
            content = message.get("content")
            if type(content) is list:
                parts = [_part(part, f"messages[{at}].content[{i}]", notes) for i, part in enumerate(content)]
                if of_tool:
                    others = [part for part in parts if type(part) is dict and part.get("type") != "text"]
                    if others:
                        beside += others
                        parts = [part for part in parts if part not in others] or [{"type": "text", "text": _FOLLOWS}]
                        _note(notes, "tool results: what is no text in them was said by the user after them")
                message = {**message, "content": parts}
            calls = message.get("tool_calls")
            if type(calls) is list:
                message = {**message, "tool_calls": [_without(call, ("signature",), "signature", notes) for call in calls]}
        found.append(message)
    if beside:
        found.append({"role": "user", "content": [{"type": "text", "text": _RETURNED}, *beside]})
    return found


def _part(part: Any, field: str, notes: list[str]) -> Any:
    file = part.get("file") if type(part) is dict and part.get("type") == "file" else None
    if type(file) is dict:
        if "file_url" in file:
            raise Unsupported(field, "OpenAI's format takes documents by their content, not by an address")
        data = file.get("file_data")
        if type(data) is str and data.startswith(_TEXT_FILE):
            return _text_file(data, file.get("filename"), field)
    return _without(part, ("cache_control",), "cache_control", notes)


def _text_file(data: str, name: Any, field: str) -> Payload:
    """A document of text as text: files are PDFs here, and many servers of this format take none at all."""
    try:
        text = b64decode(data[len(_TEXT_FILE) :], validate=True).decode()
    except ValueError:
        raise Unsupported(field, "The document is no text in UTF-8.") from None
    return {"type": "text", "text": f"{name}:\n\n{text}" if name else text}


def _think(said: Payload, reasoning: bool, notes: list[str]) -> None:
    """``thinking`` as an effort, where the model is one that reasons; others refuse to hear of it."""
    thinking = said.pop("thinking", None)
    kind = thinking if type(thinking) is str else thinking.get("type") if type(thinking) is dict else None
    if thinking is not None and kind != "disabled":
        budget = thinking.get("budget_tokens") if type(thinking) is dict else None
        if not reasoning:
            notes.append("thinking: left out, this model is not marked as one that reasons")
        elif type(budget) is int:
            effort = next((name for most, name in _EFFORTS if budget <= most), "high")
            said["reasoning_effort"] = effort
            notes.append(f"thinking: a budget of {budget} tokens was said as the effort {effort!r}")
    elif kind == "disabled" and reasoning:
        notes.append("thinking: this model thinks all the same")
    if not reasoning and said.get("reasoning_effort") is not None:
        del said["reasoning_effort"]
        notes.append("reasoning_effort: left out, this model is not marked as one that reasons")
