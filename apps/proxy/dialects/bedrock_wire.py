"""The shapes of Bedrock's Converse as they lie on the wire, and the words that whole answers and streams share.

Only fields that decide something are named. Source: AWS's API reference, ``Converse`` and ``ConverseStream``.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error as NoBase64
from typing import Any, TypeVar

import msgspec

from apps.proxy.dialects.translation import NotAnAnswer, Trouble
from apps.proxy.dialects.wire_json import UNREADABLE

MAKER = "bedrock:"
"""Before redacted thinking that is not Anthropic's own text: nobody else can read it."""
NOTHING = msgspec.Raw(b"")
FINISHES = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "tool_use": "tool_calls",
    "guardrail_intervened": "content_filter",
    "content_filtered": "content_filter",
}
BROKEN = frozenset({"malformed_model_output", "malformed_tool_use"})
"""Stop reasons that say that the model failed: another attempt may not."""
TIERS = frozenset({"default", "flex", "priority"})
_BEGINNING = 300
"""Characters of a body that is told where nothing in it can be read."""
_TROUBLES: dict[str, tuple[str, str | None]] = {
    "accessdeniedexception": ("permission_error", None),
    "expiredtokenexception": ("authentication_error", "expired_token"),
    "internalserverexception": ("server_error", None),
    "modelerrorexception": ("server_error", "model_error"),
    "modelnotreadyexception": ("server_error", "overloaded"),
    "modelstreamerrorexception": ("server_error", "model_error"),
    "modeltimeoutexception": ("server_error", "timeout"),
    "resourcenotfoundexception": ("not_found_error", "model_not_found"),
    "servicequotaexceededexception": ("rate_limit_error", "quota_exceeded"),
    "serviceunavailableexception": ("server_error", "overloaded"),
    "throttlingexception": ("rate_limit_error", "rate_limit_exceeded"),
    "unrecognizedclientexception": ("authentication_error", "invalid_api_key"),
    "validationexception": ("invalid_request_error", None),
}
_OF_STATUS: dict[int, tuple[str, str | None]] = {
    401: ("authentication_error", "invalid_api_key"),
    403: ("permission_error", None),
    404: ("not_found_error", "model_not_found"),
    408: ("server_error", "timeout"),
    424: ("server_error", "model_error"),
    429: ("rate_limit_error", "rate_limit_exceeded"),
    503: ("server_error", "overloaded"),
}
_CREDENTIALS = (
    "security token included in",
    "signature we calculated",
    "Signature expired",
    "Authentication failed",
    "API Key",
)
_TOO_LONG = ("Input is too long", "prompt is too long", "exceed context limit", "maximum context length", "Too many input tokens")
_NO_MODEL = ("model identifier is invalid", "model ID", "on-demand throughput")
_Read = TypeVar("_Read")


class Named(msgspec.Struct, rename="camel"):
    """Fields as AWS names them."""


class CacheDetail(Named):
    input_tokens: int | None = None
    ttl: str | None = None


class WireUsage(Named):
    """input_tokens leaves out what was read from the cache or written to it."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None
    cache_details: list[CacheDetail] | None = None


class WireTier(Named):
    type: str = ""


class ReasoningText(Named):
    text: str = ""
    signature: str | None = None


class Reasoning(Named):
    reasoning_text: ReasoningText | None = None
    redacted_content: str | None = None


class ToolUse(Named):
    tool_use_id: str = ""
    name: str = ""
    input: msgspec.Raw = NOTHING
    type: str | None = None


class CitedText(Named):
    text: str | None = None


class Cited(Named):
    content: list[CitedText] | None = None


class WireBlock(Named):
    text: str | None = None
    tool_use: ToolUse | None = None
    reasoning_content: Reasoning | None = None
    citations_content: Cited | None = None


class WireMessage(Named):
    role: str = ""
    content: list[WireBlock] | None = None


class WireOutput(Named):
    message: WireMessage | None = None


class WireAnswer(Named):
    output: WireOutput | None = None
    stop_reason: str | None = None
    usage: WireUsage | None = None
    service_tier: WireTier | None = None


class StartOf(Named):
    tool_use: ToolUse | None = None


class InputDelta(Named):
    input: str = ""


class ReasoningDelta(Named):
    text: str | None = None
    signature: str | None = None
    redacted_content: str | None = None


class WireDelta(Named):
    text: str | None = None
    tool_use: InputDelta | None = None
    reasoning_content: ReasoningDelta | None = None
    citation: msgspec.Raw = NOTHING


class WireEvent(Named):
    """The payload of any event: which one it is, its message's header says."""

    content_block_index: int = 0
    start: StartOf | None = None
    delta: WireDelta | None = None
    stop_reason: str | None = None
    usage: WireUsage | None = None
    service_tier: WireTier | None = None


