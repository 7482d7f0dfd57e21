"""The shapes of Anthropic's Messages API as they lie on the wire, and the counts and words that both directions share.

Only fields that decide something are named; all others pass untouched. Source: Anthropic's API reference, version 2023-06-01.
"""

from __future__ import annotations

import json
import re
from typing import Any, TypeVar
from zlib import crc32

import msgspec

from apps.contracts.usage import TokenDetails, Tokens
from apps.proxy.dialects.wire_json import UNREADABLE, read_as, written

NOTHING = msgspec.Raw(b"")
"""A field that is not there. (A union of Raw with None would take nothing but null.)"""
STRUCTURED_TOOL = "structured_answer"
"""The tool that a model without structured output is made to call; its arguments are the answer."""
SIGNATURE_IN_ID = "__signature_"
"""Between a call's id and its signature (base64url): blocks of calls have no place for one, and apps give ids back unchanged."""
_NO_ID_CHARACTER = re.compile(r"[^a-zA-Z0-9_-]")
_Read = TypeVar("_Read")


class OutputDetails(msgspec.Struct):
    thinking_tokens: int | None = None


class CacheCreation(msgspec.Struct):
    ephemeral_1h_input_tokens: int | None = None


class ServerToolUse(msgspec.Struct):
    web_search_requests: int | None = None


class WireUsage(msgspec.Struct):
    """input_tokens leaves out what was read from the cache or written to it."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_creation_input_tokens: int | None = None
    output_tokens_details: OutputDetails | None = None
    service_tier: Any = None
    cache_creation: CacheCreation | None = None
    server_tool_use: ServerToolUse | None = None


class WireBlock(msgspec.Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = NOTHING


class StopDetails(msgspec.Struct):
    explanation: str | None = None


class WireError(msgspec.Struct):
    type: str = ""
    message: str = ""


class WireMessage(msgspec.Struct):
    id: str = ""
    type: str = ""
    model: str = ""
    content: list[WireBlock] | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: StopDetails | None = None
    usage: WireUsage | None = None
    error: WireError | None = None


class WireDelta(msgspec.Struct):
    type: str = ""
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None
    stop_sequence: str | None = None
    stop_details: StopDetails | None = None


class WireEvent(msgspec.Struct):
    type: str
    index: int = 0
    message: WireMessage | None = None
    content_block: WireBlock | None = None
    delta: WireDelta | None = None
    usage: WireUsage | None = None
    error: WireError | None = None


class WireTrouble(msgspec.Struct):
    error: WireError


class WireCount(msgspec.Struct):
    input_tokens: int


_message = msgspec.json.Decoder(WireMessage).decode
_event = msgspec.json.Decoder(WireEvent).decode
decode_event_raw = _event
decode_trouble = msgspec.json.Decoder(WireTrouble).decode
decode_count = msgspec.json.Decoder(WireCount).decode
decode_any = msgspec.json.Decoder().decode


def decode_message(body: bytes) -> WireMessage:
    """Raises NotAnAnswer."""
    return read_as(_message, body, "the answer")


def decode_event(data: bytes) -> WireEvent:
    """Raises NotAnAnswer."""
    return read_as(_event, data, "an event of the stream")


def event(name: str, value: Any) -> bytes:
    """One server-sent event, written as Anthropic writes it."""
    return b"event: %b\ndata: %b\n\n" % (name.encode(), written(value))


def plain_id(value: str) -> str:
    """An id that Anthropic takes (letters, digits, ``_`` and ``-``); one that it would not take always becomes the same other one."""
    if not _NO_ID_CHARACTER.search(value):
        return value
    return f"{_NO_ID_CHARACTER.sub('_', value)}_{crc32(value.encode('utf-8', 'replace')):08x}"


def json_object(text: str) -> dict[str, Any] | None:
    """What a call's arguments say; a call without any says ``{}``. None where they are no JSON object."""
    if not text or text.isspace():
        return {}
    try:
        value = decode_any(text)
    except (*UNREADABLE, UnicodeEncodeError):
        try:
            value = json.loads(text)
        except (ValueError, RecursionError):
            return None
    return value if type(value) is dict else None


