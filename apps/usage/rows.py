"""A usage record as one row of ``COPY usage_request ... FROM STDIN (FORMAT binary)``. Pure; runs once per request.

What many requests share (who asked, for what, who answered) is packed once per combination and kept
(``constants``); the fifteen numbers are packed by one call; what is left are three texts and four documents that are
mostly empty. Postgres takes the binary form without parsing numbers or times, for half the price of text.
"""

from __future__ import annotations

import struct
from typing import Any

import msgspec

from apps.contracts.money import MAX_NANO
from apps.contracts.traceparent import trace_unpack
from apps.contracts.usage import Attempt, Charge, UsageRecord
from apps.usage.documents import attempts_json

CONSTANTS = (
    "organisation", "key_id", "kind", "route", "requested_model", "outcome", "error_code", "error_step", "environment", "feature", "team",
    "service", "proxy", "provider", "endpoint", "model", "region", "price_version", "simulated", "stream", "estimated", "status",
    "upstream_status", "attempt_count", "config_version",
)  # fmt: skip
NUMBERS = (
    "started_at", "tokens_input", "tokens_output", "tokens_cache_read", "tokens_cache_write", "tokens_reasoning", "cost_nano",
    "first_token_us", "total_us", "upstream_us", "bytes_in", "bytes_out", "upstream_sent_us", "upstream_first_byte_us", "upstream_ended_us",
)  # fmt: skip
TEXTS = ('"user"', "input_hash", "upstream_request_id")
DOCUMENTS = ("tags", "metadata", "flags", "attempts")
TRACE = ("trace_id", "parent_span", "trace_sampled")
COLUMNS = ("id", *CONSTANTS, *NUMBERS, *TEXTS, *DOCUMENTS, "charges", *TRACE)
COPY = f"COPY usage_request ({', '.join(COLUMNS)}) FROM STDIN (FORMAT binary)"
SIGNATURE = b"PGCOPY\n\xff\r\n\0" + bytes(8)
TRAILER = b"\xff\xff"

MAX_STATUS = 2**31 - 1
MAX_MICROS = 4_102_444_800_000_000
"""2100-01-01: no clock is further off than this."""
NO_ATTEMPT = Attempt(provider="", endpoint="", model="")

_POSTGRES_EPOCH_US = 946_684_800_000_000
"""2000-01-01, from which Postgres counts."""
_NULL = b"\xff\xff\xff\xff"
_EMPTY = bytes(4)
_UNTRACED = _NULL * len(TRACE)
_INT8_OID = 20

_json = msgspec.json.Encoder().encode
_length = struct.Struct("!i").pack
_head = struct.Struct("!hi16s").pack
_numbers = struct.Struct("!" + "iq" * len(NUMBERS)).pack
_switches = struct.Struct("!i?i?i?iiiiiiiq").pack
_array = [struct.Struct("!iiiiii" + "iq" * count).pack for count in range(17)]
_array4 = _array[4]
_HEAD = struct.pack("!hi", len(COLUMNS), 16)
_LENGTHS = [_length(count) for count in range(1024)]


def constants(r: UsageRecord, a: Attempt) -> bytes:
    """The columns ``CONSTANTS`` of a record answered by ``a``."""
    texts = (
        r.organisation, r.key_id, r.kind, r.route, r.requested_model, r.outcome, r.error_code, r.error_step, r.environment, r.feature,
        r.team, r.service, r.proxy, a.provider, a.endpoint, a.model, a.region, a.price_version,
    )  # fmt: skip
    return b"".join(map(_text, texts)) + _switches(
        1, r.simulated, 1, r.stream, 1, r.estimated, 4, r.status, 4, a.status, 4, len(r.attempts), 8, r.config_version
    )


