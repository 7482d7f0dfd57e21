"""Rollups of a batch: records summed in memory, so that Postgres sees one row per bucket and dimensions.

Invariant: for every summed column, the sum over a batch's deltas of one tier equals the sum over the batch's
records, to the token and nano-dollar. A request counts at the attempt that answered it (or the last); each other attempt's
tokens and cost count at its own target, and the record's total less those at the answering one, so that nothing is
lost where a provider's figures do not add up.

Records are summed once, at the finest grain (ten seconds by all dimensions, ``apps.usage.batch``); the tiers are derived
from those cells, of which a batch has few. Under load several batches' cells are added to the tables at once: meanwhile they
are kept in ``usage_rollup_pending`` (``apps.usage.services.rollups_fold``).
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from functools import lru_cache
from hashlib import md5
from typing import Any

import msgspec

from apps.contracts.histogram import merge
from apps.contracts.usage import UsageRecord

NARROW = ("organisation", "simulated", "route", "provider", "endpoint", "model")
WIDE = (*NARROW, "key_id", "team", "service", "feature", "environment")
COUNTERS = (
    "requests", "ok", "error", "cancelled", "refused", "unknown", "estimated", "attempts", "attempt_errors", "tokens_input",
    "tokens_output", "tokens_cache_read", "tokens_cache_write", "tokens_reasoning", "cost_nano", "total_us", "upstream_us", "bytes_in",
    "bytes_out",
)  # fmt: skip
HISTOGRAMS = ("h_total", "h_first_token", "h_gap")
GAPLESS = "1m"
"""The tier without ``h_gap``: nothing reads gaps between tokens from it, and each histogram costs Postgres a merge."""

BUCKET_US = {"10s": 10_000_000, "1m": 60_000_000, "1h": 3_600_000_000}
"""Tier -> microseconds of a bucket."""

_ZERO = [0] * len(COUNTERS)
OUTCOME_PLACES = {"ok": 1, "error": 2, "cancelled": 3, "refused": 4, "unknown": 5}
_ATTEMPTS, _ATTEMPT_ERRORS, _TOKENS = 7, 8, 9
MOST = 2**55
"""A delta's counter is cut here ($36 million, or as many tokens, in one second): one nonsensical figure of a provider must not make a
sum overflow. The request keeps what was reported."""
ATTEMPT_MARK = "~"
"""Before the class of an attempt that failed, whatever became of its request."""
MOST_CLASSES = 40
"""Classes of failures told apart in one cell."""
OTHER_CLASS = "other"
_json = msgspec.json.Encoder().encode

Cell = tuple[list[int], dict[int, int], dict[int, int], dict[int, int], dict[str, int]]
"""Counters in the order of COUNTERS, the histograms in that of HISTOGRAMS, then failures by class: the error code of requests that were
not answered, and ``~`` with that of attempts that failed. Only the summaries keep the classes."""
Cells = dict[tuple[Any, ...], Cell]
"""By ``(bucket of ten seconds, *WIDE)`` as ``apps.usage.batch`` sums them; ``narrow_tiers`` and ``wide_tiers`` key them by the start of
the bucket in microseconds."""


def cell_new() -> Cell:
    return _ZERO.copy(), {}, {}, {}, {}


def failure_count(classes: dict[str, int], name: str, count: int = 1) -> None:
    """Count failures of one class; of more classes than ``MOST_CLASSES`` all further ones are ``OTHER_CLASS``, or its attempts' twin."""
    if name not in classes and len(classes) >= MOST_CLASSES:
        name = f"{ATTEMPT_MARK}{OTHER_CLASS}" if name.startswith(ATTEMPT_MARK) else OTHER_CLASS
    classes[name] = classes.get(name, 0) + count


def spread(cells: Cells, r: UsageRecord, bucket: int, serving: int, home: list[int]) -> None:
    """Several attempts: count what other targets used at their own cells, and take it off ``home``, the answering one's counters."""
    for at, a in enumerate(r.attempts):
        if at == serving:
            continue
        key = (
            bucket, r.organisation, r.simulated, r.route, a.provider, a.endpoint, a.model, r.key_id, r.team, r.service, r.feature,
            r.environment,
        )  # fmt: skip
        cell = cells.setdefault(key, cell_new())
        n = cell[0]
        n[_ATTEMPTS] += 1
        if a.outcome == "error":
            n[_ATTEMPT_ERRORS] += 1
            failure_count(cell[4], f"{ATTEMPT_MARK}{a.error_code or 'error'}")
        t = a.tokens
        for slot, count in enumerate((t.input, t.output, t.cache_read, t.cache_write, t.reasoning, a.cost_nano), start=_TOKENS):
            n[slot] += count
            home[slot] -= count


_Key = tuple[int, str, bool, str, str, str, str, str, str, str, str, str]
_decode_cells = msgspec.msgpack.Decoder(list[tuple[_Key, Cell]]).decode
_decode_classless = msgspec.msgpack.Decoder(list[tuple[_Key, tuple[list[int], dict[int, int], dict[int, int], dict[int, int]]]]).decode
_decode_gapless = msgspec.msgpack.Decoder(list[tuple[_Key, tuple[list[int], dict[int, int], dict[int, int]]]]).decode
_encode_cells = msgspec.msgpack.Encoder().encode


def cells_encode(cells: Cells) -> bytes:
    """Cells as ``usage_rollup_pending`` keeps them until they are added to the rollups."""
    return _encode_cells([(key, _bounded(cell)) for key, cell in cells.items()])


