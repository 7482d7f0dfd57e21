"""One route's traffic by target: where its requests went, how often it failed there, how long it took.

Read from the rollups, which know routes and targets together: those of ten seconds for short ranges, those of an hour beyond. A
target's attempts and cost are counted where they were made, its requests where they were answered (``apps.usage.models.Rollup``).
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from apps.accounts.scope import Scope
from apps.usage.covering import HOUR, floor
from apps.usage.measures import COUNTS, HISTOGRAMS, SUMS, Latency, Point, Totals, latency_of
from apps.usage.selectors import rows_of

SHORT = timedelta(hours=6, minutes=1)
"""Up to this length a range is read in tens of seconds."""
STEPS = ((1_200, 10), (3 * HOUR, 60), (7 * HOUR, 120))
"""Up to so many seconds of a short range: seconds of a step."""


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
    now = now or datetime.now(UTC)
    short = end - start <= SHORT and start > now - timedelta(hours=47)
    table = "usage_rollup_10s" if short else "usage_rollup_1h"
    length = (end - start).total_seconds()
    step = next((step for most, step in STEPS if length <= most), 120) if short else HOUR if length <= 15 * 24 * HOUR else 6 * HOUR
    first, until = floor(start, step), min(end, now)
    place = f"date_bin('{step} seconds', bucket, 'epoch'::timestamptz)"
    found: dict[tuple[str, str, str], dict[datetime, tuple[Totals, str | None, str | None]]] = {}
    for provider, endpoint, model, at, *sums, total, first_token in rows_of(
        f"SELECT provider, endpoint, model, {place}, {SUMS}, {HISTOGRAMS} FROM {table} "
        "WHERE organisation = %s AND simulated = %s AND bucket >= %s AND bucket < %s AND route = %s GROUP BY 1, 2, 3, 4",
        [scope.organisation, scope.simulated, first, until, route],
    ):
        found.setdefault((provider, endpoint, model), {})[at] = (Totals(*sums), total, first_token)
    targets = [_target(*key, steps, first, until, step) for key, steps in found.items()]
    return sorted(targets, key=lambda target: (-target.totals.requests, -target.totals.attempts, target.label))


def _target(
    provider: str,
    endpoint: str,
    model: str,
    steps: dict[datetime, tuple[Totals, str | None, str | None]],
    first: datetime,
    until: datetime,
    step: int,
) -> TargetTraffic:
    counts = [totals for totals, _, _ in steps.values()]
    whole = Totals(*(sum(getattr(totals, name) for totals in counts) for name in COUNTS))
    points, at = [], first
    while at < until:
        seconds = min(step, (until - at).total_seconds())
        # a step that has only begun says nothing yet
        if seconds == step or seconds >= step / 4:
            totals, total, first_token = steps.get(at, (Totals(), None, None))
            points.append(Point(at, seconds, totals, latency_of(total), latency_of(first_token)))
        at += timedelta(seconds=step)
    return TargetTraffic(
        provider=provider,
        endpoint=endpoint,
        model=model,
        totals=whole,
        total=latency_of(",".join(total for _, total, _ in steps.values() if total)),
        first_token=latency_of(",".join(text for _, _, text in steps.values() if text)),
        points=points,
    )
