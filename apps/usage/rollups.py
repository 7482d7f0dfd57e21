"""Rollups of a batch: records summed in memory, so that Postgres sees one row per bucket and dimensions.

Invariant: for every summed column, the sum over a batch's deltas of one tier equals the sum over the batch's
records, to the token and nano-dollar. A request counts at the attempt that answered it (or the last); each other attempt's
tokens and cost count at its own target, and the record's total less those at the answering one, so that nothing is
lost where a provider's figures do not add up.

Records are summed once, at the finest grain (ten seconds by all dimensions); the three tiers are derived from
those cells, of which a batch has few.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from hashlib import md5
from typing import Any

import msgspec

from apps.contracts.histogram import index_of, merge
from apps.contracts.usage import Attempt, UsageRecord
from apps.usage.documents import serving_attempt
from apps.usage.rows import escaped, timestamp

NARROW = ("organisation", "simulated", "route", "provider", "endpoint", "model")
WIDE = (*NARROW, "key_id", "team", "service", "feature", "environment")
COUNTERS = (
    "requests", "ok", "error", "cancelled", "refused", "unknown", "estimated", "attempts", "attempt_errors", "tokens_input",
    "tokens_output", "tokens_cache_read", "tokens_cache_write", "tokens_reasoning", "cost_nano", "total_us", "upstream_us", "bytes_in",
    "bytes_out",
)  # fmt: skip
HISTOGRAMS = ("h_total", "h_first_token")

BUCKET_US = {"10s": 10_000_000, "1m": 60_000_000, "1h": 3_600_000_000}
"""Tier -> microseconds of a bucket."""

_ZERO = [0] * len(COUNTERS)
_OUTCOME = {"ok": 1, "error": 2, "cancelled": 3, "refused": 4, "unknown": 5}
_ESTIMATED, _ATTEMPTS, _ATTEMPT_ERRORS, _TOKENS, _COST = 6, 7, 8, 9, 14
_json = msgspec.json.Encoder().encode

Cell = tuple[list[int], dict[int, int], dict[int, int]]
"""Counters in the order of COUNTERS, then the two histograms."""
_Cells = dict[tuple[Any, ...], Cell]


def summed(records: Iterable[UsageRecord]) -> _Cells:
    """Cells by ``(bucket of ten seconds, *WIDE)``; runs once per request."""
    cells: _Cells = {}
    for r in records:
        attempts = r.attempts
        bucket = r.started_us // 10_000_000
        if len(attempts) == 1:
            a = attempts[0]
            key: tuple[Any, ...] = (
                bucket,
                r.organisation,
                r.simulated,
                r.route,
                a.provider,
                a.endpoint,
                a.model,
                r.key_id,
                r.team,
                r.service,
                r.feature,
                r.environment,
            )
            errors = 1 if a.outcome == "error" else 0
        else:
            key, errors = _spread(cells, r, bucket)
        cell = cells.get(key)
        if cell is None:
            cell = cells[key] = (_ZERO.copy(), {}, {})
        n, h_total, h_first_token = cell
        t = r.tokens
        outcome = r.outcome
        n[0] += 1
        n[_OUTCOME[outcome]] += 1
        if r.estimated:
            n[6] += 1
        if attempts:
            n[7] += 1
        n[8] += errors
        n[9] += t.input
        n[10] += t.output
        n[11] += t.cache_read
        n[12] += t.cache_write
        n[13] += t.reasoning
        n[14] += r.cost_nano
        n[15] += r.total_us
        n[16] += r.upstream_us
        n[17] += r.bytes_in
        n[18] += r.bytes_out
        if outcome == "ok" or outcome == "error":
            index = index_of(r.total_us)
            h_total[index] = h_total.get(index, 0) + 1
        if r.first_token_us >= 0:
            index = index_of(r.first_token_us)
            h_first_token[index] = h_first_token.get(index, 0) + 1
    return cells


def _key(r: UsageRecord, bucket: int, a: Attempt | None) -> tuple[Any, ...]:
    target = (a.provider, a.endpoint, a.model) if a else ("", "", "")
    return (bucket, r.organisation, r.simulated, r.route, *target, r.key_id, r.team, r.service, r.feature, r.environment)


def _spread(cells: _Cells, r: UsageRecord, bucket: int) -> tuple[tuple[Any, ...], int]:
    """No attempt or several: move what other targets used to their cells, off the answering one's.

    Returns the answering attempt's key and its errors.
    """
    serving = serving_attempt(r)
    if serving < 0:
        return _key(r, bucket, None), 0
    home = _key(r, bucket, r.attempts[serving])
    rest = cells.setdefault(home, (_ZERO.copy(), {}, {}))[0]
    for index, a in enumerate(r.attempts):
        if index == serving:
            continue
        n = cells.setdefault(_key(r, bucket, a), (_ZERO.copy(), {}, {}))[0]
        n[_ATTEMPTS] += 1
        n[_ATTEMPT_ERRORS] += a.outcome == "error"
        t = a.tokens
        for slot, count in enumerate((t.input, t.output, t.cache_read, t.cache_write, t.reasoning, a.cost_nano), start=_TOKENS):
            n[slot] += count
            rest[slot] -= count
    return home, int(r.attempts[serving].outcome == "error")


def tiers(cells: _Cells) -> dict[str, _Cells]:
    """The cells of each tier, keyed ``(bucket start in microseconds, *dimensions)``."""
    minute = _regrouped((((key[0] // 6 * BUCKET_US["1m"], *key[1:]), cell) for key, cell in cells.items()))
    hour_us = BUCKET_US["1h"]
    return {
        "10s": _regrouped((((key[0] * BUCKET_US["10s"], *key[1:7]), cell) for key, cell in cells.items())),
        "1m": minute,
        "1h": _regrouped((((key[0] // hour_us * hour_us, *key[1:]), cell) for key, cell in minute.items())),
    }


def _regrouped(items: Iterator[tuple[tuple[Any, ...], Cell]]) -> _Cells:
    result: _Cells = {}
    for key, (n, h_total, h_first_token) in items:
        known = result.get(key)
        if known is None:
            result[key] = (n.copy(), dict(h_total), dict(h_first_token))
            continue
        known[0][:] = map(int.__add__, known[0], n)
        merge(known[1], h_total)
        merge(known[2], h_first_token)
    return result


DELTA = "usage_rollup_delta"
"""A session's temporary table: deltas arrive in it by COPY, and are added from it."""

