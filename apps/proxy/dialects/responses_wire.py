"""OpenAI's Responses as they lie on the wire: the shapes that decide something, usage, and reasoning that must come back unchanged.

Source: OpenAI's API reference, "Responses"; what differs between servers that speak it is noted where it is handled.

Reasoning belongs to whoever thought it, and only they can read it again. Two envelopes carry it through formats that know nothing of it:

- An item of a provider of this format is a thinking block of the pivot; its ``signature`` is ``responses:`` and the item (``sealed``).
- Thinking blocks and signed tool calls of other providers become ``encrypted_content``: ``bulkhead:`` and a list (``wrapped``).

Both are taken apart again on the next turn, and neither is ever sent to a provider that could not read it.
"""

from __future__ import annotations

from typing import Any

import msgspec

from apps.contracts.usage import TokenDetails, Tokens
from apps.proxy.dialects.translation import Payload, Trouble
from apps.proxy.dialects.wire_json import UNREADABLE, written

"""What a decoder raises for bytes that are not the JSON it expects."""
NOTHING = msgspec.Raw(b"")
"""A field that is not there."""
SEALED = "responses:"
WRAPPED = "bulkhead:"
SHOWN_BYTES = 500
"""Of a body that is no error of this format, as its message."""


class InputDetails(msgspec.Struct):
    cached_tokens: int | None = 0
    cache_write_tokens: int | None = 0


class OutputDetails(msgspec.Struct):
    reasoning_tokens: int | None = 0


class Usage(msgspec.Struct):
    input_tokens: int = 0
    output_tokens: int = 0
    input_tokens_details: InputDetails | None = None
    output_tokens_details: OutputDetails | None = None


class Incomplete(msgspec.Struct):
    reason: str | None = None


class Response(msgspec.Struct):
    """A ``response`` object. output: items as they came; their fields are checked where they are read."""

    id: str | None = None
    object: str = ""
    created_at: float | None = None
    model: str | None = None
    status: str | None = None
    error: Any = None
    incomplete_details: Incomplete | None = None
    output: list[Payload] | None = None
    usage: Usage | None = None
    service_tier: Any = None


class Event(msgspec.Struct):
    """Any event of a stream; a field that its type has not is None."""

    type: str = ""
    delta: Any = None
    output_index: int = 0
    content_index: int = 0
    summary_index: int = 0
    item: Payload | None = None
    text: Any = None
    refusal: Any = None
    arguments: Any = None
    input: Any = None
    logprobs: Any = None
    annotation: Any = None
    response: msgspec.Raw = NOTHING
    error: Any = None
    code: Any = None
    message: Any = None
    param: Any = None


decode_response = msgspec.json.Decoder(Response).decode
decode_event = msgspec.json.Decoder(Event).decode
decode_any = msgspec.json.Decoder().decode


def encode_event(payload: Payload) -> bytes:
    """One server-sent event, named after its type."""
    return b"event: %b\ndata: %b\n\n" % (payload["type"].encode(), written(payload))


def pivot_usage(usage: Usage) -> Payload:
    read, written = usage.input_tokens_details, usage.output_tokens_details
    details = {"cached_tokens": (read.cached_tokens or 0) if read is not None else 0}
    if read is not None and read.cache_write_tokens:
        details["cache_write_tokens"] = read.cache_write_tokens
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.input_tokens + usage.output_tokens,
        "prompt_tokens_details": details,
        "completion_tokens_details": {"reasoning_tokens": (written.reasoning_tokens or 0) if written is not None else 0},
    }


def responses_usage(usage: Any) -> Payload | None:
    """The pivot's usage as this format's; None where there is none."""
    if type(usage) is not dict:
        return None
    prompt, completion = usage.get("prompt_tokens_details"), usage.get("completion_tokens_details")
    taken, given = _count(usage, "prompt_tokens"), _count(usage, "completion_tokens")
    return {
        "input_tokens": taken,
        "input_tokens_details": {
            "cached_tokens": _count(prompt, "cached_tokens"),
            "cache_write_tokens": _count(prompt, "cache_write_tokens"),
        },
        "output_tokens": given,
        "output_tokens_details": {"reasoning_tokens": _count(completion, "reasoning_tokens")},
        "total_tokens": taken + given,
    }


def tokens_of(usage: Usage, output: Any = None) -> Tokens:
    """output: the answer's items, where what the provider's own tools did is to be counted too."""
    read, written = usage.input_tokens_details, usage.output_tokens_details
    tokens = Tokens(
        input=max(0, usage.input_tokens),
        output=max(0, usage.output_tokens),
        cache_read=(read.cached_tokens or 0) if read is not None else 0,
        cache_write=(read.cache_write_tokens or 0) if read is not None else 0,
        reasoning=(written.reasoning_tokens or 0) if written is not None else 0,
    )
    meters = _meters(output) if output else None
    if meters:
        tokens.details = TokenDetails(meters=meters)
    return tokens


