"""Everything that is told of one thing over time: counts, three latencies, failures by class; and which things there are.

Read from the summaries, as ``apps.usage.selectors`` does and with its scopes; a dimension's values may be several that belong together
(the endpoints of a region). Steps are wider than there, because a dashboard draws many plots of one series.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from apps.accounts.scope import Scope
from apps.usage.covering import DAY, HOUR, MINUTE, MINUTE_DAYS, aligned, cover, floor
from apps.usage.measures import COUNTS, DETAILS, SUMS, Group, Latency, Point, Series, Totals, classes_of, latency_of
from apps.usage.selectors import EVERYTHING, SETTLING_SECONDS, WHERE_VALUES, Dimension, covered, rows_of, traffic_of

STEPS = (
    (4_500, MINUTE, MINUTE), (4 * HOUR, MINUTE, 180), (14 * HOUR, 600, 600), (30 * HOUR, 600, 1_200), (8 * DAY, HOUR, 7_200),
    (40 * DAY, 10_800, 43_200),
)  # fmt: skip
"""Up to so many seconds of range: the width of the summaries to read, and of a step. Longer ones: days."""
RANKS: dict[str, str] = {
    "requests": "sum(requests)", "failed": "sum(error + unknown)", "attempt_errors": "sum(attempt_errors)", "spend": "sum(cost_nano)",
}  # fmt: skip
"""What decides which values are told apart."""
MOST_VALUES = 100


def traffic_detail(
    scope: Scope,
    start: datetime,
    end: datetime,
    *,
    dimension: Dimension | Literal[""] = EVERYTHING,
    values: Sequence[str] = ("",),
    now: datetime | None = None,
) -> Series:
    """One range of some values of a dimension together, by step and as a whole: two queries, none without values."""
    now = now or datetime.now(UTC)
    start, end = aligned(start, end, now=now)
    bucket, step = _step_for(start, end, now=now)
    first, until = floor(start, step), max(min(end, now), start)
    if not values:
        return Series(start, end, timedelta(seconds=step), list(_points({}, first, until, step)), Totals(), Latency(), Latency())
    source, parameters = covered(scope, cover(start, end, now=now), (dimension,), values)
    [whole] = rows_of(f"SELECT {SUMS}, {DETAILS} FROM {source}", parameters)
    found = _steps(scope, dimension, tuple(values), first, until, bucket=bucket, step=step)
    summed = _point(first, step, *whole)
    return Series(
        start=start,
        end=end,
        step=timedelta(seconds=step),
        points=list(_points(found, first, until, step)),
        totals=summed.totals,
        total=summed.total,
        first_token=summed.first_token,
        gap=summed.gap,
        classes=summed.classes,
    )


_known_steps: dict[tuple[str, bool, str, tuple[str, ...], int], dict[datetime, Point]] = {}
"""(organisation, simulated, dimension, values, seconds of the step) -> its steps, by their start.