def input_text(raw: msgspec.Raw) -> str | None:
    """A ``tool_use``'s input as a call's arguments: the object as it was written, also where it was written as a string of JSON."""
    data = bytes(raw)
    if not data or data == b"null":
        return "{}"
    if data[:1] == b"{":
        return data.decode("utf-8", "replace")
    if data[:1] == b'"':
        text = decode_any(data)
        if json_object(text) is not None:
            return text or "{}"
    return None


def usage_merged(first: WireUsage | None, later: WireUsage | None) -> WireUsage | None:
    """A stream counts from its beginning: what a later event counts again replaces what an earlier one said."""
    if first is None or later is None:
        return later if first is None else first
    merged = WireUsage()
    for name in WireUsage.__struct_fields__:
        value = getattr(later, name)
        setattr(merged, name, getattr(first, name) if value is None else value)
    return merged


def tokens_of(usage: WireUsage) -> Tokens:
    """All input, cached or not; ``batch`` is billed as batch work."""
    read, written = max(0, usage.cache_read_input_tokens or 0), max(0, usage.cache_creation_input_tokens or 0)
    details = usage.output_tokens_details
    tokens = Tokens(
        input=max(0, usage.input_tokens or 0) + read + written,
        output=max(0, usage.output_tokens or 0),
        cache_read=read,
        cache_write=written,
        reasoning=max(0, details.thinking_tokens or 0) if details is not None else 0,
    )
    hour = max(0, usage.cache_creation.ephemeral_1h_input_tokens or 0) if usage.cache_creation is not None else 0
    searches = max(0, usage.server_tool_use.web_search_requests or 0) if usage.server_tool_use is not None else 0
    if usage.service_tier == "batch" or hour or searches:
        tokens.details = TokenDetails(batch=usage.service_tier == "batch", cache_write_hour=hour)
        if searches:
            tokens.details.meters = {"web_search": searches}
    return tokens


def pivot_usage(usage: WireUsage) -> dict[str, Any]:
    tokens = tokens_of(usage)
    counted: dict[str, Any] = {
        "prompt_tokens": tokens.input,
        "completion_tokens": tokens.output,
        "total_tokens": tokens.input + tokens.output,
        "prompt_tokens_details": {"cached_tokens": tokens.cache_read, "cache_write_tokens": tokens.cache_write},
    }
    if tokens.details is not None and tokens.details.cache_write_hour:
        counted["prompt_tokens_details"]["cache_write_hour_tokens"] = tokens.details.cache_write_hour
    if usage.output_tokens_details is not None:
        counted["completion_tokens_details"] = {"reasoning_tokens": tokens.reasoning}
    return counted


def wire_usage(usage: object) -> dict[str, Any]:
    """The pivot's counts as Anthropic's; whatever is no count is none."""
    said = usage if type(usage) is dict else {}
    prompt, completion = said.get("prompt_tokens_details"), said.get("completion_tokens_details")
    read = _count(prompt, "cached_tokens")
    written = _count(prompt, "cache_write_tokens")
    counted: dict[str, Any] = {
        "input_tokens": max(0, _count(said, "prompt_tokens") - read - written),
        "cache_creation_input_tokens": written,
        "cache_read_input_tokens": read,
        "output_tokens": _count(said, "completion_tokens"),
    }
    if type(completion) is dict and type(completion.get("reasoning_tokens")) is int:
        counted["output_tokens_details"] = {"thinking_tokens": _count(completion, "reasoning_tokens")}
    return counted


def _count(said: object, name: str) -> int:
    value = said.get(name) if type(said) is dict else None
    return max(0, value) if type(value) is int else 0