def row(r: UsageRecord, a: Attempt, shared: bytes, *, single: bool) -> bytes:
    """The record's row, answered by ``a``.

    shared: its ``constants``. single: what these say of ``a`` is all that its document would (``apps.usage.documents.single``), but for
    its numbers. Raises struct.error for numbers beyond their columns, and OverflowError for an id that is none.
    """
    id, t, cost, charges = r.id, r.tokens, r.cost_nano, a.charges
    if len(id) != 16:
        raise OverflowError(f"an id has 16 bytes, not {len(id)}")
    user, hashed, request = r.user.encode(), r.input_hash.encode(), a.upstream_request_id.encode()
    documents = None if single and a.cost_nano == cost and a.tokens == t and t.details is None else attempts_json(r)
    tags, metadata, flags = r.tags, r.metadata, r.flags
    return b"".join(
        (
            _HEAD,
            id,
            shared,
            _numbers(
                8, r.started_us - _POSTGRES_EPOCH_US, 8, t.input, 8, t.output, 8, t.cache_read, 8, t.cache_write, 8, t.reasoning,
                8, cost, 8, r.first_token_us, 8, r.total_us, 8, r.upstream_us, 8, r.bytes_in, 8, r.bytes_out,
                8, a.sent_us, 8, a.first_byte_us, 8, a.ended_us,
            ),
            _LENGTHS[len(user)] if len(user) < 1024 else _length(len(user)),
            user,
            _LENGTHS[len(hashed)] if len(hashed) < 1024 else _length(len(hashed)),
            hashed,
            _LENGTHS[len(request)] if len(request) < 1024 else _length(len(request)),
            request,
            _document(_json(tags)) if tags else _NULL,
            _document(_json(metadata)) if metadata else _NULL,
            _document(_json(flags)) if flags else _NULL,
            _NULL if documents is None else _document(documents),
            _charges(charges) if charges else _NULL,
            _trace(r.trace) if r.trace else _UNTRACED,
        )
    )  # fmt: skip


def _text(text: str) -> bytes:
    raw = text.encode()
    return _length(len(raw)) + raw


def _document(text: bytes) -> bytes:
    """``jsonb``: a version byte, then JSON text."""
    return _length(len(text) + 1) + b"\x01" + text


def _trace(packed: bytes) -> bytes:
    """Trace id, the caller's span, whether it records the trace."""
    trace = trace_unpack(packed)
    if trace is None:
        return _UNTRACED
    return b"".join((_text(trace.trace_id.hex()), _text(trace.parent.hex()), _length(1), b"\x01" if trace.sampled else b"\x00"))


def _charges(charges: list[Charge]) -> bytes:
    """``bigint[]`` of one dimension, no NULLs, from index 1."""
    count = len(charges) * 2
    if count == 4:  # most keys have two budgets, theirs and their team's
        one, two = charges
        return _array4(68, 1, 0, _INT8_OID, 4, 1, 8, one.lease_id, 8, one.reserved_nano, 8, two.lease_id, 8, two.reserved_nano)
    numbers: list[int] = []
    for charge in charges:
        numbers += (8, charge.lease_id, 8, charge.reserved_nano)
    pack = _array[count] if count < len(_array) else struct.Struct("!iiiiii" + "iq" * count).pack
    return pack(20 + 12 * count, 1, 0, _INT8_OID, count, 1, *numbers)


def cleaned(record: UsageRecord) -> UsageRecord:
    """The record as Postgres can store it: no NUL in any text, numbers within their columns, a time that exists.

    Only needed where something upstream or an app sent what no one sends; nothing else changes.
    """
    clean: UsageRecord = _clean(record)
    return msgspec.structs.replace(
        clean,
        id=clean.id[:16].rjust(16, b"\0"),
        started_us=min(max(clean.started_us, 0), MAX_MICROS),
        status=_status(clean.status),
        attempts=[msgspec.structs.replace(attempt, status=_status(attempt.status)) for attempt in clean.attempts],
    )


def _status(number: int) -> int:
    return min(max(number, -MAX_STATUS), MAX_STATUS)


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "")
    if isinstance(value, bool):
        return value
    if isinstance(value, int):
        return min(max(value, -MAX_NANO), MAX_NANO)
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    if isinstance(value, msgspec.Struct):
        return msgspec.structs.replace(value, **{name: _clean(getattr(value, name)) for name in value.__struct_fields__})
    return value