What is measured of a step (histograms, failures by class) changes only together with its counts of requests and attempts. So of a
dashboard that is drawn again only the steps with new requests are read and merged, however late those came, and nothing has to expire.
"""
MOST_KNOWN_STEPS = 20_000
"""Some twenty megabytes: two hundred dashboards of a hundred steps."""


def _steps(
    scope: Scope, dimension: str, values: tuple[str, ...], first: datetime, until: datetime, *, bucket: int, step: int
) -> dict[datetime, Point]:
    """The steps of a range that had any traffic: one query, which measures those alone that are not known yet."""
    key = (scope.organisation, scope.simulated, dimension, values, step)
    known = {at: point for at, point in _known_steps.get(key, {}).items() if first <= at < until}
    place = f"date_bin('{step} seconds', bucket, 'epoch'::timestamptz)"
    where: list[Any] = [scope.organisation, scope.simulated, bucket, dimension, first, until, bucket, list(values)]
    counted = rows_of(
        f"WITH counted AS MATERIALIZED (SELECT {place} AS at, {_NAMED} FROM usage_summary WHERE {WHERE_VALUES} GROUP BY 1), "
        "fresh AS MATERIALIZED (SELECT at FROM counted WHERE NOT EXISTS (SELECT FROM unnest(%s::timestamptz[], %s::bigint[], %s::bigint[]) "
        "AS told (at, requests, attempts) "
        "WHERE (told.at, told.requests, told.attempts) = (counted.at, counted.requests, counted.attempts))), "
        "measured (at, total, first_token, gap, classes) AS MATERIALIZED "
        f"(SELECT {place}, {DETAILS} FROM usage_summary WHERE {WHERE_VALUES} AND {place} IN (SELECT at FROM fresh) GROUP BY 1) "
        "SELECT counted.*, measured.* FROM counted LEFT JOIN measured ON measured.at = counted.at",
        [
            *where,
            list(known),
            [point.totals.requests for point in known.values()],
            [point.totals.attempts for point in known.values()],
            *where,
        ],
    )
    found = {}
    for at, *row in counted:
        counts, fresh, measured = row[: len(COUNTS)], row[len(COUNTS)], row[len(COUNTS) + 1 :]
        found[at] = replace(known[at], totals=Totals(*counts)) if fresh is None else _point(at, step, *counts, *measured)
    if sum(map(len, _known_steps.values())) + len(found) > MOST_KNOWN_STEPS:
        _known_steps.clear()
    _known_steps.setdefault(key, {}).update(found)
    return found


def _step_for(start: datetime, end: datetime, *, now: datetime) -> tuple[int, int]:
    """(width of the summaries to read, seconds of a step): at most 100 steps up to 40 days."""
    length = (end - start).total_seconds()
    bucket, step = next(((bucket, step) for most, bucket, step in STEPS if length <= most), (DAY, DAY))
    least = HOUR if start < now - timedelta(days=MINUTE_DAYS) else MINUTE
    return max(bucket, least), max(step, least)


def _point(at: datetime, seconds: float, *measured: Any) -> Point:
    """measured: a row of SUMS and DETAILS."""
    *sums, total, first_token, gap, classes = measured
    counts = Totals(*(number or 0 for number in sums))
    return Point(at, seconds, counts, latency_of(total), latency_of(first_token), latency_of(gap), classes_of(classes))


def _points(found: Mapping[datetime, Point], first: datetime, until: datetime, step: int) -> Iterator[Point]:
    """Every step, those without traffic too; one that has only begun says nothing yet, because records take a second or two to arrive."""
    at = first
    while at < until:
        seconds = min(step, (until - at).total_seconds())
        if seconds == step or seconds >= max(SETTLING_SECONDS, step / 4):
            point = found.get(at) or Point(at, step)
            yield point if point.seconds == seconds else replace(point, seconds=seconds)
        at += timedelta(seconds=step)


@dataclass(frozen=True, slots=True)
class Busiest:
    """The values of a dimension that are told apart, and what all the others did together. others: how many those are."""

    groups: list[Group]
    rest: Totals = field(default_factory=Totals)
    others: int = 0


def traffic_busiest(
    scope: Scope,
    start: datetime,
    end: datetime,
    dimension: Dimension,
    *,
    by: str = "requests",
    most: int = MOST_VALUES,
    now: datetime | None = None,
) -> Busiest:
    """A range by one dimension, the first by ``by`` (a name of ``RANKS``) told apart: two queries, however many values there are.

    ``rest`` is what is needed for the rows to add up to the range; nobody can read the quantiles of what is not told apart.
    """
    now = now or datetime.now(UTC)
    start, end = aligned(start, end, now=now)
    source, parameters = covered(scope, cover(start, end, now=now), (dimension,))
    rows = rows_of(
        f"WITH each AS (SELECT value, {_NAMED}, {RANKS[by]} AS rank FROM {source} GROUP BY value), "
        "placed AS (SELECT *, row_number() OVER (ORDER BY rank DESC, value) AS place FROM each) "
        f"SELECT CASE WHEN place <= %s THEN value END, count(*), {SUMS} FROM placed GROUP BY 1 ORDER BY min(place)",
        [*parameters, most],
    )
    told = [value for value, *_ in rows if value is not None]
    groups = {group.value: group for group in traffic_of(scope, start, end, dimension, told, now=now)}
    rest = next(((Totals(*sums), count) for value, count, *sums in rows if value is None), (Totals(), 0))
    return Busiest([groups[value] for value in told if value in groups], *rest)


def traffic_grouped(
    scope: Scope, start: datetime, end: datetime, dimension: Dimension, groups: Mapping[str, str], *, now: datetime | None = None
) -> list[Group]:
    """A range by groups of values (value -> its group), the busiest first: one query. Values that are in no group are left out."""
    now = now or datetime.now(UTC)
    start, end = aligned(start, end, now=now)
    source, parameters = covered(scope, cover(start, end, now=now), (dimension,), list(groups))
    rows = rows_of(
        f"SELECT told.name, {SUMS}, {DETAILS} FROM {source} JOIN unnest(%s::text[], %s::text[]) AS told (value, name) USING (value) "
        f"GROUP BY told.name ORDER BY sum(requests) DESC, told.name",
        [*parameters, list(groups), list(groups.values())],
    )
    points = ((name, _point(start, 0, *measured)) for name, *measured in rows)
    return [Group(name, point.totals, point.total, point.first_token) for name, point in points]


_NAMED = ", ".join(f"sum({name})::bigint AS {name}" for name in COUNTS)
