"""Reads over usage: totals, rates and latency from the summaries.

Every read takes a ``Scope``, so that no total can mix two organisations, or real and simulated traffic. Totals are exact: a range
is covered by days, hours and minutes that fill it, each counted once (``apps.usage.covering``).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Literal

from apps.accounts.scope import Scope
from apps.usage.covering import DAY, HOUR, MINUTE, Segment, aligned, ceil, cover, floor, step_for
from apps.usage.measures import HISTOGRAMS, SUMS, Group, Latency, Point, Series, Totals, latency_of
from apps.usage.merging import groups_read
from apps.usage.summary_sql import EVERYTHING, WHERE_VALUES, Dimension, covered, rows_of

SETTLING_SECONDS = 5
"""A step younger than this is left out of a series."""


def traffic_series(
    scope: Scope,
    start: datetime,
    end: datetime,
    *,
    dimension: Dimension | Literal[""] = EVERYTHING,
    value: str = "",
    whole: Sequence[Group] | None = None,
    latency: bool = True,
    begun: bool = False,
    now: datetime | None = None,
) -> Series:
    """Counts and latency of a range, by step and as a whole: three queries, two where nothing came since the last time.

    dimension, value: of one route, provider or key alone, in steps of a minute or more. whole: what ``traffic_by`` found for the
    same range and time under ``""``, where that was asked already. latency: of each step too; it costs a query.
    begun: a step that has only begun too, where it has traffic: shares and percentiles can be read from it, rates cannot.
    """
    now = now or datetime.now(UTC)
    start, end = aligned(start, end, now=now)
    if whole is not None:
        found = list(whole)
    elif dimension == EVERYTHING:
        found = traffic_by(scope, start, end, (), now=now)[EVERYTHING]
    else:
        found = traffic_of(scope, start, end, dimension, [value], now=now)
    [whole_group] = found or [Group(value, Totals(), Latency(), Latency())]
    bucket, step = step_for(start, end, now=now)
    if dimension != EVERYTHING:
        bucket, step = max(bucket, MINUTE), max(step, MINUTE)
    first, until = floor(start, step), max(min(end, now), start)
    where = [scope.organisation, scope.simulated, bucket, dimension, first, until, bucket, [value]]
    place = f"date_bin('{step} seconds', bucket, 'epoch'::timestamptz)"
    sql = f"SELECT {place}, {SUMS} FROM usage_summary WHERE {WHERE_VALUES} GROUP BY 1"
    counts = {at: Totals(*sums) for at, *sums in rows_of(sql, where)}
    latencies = _step_latencies(scope, step, place, where, counts) if latency else {}
    points, at, nothing = [], first, (Latency(), Latency())
    while at < until:
        seconds = min(step, (until - at).total_seconds())
        # a step that has only begun says nothing yet; records take a second or two to arrive
        if seconds == step or seconds >= max(SETTLING_SECONDS, step / 4) or (begun and at in counts):
            points.append(Point(at, seconds, counts.get(at, Totals()), *latencies.get(at, nothing)))
        at += timedelta(seconds=step)
    return Series(start, end, timedelta(seconds=step), points, whole_group.totals, whole_group.total, whole_group.first_token)


_known_steps: dict[tuple[str, bool, int, str, str, int], tuple[int, Latency, Latency]] = {}
"""(organisation, simulated, seconds of the step, dimension, value, its start) -> requests counted, and the latencies found for them.

