"""One route's traffic by target: where its requests went, how often it failed there, how long it took.

Read from the rollups, which know routes and targets together: those of ten seconds for short ranges, those of an hour beyond. A
target's attempts and cost are counted where they were made, its requests where they were answered (``apps.usage.models.Rollup``).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from apps.accounts.scope import Scope
from apps.contracts.histogram import merge
from apps.usage.covering import HOUR, floor
from apps.usage.measures import HISTOGRAMS, SUMS, Latency, Point, Totals, histogram_of, quantiles_of
from apps.usage.selectors import rows_of

SHORT = timedelta(hours=6, minutes=1)
"""Up to this length a range is read in tens of seconds."""
STEPS = ((1_200, 10), (3 * HOUR, 60), (7 * HOUR, 120))
"""Up to so many seconds of a short range: seconds of a step."""

Step = tuple[tuple[int, ...], str | None, str | None]
"""Of one step: its counts in the order of ``Totals``, and two histograms."""


@dataclass(frozen=True, slots=True)
class TargetTraffic:
    """What one target of a route did in a range. ``points``: without holes, each as long as the step."""

    provider: str
    endpoint: str
    model: str
    totals: Totals
    total: Latency
    first_token: Latency
    points: list[Point] = field(default_factory=list)

    @property
    def label(self) -> str:
        """What a legend calls it."""
        return f"{self.provider}/{self.model}"


def traffic_by_target(scope: Scope, route: str, start: datetime, end: datetime, *, now: datetime | None = None) -> list[TargetTraffic]:
    """The targets that a route's requests called, the busiest first: one query.

    The range begins at a whole step before ``start``. Requests that called nobody (refused) are under an empty provider.
    """
    [found] = traffic_by_target_in(scope, route, [(start, end)], now=now)
    return found


def traffic_by_target_in(
    scope: Scope, route: str, ranges: Sequence[tuple[datetime, datetime]], *, now: datetime | None = None
) -> list[list[TargetTraffic]]:
    """The same of several ranges, in their order: one query for all."""
    now = now or datetime.now(UTC)
    steps = [_steps(start, end, now) for start, end in ranges]
    parts, parameters = [], []
    for number, (table, step, first, until) in enumerate(steps):
        parts.append(
            f"SELECT {number}, provider, endpoint, model, date_bin('{step} seconds', bucket, 'epoch'::timestamptz), {SUMS}, {HISTOGRAMS} "
            f"FROM {table} WHERE organisation = %s AND simulated = %s AND bucket >= %s AND bucket < %s AND route = %s GROUP BY 2, 3, 4, 5"
        )
        parameters += [scope.organisation, scope.simulated, first, until, route]
    found: list[dict[tuple[str, str, str], dict[datetime, Step]]] = [{} for _ in ranges]
    for number, provider, endpoint, model, at, *sums, total, first_token in rows_of(" UNION ALL ".join(parts), parameters):
        found[number].setdefault((provider, endpoint, model), {})[at] = (tuple(sums), total, first_token)
    listed = []
    for (_, step, first, until), rows in zip(steps, found, strict=True):
        targets = [_target(*key, points, first, until, step) for key, points in rows.items()]
        listed.append(sorted(targets, key=lambda target: (-target.totals.requests, -target.totals.attempts, target.label)))
    return listed


def _steps(start: datetime, end: datetime, now: datetime) -> tuple[str, int, datetime, datetime]:
    """Of a range: the rollup it is read from, seconds of a step, where the first begins and where it ends at most."""
    short = end - start <= SHORT and start > now - timedelta(hours=47)
    length = (end - start).total_seconds()
    step = next((step for most, step in STEPS if length <= most), 120) if short else HOUR if length <= 15 * 24 * HOUR else 6 * HOUR
    return "usage_rollup_10s" if short else "usage_rollup_1h", step, floor(start, step), min(end, now)


def _target(
    provider: str,
    endpoint: str,
    model: str,
    steps: dict[datetime, Step],
    first: datetime,
    until: datetime,
    step: int,
) -> TargetTraffic:
    whole = Totals(*map(sum, zip(*(counts for counts, _, _ in steps.values()), strict=True)))
    total: dict[int, int] = {}
    first_token: dict[int, int] = {}
    latencies = {}
    for at, (_, *texts) in steps.items():
        measured = [histogram_of(text) for text in texts]
        latencies[at] = [quantiles_of(histogram) for histogram in measured]
        for sums, histogram in zip((total, first_token), measured, strict=True):
            merge(sums, histogram)
    points, at, nothing = [], first, (Totals(), Latency(), Latency())
    while at < until:
        seconds = min(step, (until - at).total_seconds())
        # a step that has only begun says nothing yet
        if seconds == step or seconds >= step / 4:
            points.append(Point(at, seconds, *((Totals(*steps[at][0]), *latencies[at]) if at in steps else nothing)))
        at += timedelta(seconds=step)
    return TargetTraffic(
        provider=provider,
        endpoint=endpoint,
        model=model,
        totals=whole,
        total=quantiles_of(total),
        first_token=quantiles_of(first_token),
        points=points,
    )
