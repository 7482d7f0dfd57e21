"""A usage record as one line of ``COPY usage_request ... FROM STDIN`` (text format). Pure; runs once per request.

Text, not binary: an f-string of forty fields is a third of the price of packing them, and Postgres parses
either at the same speed. Almost no record holds a character that COPY's text format must escape, so a line is built
without escaping and looked over as a whole; only where a tab, line end, backslash or NUL shows up is it built again, field by field.
"""

from __future__ import annotations

import time
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from apps.contracts.money import MAX_NANO
from apps.contracts.usage import Attempt, UsageRecord
from apps.usage.documents import attempts_json, serving_attempt

COLUMNS = (
    "id", "started_at", "organisation", "simulated", "key_id", "kind", "route", "requested_model", "stream", "outcome", "status",
    "error_code", "error_step", "environment", "feature", "tags", '"user"', "metadata", "team", "service", "config_version", "flags",
    "input_hash", "provider", "endpoint", "model", "attempt_count", "attempts", "tokens_input", "tokens_output", "tokens_cache_read",
    "tokens_cache_write", "tokens_reasoning", "cost_nano", "estimated", "first_token_us", "total_us", "upstream_us", "bytes_in",
    "bytes_out", "proxy",
)  # fmt: skip
COPY = f"COPY usage_request ({', '.join(COLUMNS)}) FROM STDIN"
MAX_STATUS = 2**31 - 1
MAX_MICROS = 4_102_444_800_000_000
"""2100-01-01: no clock is further off than this."""

S = TypeVar("S", bound=msgspec.Struct)

_TABS = len(COLUMNS) - 1
_json = msgspec.json.Encoder().encode
_NO_ATTEMPT = Attempt(provider="", endpoint="", model="")


@lru_cache(maxsize=4096)
def _second(second: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(second))


def timestamp(micros: int) -> str:
    """Microseconds since the epoch as Postgres reads a timestamptz."""
    second, rest = divmod(micros, 1_000_000)
    return f"{_second(second)}.{rest:06d}+00"


def copy_line(r: UsageRecord) -> str:
    """The record's line, with its line end."""
    index = serving_attempt(r)
    line = _line(
        r,
        r.attempts[index] if index >= 0 else _NO_ATTEMPT,
        _json(r.tags).decode() if r.tags else "[]",
        _json(r.metadata).decode() if r.metadata else "{}",
        _json(r.flags).decode() if r.flags else "[]",
        attempts_json(r.attempts).decode(),
    )
    if "\\" in line or "\0" in line or "\r" in line or line.count("\t") != _TABS or line.count("\n") != 1:
        return _escaped_line(cleaned(r), index)
    return line


def _line(r: UsageRecord, a: Attempt, tags: str, metadata: str, flags: str, attempts: str) -> str:
    t = r.tokens
    return (
        f"{r.id.hex()}\t{timestamp(r.started_us)}\t{r.organisation}\t{'t' if r.simulated else 'f'}\t{r.key_id}\t{r.kind}\t{r.route}\t"
        f"{r.requested_model}\t{'t' if r.stream else 'f'}\t{r.outcome}\t{r.status}\t{r.error_code}\t{r.error_step}\t{r.environment}\t"
        f"{r.feature}\t{tags}\t{r.user}\t{metadata}\t{r.team}\t{r.service}\t{r.config_version}\t{flags}\t{r.input_hash}\t{a.provider}\t"
        f"{a.endpoint}\t{a.model}\t{len(r.attempts)}\t{attempts}\t{t.input}\t{t.output}\t{t.cache_read}\t{t.cache_write}\t{t.reasoning}\t"
        f"{r.cost_nano}\t{'t' if r.estimated else 'f'}\t{r.first_token_us}\t{r.total_us}\t{r.upstream_us}\t{r.bytes_in}\t{r.bytes_out}\t"
        f"{r.proxy}\n"
    )


def escaped(text: str) -> str:
    """Text as a field of COPY's text format."""
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def _escaped_line(r: UsageRecord, index: int) -> str:
    attempt = r.attempts[index] if index >= 0 else _NO_ATTEMPT
    documents = [escaped(text) for text in (_json(r.tags).decode(), _json(r.metadata).decode(), _json(r.flags).decode())]
    return _line(_escaped_texts(r), _escaped_texts(attempt), *documents, escaped(attempts_json(r.attempts).decode()))


def _escaped_texts(struct: S) -> S:
    values = ((name, getattr(struct, name)) for name in struct.__struct_fields__)
    return msgspec.structs.replace(struct, **{name: escaped(value) for name, value in values if isinstance(value, str)})


def cleaned(record: UsageRecord) -> UsageRecord:
    """The record as Postgres can store it: no NUL in any text, numbers within their columns, a time that exists.

    Only needed where something upstream or an app sent what no one sends; nothing else changes.
    """
    clean: UsageRecord = _clean(record)
    return msgspec.structs.replace(
        clean, started_us=min(max(clean.started_us, 0), MAX_MICROS), status=min(max(clean.status, -MAX_STATUS), MAX_STATUS)
    )


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