CREATE_DELTA = f"""CREATE TEMPORARY TABLE IF NOT EXISTS {DELTA} (
    tier text, bucket timestamptz, dimensions uuid, {", ".join(f"{name} {'boolean' if name == 'simulated' else 'text'}" for name in WIDE)},
    {", ".join(f"{name} bigint" for name in COUNTERS)}, {", ".join(f"{name} jsonb" for name in HISTOGRAMS)}
) ON COMMIT DELETE ROWS"""

CLEAR_DELTA = f"DELETE FROM {DELTA}"
COPY_DELTA = f"COPY {DELTA} FROM STDIN"


def add_statement(tier: str) -> str:
    """Adds a tier's deltas to its table, in the order of its key: two shippers never wait for each other in a circle."""
    names = ", ".join(("bucket", "dimensions", *(NARROW if tier == "10s" else WIDE), *COUNTERS, *HISTOGRAMS))
    sums = ", ".join(f"{name} = kept.{name} + excluded.{name}" for name in COUNTERS)
    merges = ", ".join(
        f"{name} = CASE excluded.{name} WHEN '{{}}' THEN kept.{name} ELSE usage_histogram_merge(kept.{name}, excluded.{name}) END"
        for name in HISTOGRAMS
    )
    return (
        f"INSERT INTO usage_rollup_{tier} AS kept ({names}) SELECT {names} FROM {DELTA} WHERE tier = '{tier}' ORDER BY bucket, dimensions "
        f"ON CONFLICT (bucket, dimensions) DO UPDATE SET {sums}, {merges}"
    )


ADD = tuple(add_statement(tier) for tier in BUCKET_US)


def delta_lines(by_tier: dict[str, _Cells]) -> Iterator[str]:
    """Lines of ``COPY_DELTA`` for all tiers (``tiers``)."""
    for tier, rows in by_tier.items():
        for (bucket, *dimensions), (n, h_total, h_first_token) in rows.items():
            organisation, simulated, *texts = dimensions
            texts += [""] * (len(WIDE) - len(dimensions))
            text = "\t".join((escaped(organisation), "t" if simulated else "f", *map(escaped, texts)))
            digest = md5("\x1f".join((organisation, str(simulated), *texts)).encode(), usedforsecurity=False).hexdigest()
            counters = "\t".join(map(str, n))
            yield f"{tier}\t{timestamp(bucket)}\t{digest}\t{text}\t{counters}\t{_histogram(h_total)}\t{_histogram(h_first_token)}\n"


def _histogram(counts: dict[int, int]) -> str:
    return _json(counts).decode() if counts else "{}"
