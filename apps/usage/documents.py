"""The JSON forms inside ``usage_request``: what ``attempts`` holds, with names instead of the wire's positions.

The wire form is an array per attempt (``apps.contracts.usage.Attempt``), because the proxy writes it; the stored form is
read by people, SQL and apps. Both carry the same values in the same units.
"""

from __future__ import annotations

from typing import Any

import msgspec

from apps.contracts.usage import Attempt, UsageRecord


class TokenDetailsDocument(msgspec.Struct, gc=False, omit_defaults=True):
    audio_input: int
    audio_output: int
    image_input: int
    image_output: int
    batch: bool
    cache_write_hour: int = 0
    meters: dict[str, int] = {}


class TokensDocument(msgspec.Struct, gc=False, omit_defaults=True):
    input: int
    output: int
    cache_read: int
    cache_write: int
    reasoning: int
    details: TokenDetailsDocument | None = None


class ChargeDocument(msgspec.Struct, gc=False):
    lease_id: int
    reserved_nano: int


class AttemptDocument(msgspec.Struct, gc=False):
    """One try at one target; see ``Attempt`` for units."""

    provider: str
    endpoint: str
    model: str
    region: str
    simulated: bool
    outcome: str
    status: int
    error_code: str
    sent_us: int
    first_byte_us: int
    ended_us: int
    tokens: TokensDocument
    cost_nano: int
    price_version: str
    estimated: bool
    charges: list[ChargeDocument]
    upstream_request_id: str
    role: str = "first"


_encode = msgspec.json.Encoder().encode


def attempt_document(a: Attempt) -> AttemptDocument:
    """An attempt by names. Positional, because it runs once per settled request."""
    t = a.tokens
    d = t.details
    details = None
    if d is not None:
        details = TokenDetailsDocument(
            d.audio_input, d.audio_output, d.image_input, d.image_output, d.batch, d.cache_write_hour, dict(d.meters)
        )
    return AttemptDocument(
        a.provider,
        a.endpoint,
        a.model,
        a.region,
        a.simulated,
        a.outcome,
        a.status,
        a.error_code,
        a.sent_us,
        a.first_byte_us,
        a.ended_us,
        TokensDocument(t.input, t.output, t.cache_read, t.cache_write, t.reasoning, details),
        a.cost_nano,
        a.price_version,
        a.estimated,
        [ChargeDocument(c.lease_id, c.reserved_nano) for c in a.charges],
        a.upstream_request_id,
        a.role,
    )


def attempts_json(r: UsageRecord) -> bytes | None:
    """The column ``attempts``; None (NULL) for no attempt, and for a single one of which the other columns tell everything."""
    attempts = r.attempts
    if len(attempts) < 2:
        if not attempts:
            return None
        a = attempts[0]
        if (
            a.cost_nano == r.cost_nano
            and a.tokens == r.tokens
            and a.tokens.details is None
            and a.outcome == r.outcome
            and a.error_code == r.error_code
            and a.estimated is r.estimated
            and a.simulated is r.simulated
            and a.role == "first"
        ):
            return None
    return _encode([attempt_document(a) for a in attempts])


def attempt_of_columns(row: Any) -> dict[str, Any]:
    """The single attempt of a row whose ``attempts`` is NULL; the SQL function ``usage_attempts`` says the same.

    ``row``: anything with the columns of ``usage_request`` as attributes.
    """
    charges = row.charges
    return {
        "provider": row.provider,
        "endpoint": row.endpoint,
        "model": row.model,
        "region": row.region,
        "simulated": row.simulated,
        "outcome": row.outcome,
        "status": row.upstream_status,
        "error_code": row.error_code,
        "sent_us": row.upstream_sent_us,
        "first_byte_us": row.upstream_first_byte_us,
        "ended_us": row.upstream_ended_us,
        "tokens": {
            "input": row.tokens_input,
            "output": row.tokens_output,
            "cache_read": row.tokens_cache_read,
            "cache_write": row.tokens_cache_write,
            "reasoning": row.tokens_reasoning,
        },
        "cost_nano": row.cost_nano,
        "price_version": row.price_version,
        "estimated": row.estimated,
        "charges": [{"lease_id": charges[n], "reserved_nano": charges[n + 1]} for n in range(0, len(charges), 2)],
        "upstream_request_id": row.upstream_request_id,
        "role": "first",
    }


def serving_attempt(record: UsageRecord) -> int:
    """Index of the attempt that answered, else of the last one; -1 where no upstream was called."""
    attempts = record.attempts
    if len(attempts) < 2:
        return len(attempts) - 1
    for index, attempt in enumerate(attempts):
        if attempt.outcome == "ok":
            return index
    return len(attempts) - 1