A histogram changes only together with the count of requests beside it, so a step whose count is the same has the same latency: of a
plot that is drawn again only the steps with new requests are merged, however late those came.
"""
MOST_KNOWN_STEPS = 50_000


def _step_latencies(
    scope: Scope, step: int, place: str, where: list[Any], counts: Mapping[datetime, Totals]
) -> dict[datetime, tuple[Latency, Latency]]:
    """By step, total and first token; one query for the steps that are not known, none where all are."""
    dimension, [value] = where[3], where[-1]
    keys = {at: (scope.organisation, scope.simulated, step, dimension, value, int(at.timestamp())) for at in counts}
    found: dict[datetime, tuple[Latency, Latency]] = {}
    for at, totals in counts.items():
        known = _known_steps.get(keys[at])
        if known is not None and known[0] == totals.requests:
            found[at] = known[1:]
    missing = [at for at in counts if at not in found]
    if not missing:
        return found
    if len(_known_steps) + len(missing) > MOST_KNOWN_STEPS:
        _known_steps.clear()
    sql = f"SELECT {place}, sum(requests)::bigint, {HISTOGRAMS} FROM usage_summary WHERE {WHERE_VALUES} AND {place} = ANY (%s) GROUP BY 1"
    for at, requests, total, first_token in rows_of(sql, [*where, missing]):
        found[at] = (latency_of(total), latency_of(first_token))
        _known_steps[keys[at]] = (requests, *found[at])
    return found


def traffic_by(
    scope: Scope,
    start: datetime,
    end: datetime,
    dimensions: Sequence[Dimension],
    *,
    now: datetime | None = None,
    limit: int = 200,
) -> dict[str, list[Group]]:
    """A range by each of some dimensions, the busiest values first, and under ``""`` as a whole: one query, however many.

    The range is ``aligned``. Of more than ``limit`` values the least busy are left out.
    """
    now = now or datetime.now(UTC)
    start, end = aligned(start, end, now=now)
    found: dict[str, list[Group]] = {EVERYTHING: [], **{name: [] for name in dimensions}}
    for dimension, group in groups_read(scope, cover(start, end, now=now), (EVERYTHING, *dimensions), now=now):
        if len(found[dimension]) < limit:
            found[dimension].append(group)
    return found


def traffic_of(
    scope: Scope,
    start: datetime,
    end: datetime,
    dimension: Dimension,
    values: Sequence[str] | None,
    *,
    latency: bool = True,
    now: datetime | None = None,
) -> list[Group]:
    """A range by some values of one dimension, the busiest first: one query, none without values. A value without traffic has no group.

    values: those of one page of a list; None: all that have traffic. latency: whether histograms are merged; a sort needs none.
    """
    if values is not None and not values:
        return []
    now = now or datetime.now(UTC)
    start, end = aligned(start, end, now=now)
    segments = cover(start, end, now=now)
    if latency:
        return [group for _, group in groups_read(scope, segments, (dimension,), values, now=now)]
    source, parameters = covered(scope, segments, (dimension,), values)
    rows = rows_of(f"SELECT value, {SUMS} FROM {source} GROUP BY value ORDER BY sum(requests) DESC, value", parameters)
    return [Group(value, Totals(*sums), Latency(), Latency()) for value, *sums in rows]


def values_seen(scope: Scope, start: datetime, end: datetime, *, limit: int = 200) -> dict[Dimension, list[str]]:
    """The routes, providers and keys that a range has traffic of, for its filters: one query over whole hours or days."""
    width = HOUR if end - start <= timedelta(days=2) else DAY
    names: tuple[Dimension, ...] = ("route", "provider", "key_id")
    source, parameters = covered(scope, [Segment(width, floor(start, width), ceil(end, width))], names)
    found: dict[Dimension, list[str]] = {name: [] for name in names}
    for name, value in rows_of(f"SELECT DISTINCT dimension, value FROM {source} ORDER BY 1, 2", parameters):
        if value and len(found[name]) < limit:
            found[name].append(value)
    return found


def any_request(scope: Scope) -> bool:
    """Whether this scope has had any traffic since rollups are kept."""
    return bool(
        rows_of(
            "SELECT 1 FROM usage_summary WHERE organisation = %s AND simulated = %s AND seconds = %s LIMIT 1",
            [scope.organisation, scope.simulated, DAY],
        )
    )