decode_answer = msgspec.json.Decoder(WireAnswer).decode
decode_event = msgspec.json.Decoder(WireEvent).decode
_decode_any = msgspec.json.Decoder().decode


def says(raw: msgspec.Raw) -> bool:
    return bytes(raw) not in (b"", b"null")


def pivot_usage(usage: WireUsage) -> dict[str, Any]:
    read, written = max(0, usage.cache_read_input_tokens or 0), max(0, usage.cache_write_input_tokens or 0)
    prompt, completion = max(0, usage.input_tokens or 0) + read + written, max(0, usage.output_tokens or 0)
    details = {"cached_tokens": read, "cache_write_tokens": written}
    hour = sum(max(0, one.input_tokens or 0) for one in usage.cache_details or () if one.ttl == "1h")
    if hour:
        details["cache_write_hour_tokens"] = hour
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": details,
    }


def finish_of(reason: str) -> str:
    """Raises NotAnAnswer where the model failed. A reason that is not known is a filtered answer: never a whole one."""
    if reason in BROKEN:
        raise NotAnAnswer(f"the model failed: {reason}")
    return FINISHES.get(reason, "content_filter")


def redacted_data(blob: bytes) -> str:
    """A blob of redacted thinking as the pivot's: Anthropic's own text where it is one, so that Anthropic can read it too."""
    try:
        text = blob.decode("ascii")
    except UnicodeDecodeError:
        text = ""
    return text if text and text.isprintable() and ":" not in text else MAKER + b64encode(blob).decode()


def redacted_blob(data: str) -> str | None:
    """The same as the wire has it, in base64; None where it is another maker's."""
    if data.startswith(MAKER):
        return data.removeprefix(MAKER)
    return None if ":" in data or not data.isascii() else b64encode(data.encode()).decode()


def blob_of(text: str) -> bytes:
    """Raises NotAnAnswer."""
    try:
        return b64decode(text, validate=True)
    except (NoBase64, ValueError):
        raise NotAnAnswer("redacted thinking that is no base64") from None


def trouble_of(status: int, body: bytes, name: str = "") -> Trouble:
    """name: the exception's, where a header of a stream's message says it. status: 0 in a stream. Never raises."""
    message = ""
    try:
        said = _decode_any(body)
    except UNREADABLE:
        said = None
    if type(said) is dict:
        found = next((said[key] for key in ("message", "Message", "originalMessage") if type(said.get(key)) is str), "")
        message = found.strip()
        if not name and type(said.get("__type")) is str:
            name = said["__type"].rpartition("#")[2]
    if not message:
        beginning = body[: _BEGINNING * 4].decode("utf-8", "replace").strip()[:_BEGINNING]
        where = f"answered {status}" if status else "broke off"
        message = f"The provider {where}{f' ({name})' if name else ''}: {beginning or 'nothing'}"
    fallback: tuple[str, str | None] = ("server_error" if status >= 500 or not status else "invalid_request_error", None)
    type_, code = _TROUBLES.get(name.lower()) or _OF_STATUS.get(status) or fallback
    if any(words in message for words in _CREDENTIALS) and type_ in ("permission_error", "authentication_error"):
        return Trouble(message, "authentication_error", code or "invalid_api_key")
    if type_ == "invalid_request_error":
        if any(words in message for words in _TOO_LONG):
            return Trouble(message, type_, "context_length_exceeded", "messages")
        if any(words in message for words in _NO_MODEL):
            return Trouble(message, type_, "model_not_found", "model")
    return Trouble(message, type_, code)
