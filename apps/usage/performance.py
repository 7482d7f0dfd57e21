"""What verdicts on performance are made of: counts and times to the first token of routes and models, and gaps between tokens.

Routes are read from the summaries. Models, and gaps between tokens, are in the rollups alone: of ten seconds for short windows, of an
hour beyond.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Literal

from apps.accounts.scope import Scope
from apps.contracts.histogram import index_of, upper_bound
from apps.usage.covering import HOUR, MINUTE, aligned, floor
from apps.usage.measures import HISTOGRAMS, SUMS, Latency, Point, Totals, latency_of
from apps.usage.selectors import rows_of, traffic_of, traffic_series

Dimension = Literal["route", "model"]
SHORT = timedelta(hours=6, minutes=1)
"""Up to this length models are read in tens of seconds."""
STEPS = ((2 * HOUR, MINUTE), (7 * HOUR, 300), (15 * 24 * HOUR, HOUR))
"""Up to so many seconds of a range: seconds of a step. Longer ones: six hours."""


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
    if dimension == "route":
        first, last = aligned(start, end, now=now)
        found = {group.value: group for group in traffic_of(scope, start, end, "route", values, now=now)}
        return {
            value: Traffic(first, min(last, now), found[value].totals, found[value].first_token) if value in found else Traffic(first, now)
            for value in values
        }
    table, first = _table(start, end, now)
    rows = (
        rows_of(
            f"SELECT model, {SUMS}, {HISTOGRAMS} FROM {table} WHERE organisation = %s AND simulated = %s AND bucket >= %s AND bucket < %s "
            "AND model = ANY (%s) GROUP BY model",
            [scope.organisation, scope.simulated, first, end, list(values)],
        )
        if values
        else []
    )
    known = {model: Traffic(first, end, Totals(*sums), latency_of(first_token)) for model, *sums, _total, first_token in rows}
    return {value: known.get(value, Traffic(first, end)) for value in values}


def traffic_points(scope: Scope, dimension: Dimension, value: str, start: datetime, end: datetime, *, now: datetime) -> list[Point]:
    """A range of one route or model in steps, those without traffic too."""
    if dimension == "route":
        return traffic_series(scope, start, end, dimension="route", value=value, now=now).points
    table, _ = _table(start, end, now)
    step = max(_step(start, end), HOUR if table == "usage_rollup_1h" else MINUTE)
    first, until = floor(start, step), min(end, now)
    place = f"date_bin('{step} seconds', bucket, 'epoch'::timestamptz)"
    found = {
        at: Point(at, step, Totals(*sums), latency_of(total), latency_of(first_token))
        for at, *sums, total, first_token in rows_of(
            f"SELECT {place}, {SUMS}, {HISTOGRAMS} FROM {table} WHERE organisation = %s AND simulated = %s AND bucket >= %s "
            "AND bucket < %s AND model = %s GROUP BY 1",
            [scope.organisation, scope.simulated, first, until, value],
        )
    }
    points, at = [], first
    while at < until:
        points.append(found.get(at, Point(at, step)))
        at += timedelta(seconds=step)
    return points


_JOINED = "string_agg(h_gap::text, ',') FILTER (WHERE h_gap <> '{}')"


def gaps_in(scope: Scope, dimension: Dimension, values: Sequence[str], start: datetime, end: datetime, *, now: datetime) -> dict[str, Gaps]:
    """Gaps between tokens of some routes' or models' finished streams: one query, none without values. All of them are in the answer."""
    table, first = _table(start, end, now)
    rows = (
        rows_of(
            f"SELECT {dimension}, {_JOINED} FROM {table} WHERE organisation = %s AND simulated = %s AND bucket >= %s AND bucket < %s "
            f"AND {dimension} = ANY (%s) GROUP BY 1",
            [scope.organisation, scope.simulated, first, end, list(values)],
        )
        if values
        else []
    )
    found = {value: latency_of(texts) for value, texts in rows}
    return {value: Gaps(latency.p95, latency.count, first) for value in values for latency in (found.get(value, Latency()),)}


def gap_points(scope: Scope, dimension: Dimension, value: str, start: datetime, end: datetime, *, now: datetime) -> list[GapPoint]:
    """The same of one route or model in steps; a step without a stream has no point."""
    table, _ = _table(start, end, now)
    step = max(_step(start, end), HOUR if table == "usage_rollup_1h" else MINUTE)
    rows = rows_of(
        f"SELECT date_bin('{step} seconds', bucket, 'epoch'::timestamptz), {_JOINED} FROM {table} WHERE organisation = %s "
        f"AND simulated = %s AND bucket >= %s AND bucket < %s AND {dimension} = %s GROUP BY 1 ORDER BY 1",
        [scope.organisation, scope.simulated, floor(start, step), min(end, now), value],
    )
    found = [(at, latency_of(texts)) for at, texts in rows]
    return [GapPoint(at, latency.p95, latency.count) for at, latency in found if latency.p95 is not None]


def _table(start: datetime, end: datetime, now: datetime) -> tuple[str, datetime]:
    """The rollups that a range of models, or of gaps, is read from, and the start of the first bucket."""
    if end - start <= SHORT and start > now - timedelta(hours=47):
        return "usage_rollup_10s", floor(start, 10)
    return "usage_rollup_1h", floor(start, HOUR)


def _step(start: datetime, end: datetime) -> int:
    length = (end - start).total_seconds()
    return next((step for most, step in STEPS if length <= most), 6 * HOUR)
