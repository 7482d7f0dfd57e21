"""The shapes of OpenAI's chat completions as they lie on the wire, and what a server-sent event says.

Only fields that decide something are named; all others pass untouched. Source: OpenAI's API reference.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

from apps.contracts.usage import TokenDetails, Tokens
from apps.proxy.dialects.wire_json import written

NOTHING = msgspec.Raw(b"")
"""A field that is not there. (A union of Raw with None would take nothing but null.)"""
UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What a decoder raises for bytes that are not the JSON it expects."""


class PromptDetails(msgspec.Struct):
    """cache_write_tokens: not OpenAI's; what backs of other formats say of tokens that were written to a cache; cache_write_hour_tokens:
    of those, for an hour."""

    cached_tokens: int | None = 0
    cache_write_tokens: int | None = 0
    cache_write_hour_tokens: int | None = 0
    audio_tokens: int | None = 0
    image_tokens: int | None = 0


class CompletionDetails(msgspec.Struct):
    reasoning_tokens: int | None = 0
    audio_tokens: int | None = 0
    image_tokens: int | None = 0


class Usage(msgspec.Struct):
    prompt_tokens: int = 0
    completion_tokens: int = 0
    prompt_tokens_details: PromptDetails | None = None
    completion_tokens_details: CompletionDetails | None = None


class WholeAnswer(msgspec.Struct):
    usage: Usage | None = None
    object: str = ""
    error: msgspec.Raw = NOTHING
    service_tier: Any = None


class Delta(msgspec.Struct):
    content: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None
    tool_calls: msgspec.Raw = NOTHING
    function_call: msgspec.Raw = NOTHING


class Choice(msgspec.Struct):
    delta: Delta | None = None
    finish_reason: str | None = None


class Event(msgspec.Struct):
    choices: list[Choice] | None = None
    usage: Usage | None = None
    error: msgspec.Raw = NOTHING
    service_tier: Any = None


class KeptDelta(Delta):
    role: str | None = None
    audio: msgspec.Raw = NOTHING


class KeptChoice(msgspec.Struct):
    index: int = 0
    delta: KeptDelta | None = None
    finish_reason: str | None = None
    logprobs: msgspec.Raw = NOTHING


class KeptEvent(msgspec.Struct):
    """Everything a stream's continuation must know of what was given."""

    id: str | None = None
    model: str | None = None
    created: Any = None
    choices: list[KeptChoice] | None = None
    usage: Usage | None = None
    service_tier: Any = None


decode_answer = msgspec.json.Decoder(WholeAnswer).decode
decode_event = msgspec.json.Decoder(Event).decode
decode_kept = msgspec.json.Decoder(KeptEvent).decode
decode_any = msgspec.json.Decoder().decode
encode = msgspec.json.Encoder().encode


def tokens_of(usage: Usage, service_tier: Any = None) -> Tokens:
    """service_tier: as the answer states it; ``flex`` and ``batch`` are billed as batch work."""
    prompt, completion = usage.prompt_tokens_details, usage.completion_tokens_details
    tokens = Tokens(
        input=max(0, usage.prompt_tokens),
        output=max(0, usage.completion_tokens),
        cache_read=(prompt.cached_tokens or 0) if prompt is not None else 0,
        reasoning=(completion.reasoning_tokens or 0) if completion is not None else 0,
    )
    if prompt is not None and prompt.cache_write_tokens:
        tokens.cache_write = prompt.cache_write_tokens
    if (
        (prompt is not None and (prompt.audio_tokens or prompt.image_tokens or prompt.cache_write_hour_tokens))
        or (completion is not None and (completion.audio_tokens or completion.image_tokens))
        or service_tier in ("flex", "batch")
    ):
        tokens.details = TokenDetails(
            audio_input=(prompt.audio_tokens or 0) if prompt is not None else 0,
            audio_output=(completion.audio_tokens or 0) if completion is not None else 0,
            image_input=(prompt.image_tokens or 0) if prompt is not None else 0,
            image_output=(completion.image_tokens or 0) if completion is not None else 0,
            batch=service_tier in ("flex", "batch"),
            cache_write_hour=(prompt.cache_write_hour_tokens or 0) if prompt is not None else 0,
        )
    return tokens


def says(raw: msgspec.Raw) -> bool:
    """Whether a field is there with something in it: some servers write ``null`` or an empty list for nothing."""
    return raw is not NOTHING and bytes(raw) not in (b"null", b"[]", b"")


def event_data(event: bytes) -> bytes | None:
    """The joined ``data:`` lines of one event; None when it has none."""
    lines = [line[5:].lstrip(b" ") if line[5:6] == b" " else line[5:] for line in event.split(b"\n") if line.startswith(b"data:")]
    if not lines:
        return None
    return lines[0].strip() if len(lines) == 1 else b"\n".join(lines)


def is_comment(event: bytes) -> bool:
    """Nothing but comments. An event of other fields without data is not one: SDKs read its missing data as broken JSON."""
    return all(line.startswith(b":") for line in event.split(b"\n") if line)


def json_object(data: bytes) -> dict[str, Any] | None:
    """What an SDK would read from an event's data; None where it would raise. Halves of surrogate pairs are read as SDKs read them."""
    try:
        value = decode_any(data)
    except UNREADABLE:
        try:
            value = json.loads(data)
        except (ValueError, RecursionError):
            return None
    return value if type(value) is dict else None


def encode_event(payload: dict[str, Any]) -> bytes:
    """One server-sent event."""
    return b"data: %b\n\n" % written(payload)
