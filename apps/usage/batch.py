"""One pass over a batch of records: their rows for COPY, and their sums for the rollups.

Both need to know who asked for what and who answered, which is the same for many requests: a ``_Group`` keeps what follows
from that (packed columns, dimensions) between batches, and is found by one look-up per record.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from struct import error as StructError
from sys import intern
from typing import Any

from apps.contracts.histogram import SCALE, ZERO
from apps.contracts.usage import Attempt, UsageRecord
from apps.usage import rows
from apps.usage.documents import serving_attempt
from apps.usage.rollups import ATTEMPT_MARK, COUNTERS, OUTCOME_PLACES, Cells, cell_new, failure_count, spread

CHUNK_ROWS = 250
"""Rows handed over at once: Postgres stores them while the next ones are made."""
MOST_GROUPS = 20_000
"""Groups kept; beyond, all are made anew, which costs about 10 us each."""


class _Group:
    """What requests of one sort share."""

    __slots__ = ("bucket", "cells", "classes", "columns", "counts", "dimensions", "numbers", "single", "spaced", "timed")

    def __init__(self, r: UsageRecord, a: Attempt) -> None:
        self.columns = rows.constants(r, a)
        self.dimensions = (
            r.organisation, r.simulated, r.route, a.provider, a.endpoint, a.model, r.key_id, r.team, r.service, r.feature, r.environment,
        )  # fmt: skip
        failing = a.outcome == "error"
        self.counts = [0, OUTCOME_PLACES[r.outcome]]
        """Places of the counters that each of them adds one to."""
        if r.estimated:
            self.counts.append(6)
        if r.attempts:
            self.counts.append(7)
            if failing:
                self.counts.append(8)
        code = r.error_code or r.outcome
        failed = (code,) if r.outcome in ("error", "refused", "unknown") else ()
        self.classes = (*failed, f"{ATTEMPT_MARK}{code}") if failing else failed
        self.timed = r.outcome in ("ok", "error")
        self.spaced = r.stream and r.outcome == "ok" and not r.estimated
        self.single = (
            len(r.attempts) == 1
            and a.outcome == r.outcome
            and a.error_code == r.error_code
            and a.estimated is r.estimated
            and a.simulated is r.simulated
            and a.role == "first"
        )
        self.bucket = 0
        self.cells: Cells | None = None
        self.numbers: list[_Numbers] = []
        """Of the records of ``bucket`` in the batch whose sums become ``cells``."""


def _shared(value: Any) -> Any:
    """Equal texts as one object: comparing with it then finds it in the processor's cache."""
    return intern(value) if type(value) is str else value


_Numbers = tuple[int, ...]
"""Of one record: the counters from ``tokens_input`` on, in their order, and then microseconds to its first token. They are kept until the
batch's end, and summed sort by sort: adding each to its own sums as it comes would wait for memory a dozen times a record."""
_SUMMED = COUNTERS.index("tokens_input")
_OUTPUT, _REASONING, _TOTAL = (COUNTERS.index(name) - _SUMMED for name in ("tokens_output", "tokens_reasoning", "total_us"))

_groups: dict[tuple[Any, ...], _Group] = {}


def encoded(records: Iterable[UsageRecord], cells: Cells) -> Iterator[bytes]:
    """The stream of ``rows.COPY``, in pieces; at its end every record has been added to ``cells``.

    Raises OverflowError where a number does not fit its column, ValueError where a text is none; ``cells`` is then of no use.
    """
    pieces = [rows.SIGNATURE]
    append, groups, row = pieces.append, _groups, rows.row
    unsummed: list[tuple[int, _Group, list[_Numbers]]] = []
    several: list[tuple[UsageRecord, int, int, _Group]] = []
    if len(groups) > MOST_GROUPS:
        groups.clear()
    try:
        for r in records:
            attempts = r.attempts
            if len(attempts) == 1:
                serving, a = 0, attempts[0]
            else:
                serving = serving_attempt(r)
                a = attempts[serving] if serving >= 0 else rows.NO_ATTEMPT
            sort = (
                r.key_id, r.route, r.requested_model, r.feature, a.endpoint, a.model, r.outcome, r.status, r.error_code, r.error_step,
                r.kind, r.stream, r.organisation, r.environment, r.team, r.service, r.simulated, r.estimated, r.config_version, r.proxy,
                a.provider, a.region, a.price_version, a.status, a.outcome, a.error_code, a.estimated, a.simulated, a.role,
                len(attempts),
            )  # fmt: skip
            group = groups.get(sort)
            if group is None:
                group = groups[tuple(map(_shared, sort))] = _Group(r, a)
            append(row(r, a, group.columns, single=group.single))

            bucket = r.started_us // 10_000_000
            if group.bucket != bucket or group.cells is not cells:
                group.bucket, group.cells, group.numbers = bucket, cells, []
                unsummed.append((bucket, group, group.numbers))
            t = r.tokens
            group.numbers.append(
                (
                    t.input, t.output, t.cache_read, t.cache_write, t.reasoning, r.cost_nano, r.total_us, r.upstream_us, r.bytes_in,
                    r.bytes_out, r.first_token_us,
                )
            )  # fmt: skip
            if len(attempts) > 1:
                several.append((r, bucket, serving, group))
            if len(pieces) >= CHUNK_ROWS:
                yield b"".join(pieces)
                pieces.clear()
    except StructError as error:
        raise OverflowError(f"a number or id of a record does not fit its column: {error}") from None
    append(rows.TRAILER)
    yield b"".join(pieces)
    for bucket, group, numbers in unsummed:
        _add(cells, bucket, group, numbers)
        group.cells, group.numbers = None, []
    for r, bucket, serving, group in several:
        spread(cells, r, bucket, serving, cells[bucket, *group.dimensions][0])


def _add(cells: Cells, bucket: int, group: _Group, numbers: list[_Numbers]) -> None:
    """Add records of one sort and bucket to their cell."""
    key = (bucket, *group.dimensions)
    cell = cells.get(key)
    if cell is None:
        cell = cells[key] = cell_new()
    n, h_total, h_first_token, h_gap, classes = cell
    count = len(numbers)
    for place in group.counts:
        n[place] += count
    for name in group.classes:
        failure_count(classes, name, count)
    *columns, first_tokens = zip(*numbers, strict=True)
    n[_SUMMED:] = map(int.__add__, n[_SUMMED:], map(sum, columns))
    # index_of, written out: a call less for each of a record's durations
    log2, ceil, fine = math.log2, math.ceil, 2**SCALE
    if group.timed:
        for total in columns[_TOTAL]:
            at = ceil(log2(total) * fine) - 1 if total > 0 else ZERO
            h_total[at] = h_total.get(at, 0) + 1
    for first in first_tokens:
        if first >= 0:
            at = ceil(log2(first) * fine) - 1 if first else ZERO
            h_first_token[at] = h_first_token.get(at, 0) + 1
    if group.spaced:
        for output, reasoning, total, first in zip(columns[_OUTPUT], columns[_REASONING], columns[_TOTAL], first_tokens, strict=True):
            gaps = output - reasoning - 1
            if gaps > 0 and first >= 0:
                rest = total - first
                at = ceil(log2(rest / gaps) * fine) - 1 if rest > 0 else ZERO
                h_gap[at] = h_gap.get(at, 0) + 1
