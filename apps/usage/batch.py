"""One pass over a batch of records: their rows for COPY, and their sums for the rollups.

Both need to know who asked for what and who answered, which is the same for many requests: a ``_Group`` keeps what follows
from that (packed columns, dimensions) between batches, and is found by one look-up per record.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from struct import error as StructError
from typing import Any

from apps.contracts.histogram import SCALE, ZERO
from apps.contracts.usage import Attempt, UsageRecord
from apps.usage import rows
from apps.usage.documents import serving_attempt
from apps.usage.rollups import ATTEMPT_MARK, OUTCOME_PLACES, Cell, Cells, cell_new, failure_count, spread

CHUNK_ROWS = 250
"""Rows handed over at once: Postgres stores them while the next ones are made."""
MOST_GROUPS = 20_000
"""Groups kept; beyond, all are made anew, which costs about 10 us each."""


class _Group:
    """What requests of one sort share."""

    __slots__ = ("bucket", "cell", "cells", "classes", "columns", "dimensions", "errors", "place", "spaced", "timed")

    def __init__(self, r: UsageRecord, a: Attempt) -> None:
        self.columns = rows.constants(r, a)
        self.dimensions = (
            r.organisation, r.simulated, r.route, a.provider, a.endpoint, a.model, r.key_id, r.team, r.service, r.feature, r.environment,
        )  # fmt: skip
        self.place = OUTCOME_PLACES[r.outcome]
        self.errors = int(a.outcome == "error")
        code = r.error_code or r.outcome
        failed = (code,) if r.outcome in ("error", "refused", "unknown") else ()
        self.classes = (*failed, f"{ATTEMPT_MARK}{code}") if self.errors else failed
        self.timed = r.outcome in ("ok", "error")
        self.spaced = r.stream and r.outcome == "ok" and not r.estimated
        self.bucket = 0
        self.cells: Cells | None = None
        self.cell: Cell = cell_new()


_groups: dict[tuple[Any, ...], _Group] = {}


def encoded(records: Iterable[UsageRecord], cells: Cells) -> Iterator[bytes]:
    """The stream of ``rows.COPY``, in pieces; every record is added to ``cells`` on the way.

    Raises OverflowError where a number does not fit its column, ValueError where a text is none; ``cells`` is then of no use.
    """
    pieces = [rows.SIGNATURE]
    append, groups, row = pieces.append, _groups, rows.row
    log2, ceil, fine = math.log2, math.ceil, 2**SCALE  # index_of, written out: a call less for each of a record's durations
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
                a.provider, a.region, a.price_version, a.status, a.outcome, len(attempts),
            )  # fmt: skip
            group = groups.get(sort)
            if group is None:
                group = groups[sort] = _Group(r, a)
            append(row(r, a, group.columns))

            bucket = r.started_us // 10_000_000
            if group.bucket != bucket or group.cells is not cells:
                key = (bucket, *group.dimensions)
                cell = cells.get(key)
                if cell is None:
                    cell = cells[key] = cell_new()
                group.bucket, group.cells, group.cell = bucket, cells, cell
            n, h_total, h_first_token, h_gap, classes = group.cell
            if len(attempts) > 1:
                spread(cells, r, bucket, serving, n)
            t = r.tokens
            n[0] += 1
            n[group.place] += 1
            for name in group.classes:
                failure_count(classes, name)
            if r.estimated:
                n[6] += 1
            if attempts:
                n[7] += 1
                n[8] += group.errors
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
            if group.timed:
                at = ceil(log2(r.total_us) * fine) - 1 if r.total_us > 0 else ZERO
                h_total[at] = h_total.get(at, 0) + 1
            if r.first_token_us >= 0:
                at = ceil(log2(r.first_token_us) * fine) - 1 if r.first_token_us else ZERO
                h_first_token[at] = h_first_token.get(at, 0) + 1
                if group.spaced:
                    gaps = t.output - t.reasoning - 1
                    if gaps > 0:
                        rest = r.total_us - r.first_token_us
                        at = ceil(log2(rest / gaps) * fine) - 1 if rest > 0 else ZERO
                        h_gap[at] = h_gap.get(at, 0) + 1
            if len(pieces) >= CHUNK_ROWS:
                yield b"".join(pieces)
                pieces.clear()
    except StructError as error:
        raise OverflowError(f"a number or id of a record does not fit its column: {error}") from None
    append(rows.TRAILER)
    yield b"".join(pieces)
