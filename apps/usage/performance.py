"""What verdicts on performance are made of: counts, times to the first token and gaps between tokens of routes and models.

All of it is read from the summaries, which hold each route and each model alone: what a window costs to read does not follow from how much
traffic it saw, nor from how many keys and targets it came by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from apps.accounts.scope import Scope
from apps.contracts.histogram import index_of, upper_bound
from apps.usage.covering import HOUR, MINUTE, MINUTE_DAYS, aligned, cover, floor
from apps.usage.measures import Latency, Point, Totals, joined, latency_of
from apps.usage.selectors import WHERE_VALUES, covered, rows_of, traffic_of, traffic_series

Dimension = Literal["route", "model"]
STEPS = ((2 * HOUR, MINUTE, MINUTE), (7 * HOUR, MINUTE, 300), (15 * 24 * HOUR, HOUR, HOUR))
"""Up to so many seconds of a range: the width of the summaries to read, and seconds of a step of gaps. Longer ones: ``LONG``."""
LONG = (3 * HOUR, 6 * HOUR)


@dataclass(frozen=True, slots=True)
class Traffic:
    """One route or model in ``[start, end)``, as wide as the buckets that cover the range asked for."""

    start: datetime
    end: datetime
    totals: Totals = field(default_factory=Totals)
    first_token: Latency = field(default_factory=Latency)


@dataclass(frozen=True, slots=True)
class Gaps:
    """Mean gaps between tokens of finished streams that began from ``start`` on: p95 in microseconds, None without one."""

    p95: float | None
    count: int
    start: datetime


@dataclass(frozen=True, slots=True)
class GapPoint:
    """One step of a series of gaps."""

    at: datetime
    p95: float
    count: int


def least_of(value: float) -> float:
    """What was measured is more than this: the lower edge of the histogram's bucket that ``value`` is the middle of. Microseconds."""
    return upper_bound(index_of(value) - 1)


def traffic_in(
    scope: Scope, dimension: Dimension, values: Sequence[str], start: datetime, end: datetime, *, now: datetime
) -> dict[str, Traffic]:
    """Each of some routes or models in a range that ends by now: one query, none without values. All of them are in the answer."""
    first, last = aligned(start, end, now=now)
    found = {group.value: group for group in traffic_of(scope, start, end, dimension, values, now=now)}
    return {
        value: Traffic(first, min(last, now), found[value].totals, found[value].first_token) if value in found else Traffic(first, now)
        for value in values
    }


def traffic_points(scope: Scope, dimension: Dimension, value: str, start: datetime, end: datetime, *, now: datetime) -> list[Point]:
    """A range of one route or model in steps, those without traffic too; the last may only have begun."""
    return traffic_series(scope, start, end, dimension=dimension, value=value, begun=True, now=now).points


def gaps_in(scope: Scope, dimension: Dimension, values: Sequence[str], start: datetime, end: datetime, *, now: datetime) -> dict[str, Gaps]:
    """Gaps between tokens of some routes' or models' finished streams: one query, none without values. All of them are in the answer."""
    first, last = aligned(start, end, now=now)
    found: dict[str, Latency] = {}
    if values:
        source, parameters = covered(scope, cover(first, last, now=now), (dimension,), values)
        rows = rows_of(f"SELECT value, {joined('h_gap')} FROM {source} GROUP BY value", parameters)
        found = {value: latency_of(texts) for value, texts in rows}
    return {value: Gaps(latency.p95, latency.count, first) for value in values for latency in (found.get(value, Latency()),)}


def gap_points(scope: Scope, dimension: Dimension, value: str, start: datetime, end: datetime, *, now: datetime) -> list[GapPoint]:
    """The same of one route or model in steps; a step without a stream has no point."""
    bucket, step = _steps(start, end, now)
    first, until = floor(start, step), min(end, now)
    rows = rows_of(
        f"SELECT date_bin('{step} seconds', bucket, 'epoch'::timestamptz), {joined('h_gap')} FROM usage_summary WHERE {WHERE_VALUES} "
        "GROUP BY 1 ORDER BY 1",
        [scope.organisation, scope.simulated, bucket, dimension, first, until, bucket, [value]],
    )
    found = [(at, latency_of(texts)) for at, texts in rows]
    return [GapPoint(at, latency.p95, latency.count) for at, latency in found if latency.p95 is not None]


def _steps(start: datetime, end: datetime, now: datetime) -> tuple[int, int]:
    """The width of the summaries that a range of gaps is read from, and the seconds of a step; minutes as long as they are kept."""
    length = (end - start).total_seconds()
    bucket, step = next(((bucket, step) for most, bucket, step in STEPS if length <= most), LONG)
    least = HOUR if start < now - timedelta(days=MINUTE_DAYS) else MINUTE
    return max(bucket, least), max(step, least)