def _meters(output: Any) -> dict[str, int]:
    """Searches and sessions, as they are billed: a web search that only opens a page is none, a container counts once."""
    meters: dict[str, int] = {}
    containers = set()
    for item in output if type(output) is list else ():
        kind = item.get("type") if type(item) is dict else None
        if kind == "web_search_call":
            action = item.get("action")
            if type(action) is not dict or action.get("type") in (None, "search"):
                meters["web_search"] = meters.get("web_search", 0) + 1
        elif kind == "file_search_call":
            meters["file_search"] = meters.get("file_search", 0) + 1
        elif kind == "code_interpreter_call":
            containers.add(str(item.get("container_id")))
    if containers:
        meters["code_session"] = len(containers)
    return meters


def _count(holder: Any, name: str) -> int:
    value = holder.get(name) if type(holder) is dict else None
    return value if type(value) is int and value > 0 else 0


def sealed(item: Payload) -> str:
    """The signature of a thinking block that was this reasoning item. Only what its provider wants back."""
    kept = {name: item[name] for name in ("id", "summary", "content", "encrypted_content") if item.get(name) is not None}
    return SEALED + written(kept).decode()


def unsealed(signature: Any) -> Payload | None:
    """The reasoning item that a thinking block was; None where it was none of this format."""
    if type(signature) is not str or not signature.startswith(SEALED):
        return None
    try:
        kept = decode_any(signature[len(SEALED) :])
    except UNREADABLE:
        return None
    if type(kept) is not dict:
        return None
    item: Payload = {"type": "reasoning"}
    if type(kept.get("id")) is str:
        item["id"] = kept["id"]
    item["summary"] = kept["summary"] if type(kept.get("summary")) is list else []
    if type(kept.get("content")) is list:
        item["content"] = kept["content"]
    if type(kept.get("encrypted_content")) is str:
        item["encrypted_content"] = kept["encrypted_content"]
    return item


def wrapped(marks: list[Payload]) -> str:
    """``encrypted_content`` of a reasoning item that carries these marks of other providers:
    thinking blocks (``thinking`` left out where it is the item's text) and ``{"type": "tool_call", "id", "signature"}``."""
    return WRAPPED + written(marks).decode()


def unwrapped(encrypted: Any) -> list[Payload] | None:
    """The marks; None where the content is a provider's own."""
    if type(encrypted) is not str or not encrypted.startswith(WRAPPED):
        return None
    try:
        marks = decode_any(encrypted[len(WRAPPED) :])
    except UNREADABLE:
        return []
    return [mark for mark in marks if type(mark) is dict] if type(marks) is list else []


def reasoning_text(item: Payload) -> str:
    """What a reasoning item says: its own words where they are given, else their summary."""
    text = "".join(_texts(item.get("content")))
    return text or "\n\n".join(_texts(item.get("summary")))


def _texts(parts: Any) -> list[str]:
    if type(parts) is not list:
        return []
    return [part["text"] for part in parts if type(part) is dict and type(part.get("text")) is str]


_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "invalid_request_error",
    422: "invalid_request_error",
    429: "rate_limit_error",
}


def trouble_of(error: Any, fallback: str, kind: str) -> Trouble:
    """An ``error`` object's words; ``fallback`` where it has none."""
    if type(error) is str and error:
        return Trouble(error, kind)
    if type(error) is not dict:
        return Trouble(fallback, kind)
    message, code, param = error.get("message"), error.get("code"), error.get("param")
    return Trouble(
        message if type(message) is str and message else fallback,
        error["type"] if type(error.get("type")) is str else kind,
        str(code) if type(code) in (str, int) else None,
        param if type(param) is str else None,
    )


def body_trouble(status: int, body: bytes) -> Trouble:
    """What an error's body says. Beside OpenAI's shape: ``detail`` (FastAPI), ``message`` (gateways)."""
    kind = _TYPES.get(status, "server_error" if status >= 500 else "invalid_request_error")
    said = body[:SHOWN_BYTES].decode("utf-8", "replace").strip() or f"the provider answered with status {status} and an empty body"
    try:
        found = decode_any(body)
    except UNREADABLE:
        return Trouble(said, kind)
    if type(found) is not dict:
        return Trouble(said, kind)
    error = found.get("error")
    if error is None:
        error = found.get("message") or found.get("detail")
    return trouble_of(error, said, kind)