def cells_add(cells: Cells, encoded: bytes) -> None:
    """Add what ``cells_encode`` made, or made before there were classes of failures, or a histogram of gaps."""
    try:
        cells_merge(cells, iter(_decode_cells(encoded)))
    except msgspec.ValidationError:
        try:
            cells_merge(cells, ((key, (*cell, {})) for key, cell in _decode_classless(encoded)))
        except msgspec.ValidationError:
            cells_merge(cells, ((key, (*cell, {}, {})) for key, cell in _decode_gapless(encoded)))


def _bounded(cell: Cell) -> Cell:
    n = cell[0]
    if max(n) > MOST or min(n) < -MOST:
        return [max(-MOST, min(count, MOST)) for count in n], *cell[1:]
    return cell


def minute_of(key: tuple[Any, ...]) -> int:
    """The start of a cell's minute, in microseconds."""
    return int(key[0]) // 6 * BUCKET_US["1m"]


def narrow_tiers(cells: Cells) -> dict[str, Cells]:
    """The cells by ten seconds and by the minute, keyed ``(bucket start in microseconds, *dimensions)``."""
    return {
        "10s": _regrouped((((key[0] * BUCKET_US["10s"], *key[1:7]), cell) for key, cell in cells.items())),
        "1m": _regrouped((((minute_of(key), *key[1:]), cell) for key, cell in cells.items())),
    }


def wide_tiers(cells: Cells) -> dict[str, Cells]:
    """The cells by the minute and by the hour, keyed as ``narrow_tiers``."""
    minute = _regrouped((((minute_of(key), *key[1:]), cell) for key, cell in cells.items()))
    hour_us = BUCKET_US["1h"]
    return {"1m": minute, "1h": _regrouped((((key[0] // hour_us * hour_us, *key[1:]), cell) for key, cell in minute.items()))}


def _regrouped(items: Iterator[tuple[tuple[Any, ...], Cell]]) -> Cells:
    result: Cells = {}
    cells_merge(result, items)
    return result


def cells_merge(into: Cells, items: Iterator[tuple[tuple[Any, ...], Cell]]) -> None:
    """Add cells in place; what is added is copied."""
    for key, (n, h_total, h_first_token, h_gap, classes) in items:
        known = into.get(key)
        if known is None:
            into[key] = (n.copy(), h_total.copy(), h_first_token.copy(), h_gap.copy(), classes.copy())
            continue
        known[0][:] = map(int.__add__, known[0], n)
        merge(known[1], h_total)
        merge(known[2], h_first_token)
        if h_gap:
            merge(known[3], h_gap)
        if classes:
            classes_merge(known[4], classes)


def classes_merge(into: dict[str, int], other: dict[str, int]) -> None:
    """Add another's failures by class in place."""
    for name, count in other.items():
        into[name] = into.get(name, 0) + count


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
    histograms = HISTOGRAMS[:2] if tier == GAPLESS else HISTOGRAMS
    names = ", ".join(("bucket", "dimensions", *(NARROW if tier == "10s" else WIDE), *COUNTERS, *histograms))
    sums = ", ".join(f"{name} = kept.{name} + excluded.{name}" for name in COUNTERS)
    merges = ", ".join(
        f"{name} = CASE excluded.{name} WHEN '{{}}' THEN kept.{name} ELSE usage_histogram_merge(kept.{name}, excluded.{name}) END"
        for name in histograms
    )
    return (
        f"INSERT INTO usage_rollup_{tier} AS kept ({names}) SELECT {names} FROM {DELTA} WHERE tier = '{tier}' ORDER BY bucket, dimensions "
        f"ON CONFLICT (bucket, dimensions) DO UPDATE SET {sums}, {merges}"
    )


ADD = tuple(add_statement(tier) for tier in BUCKET_US)


def saturated(statement: str) -> str:
    """The same statement with sums that stop at the largest number instead of failing: for the day that a sum gets there."""
    return _SUM.sub(r"\1 = least(kept.\1::numeric + excluded.\1, 9223372036854775807)::bigint", statement)


_SUM = re.compile(r"(\w+) = kept\.\1 \+ excluded\.\1")


@lru_cache(maxsize=4096)
def _second(second: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(second))


def timestamp(micros: int) -> str:
    """Microseconds since the epoch as Postgres reads a timestamptz."""
    second, rest = divmod(micros, 1_000_000)
    return f"{_second(second)}.{rest:06d}+00"


def _escaped(text: str) -> str:
    """Text as a field of COPY's text format."""
    return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")


def delta_lines(by_tier: dict[str, Cells]) -> Iterator[str]:
    """Lines of ``COPY_DELTA``, by tier."""
    for tier, rows in by_tier.items():
        for (bucket, *dimensions), (n, h_total, h_first_token, h_gap, _) in rows.items():
            if max(n) > MOST or min(n) < -MOST:
                n = [max(-MOST, min(count, MOST)) for count in n]
            counters = "\t".join(map(str, n))
            gaps = "{}" if tier == GAPLESS or not h_gap else _histogram(h_gap)
            yield (
                f"{tier}\t{timestamp(bucket)}\t{_dimension_fields(*dimensions)}\t{counters}\t"
                f"{_histogram(h_total)}\t{_histogram(h_first_token)}\t{gaps}\n"
            )


@lru_cache(maxsize=20_000)
def _dimension_fields(organisation: str, simulated: bool, *texts: str) -> str:
    """The columns ``dimensions`` and WIDE; kept, because the same combinations come back with every fold."""
    texts += ("",) * (len(WIDE) - 2 - len(texts))
    digest = md5("\x1f".join((organisation, str(simulated), *texts)).encode(), usedforsecurity=False).hexdigest()
    return "\t".join((digest, _escaped(organisation), "t" if simulated else "f", *map(_escaped, texts)))


def _histogram(counts: dict[int, int]) -> str:
    return _json(counts).decode() if counts else "{}"
