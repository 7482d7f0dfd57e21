"""The JSON forms inside ``usage_request``: what ``attempts`` holds, with names instead of the wire's positions.

The wire form is an array per attempt (``apps.contracts.usage.Attempt``), because the proxy writes it; the stored form is
read by people, SQL and apps. Both carry the same values in the same units.
"""

from __future__ import annotations

import msgspec

from apps.contracts.usage import Attempt, UsageRecord


class TokensDocument(msgspec.Struct, gc=False):
    input: int
    output: int
    cache_read: int
    cache_write: int
    reasoning: int


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


_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(list[AttemptDocument])


def attempt_document(a: Attempt) -> AttemptDocument:
    """An attempt by names. Positional, because it runs once per settled request."""
    t = a.tokens
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
        TokensDocument(t.input, t.output, t.cache_read, t.cache_write, t.reasoning),
        a.cost_nano,
        a.price_version,
        a.estimated,
        [ChargeDocument(c.lease_id, c.reserved_nano) for c in a.charges],
        a.upstream_request_id,
    )


def attempts_json(attempts: list[Attempt]) -> bytes:
    """The column ``attempts`` of a record."""
    return _encode([attempt_document(a) for a in attempts]) if attempts else b"[]"


def attempts_read(text: str | bytes) -> list[AttemptDocument]:
    """The column's JSON text as documents. Raises msgspec.MsgspecError for any other JSON."""
    return _decoder.decode(text)


def serving_attempt(record: UsageRecord) -> int:
    """Index of the attempt that answered, else of the last one; -1 where no upstream was called."""
    attempts = record.attempts
    if len(attempts) < 2:
        return len(attempts) - 1
    for index, attempt in enumerate(attempts):
        if attempt.outcome == "ok":
            return index
    return len(attempts) - 1
