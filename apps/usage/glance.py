"""What a glance needs, in one query: the last minute, today's spend, and the last minutes beside the hour before, by route and provider.

All of it comes from the summaries, so it costs the same however many requests there were.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

from apps.accounts.scope import Scope
from apps.usage.covering import DAY, MINUTE, floor
from apps.usage.measures import COUNTS, HISTOGRAMS, SUMS, Latency, Totals, latency_of
from apps.usage.selectors import Dimension, rows_of

LIVE_SECONDS = 60
LATEST_MINUTES = 2
RECENT_MINUTES = 5
PAST_MINUTES = 60
WATCHED: tuple[Dimension, ...] = ("route", "provider")
MOST_VALUES = 100
"""Of each dimension, the busiest are looked at."""


@dataclass(frozen=True, slots=True)
class Watched:
    """One route or provider (``value`` empty with ``dimension`` empty: everything): the last minutes beside the hour before.

    ``latest``: of the minute that runs and the one before. ``fine_until``: the end of the last minute of the past hour in which few
    enough requests and attempts failed; None without one. ``first``: the first minute of the past hour that had any request.
    """

    dimension: str
    value: str
    latest: Totals = field(default_factory=Totals)
    recent: Totals = field(default_factory=Totals)
    past: Totals = field(default_factory=Totals)
    recent_time: Latency = field(default_factory=Latency)
    past_time: Latency = field(default_factory=Latency)
    fine_until: datetime | None = None
    first: datetime | None = None

    @property
    def failing_since(self) -> datetime | None:
        """When what fails now began, to the minute; the first minute known where the whole hour failed."""
        return self.fine_until or self.first


@dataclass(frozen=True, slots=True)
class Glance:
    """``live``: the last minute. ``spent_today``: nano-dollars since midnight UTC. ``minutes``: how long ``recent`` is."""

    live: Totals
    spent_today: int
    whole: Watched
    by: list[Watched]
    minutes: int = RECENT_MINUTES


_COUNTED = ", ".join(COUNTS)
_PLAIN = f"dimension, value, bucket, {_COUNTED}"
_PLACE = "organisation = %s AND simulated = %s AND seconds = %s"
_FINE = "max(bucket) FILTER (WHERE requests > 0 AND (error + unknown) * 20 < requests AND attempt_errors * 5 < attempts)"


def glance(scope: Scope, *, now: datetime | None = None) -> Glance:
    """One query over the summaries of the past hour; the latest seconds are left out of the last minute's rate, because they still fill."""
    now = now or datetime.now(UTC)
    live_end, today = floor(now - timedelta(seconds=2), 10), floor(now, DAY)
    recent = floor(now, MINUTE) - timedelta(minutes=RECENT_MINUTES)
    past_end = floor(recent, 600)
    after = now + timedelta(minutes=5)  # proxies whose clocks are ahead
    dimensions = ["", *WATCHED]
    parts = (
        # (kind, columns, seconds, dimensions, from, to)
        ("live", 10, [""], live_end - timedelta(seconds=LIVE_SECONDS), live_end),
        ("today", DAY, [""], today, today + timedelta(days=1)),
        ("recent", MINUTE, dimensions, recent, after),
        ("latest", MINUTE, dimensions, floor(now, MINUTE) - timedelta(minutes=LATEST_MINUTES - 1), after),
        ("past", 600, dimensions, past_end - timedelta(minutes=PAST_MINUTES), past_end),
        ("course", MINUTE, dimensions, recent - timedelta(minutes=PAST_MINUTES), after),
    )
    texts, parameters = [], []
    for kind, seconds, wanted, start, end in parts:
        histograms = "h_total, h_first_token" if kind in ("recent", "past") else "'{}'::jsonb AS h_total, '{}'::jsonb AS h_first_token"
        for dimension in wanted:
            texts.append(
                f"SELECT '{kind}' AS kind, {_PLAIN}, {histograms} FROM usage_summary "
                f"WHERE {_PLACE} AND dimension = %s AND bucket >= %s AND bucket < %s"
            )
            parameters += [scope.organisation, scope.simulated, seconds, dimension, start, end]
    rows = rows_of(
        f"SELECT kind, dimension, value, {_FINE}, min(bucket), {SUMS}, {HISTOGRAMS} FROM ({' UNION ALL '.join(texts)}) AS looked "
        "GROUP BY kind, dimension, value",
        parameters,
    )
    return _gathered(rows)


def _gathered(rows: list[tuple[object, ...]]) -> Glance:
    totals: dict[tuple[str, str, str], Totals] = {}
    times: dict[tuple[str, str, str], Latency] = {}
    courses: dict[tuple[str, str], tuple[datetime | None, datetime | None]] = {}
    for kind, dimension, value, fine, first, *rest in rows:
        *sums, h_total, _ = rest
        key = (str(kind), str(dimension), str(value))
        totals[key] = Totals(*(int(number or 0) for number in sums))  # type: ignore[call-overload]
        if kind in ("recent", "past"):
            times[key] = latency_of(h_total)  # type: ignore[arg-type]
        elif kind == "course":
            courses[key[1], key[2]] = (fine + timedelta(minutes=1) if isinstance(fine, datetime) else None, first)  # type: ignore[assignment]

    def watched(dimension: str, value: str) -> Watched:
        fine, first = courses.get((dimension, value), (None, None))
        recent, past = ("recent", dimension, value), ("past", dimension, value)
        return Watched(
            dimension,
            value,
            latest=totals.get(("latest", dimension, value), Totals()),
            recent=totals.get(recent, Totals()),
            past=totals.get(past, Totals()),
            recent_time=times.get(recent, Latency()),
            past_time=times.get(past, Latency()),
            fine_until=fine,
            first=first,
        )

    found = [watched(dimension, value) for kind, dimension, value in totals if kind == "recent" and dimension and value]
    found.sort(key=lambda one: (one.dimension, -one.recent.requests, one.value))
    kept = [one for name in WATCHED for one in [each for each in found if each.dimension == name][:MOST_VALUES]]
    live, today = totals.get(("live", "", ""), Totals()), totals.get(("today", "", ""), Totals())
    return Glance(live, today.cost_nano, watched("", ""), kept)
