"""A day's cost beside the same weekday of the weeks before: what changed most, and whose it is. Amounts are nano-dollars, days UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from apps.accounts.scope import Scope
from apps.ui.delta import Delta, delta
from apps.usage.names import Names, names_of
from apps.usage.selectors import rows_of

WEEKS = 4
"""Same weekdays that a day is compared with; those without any usage, as before the first request, are left out."""
MOST_ROWS = 8
MOST_MOVERS = 10
DIMENSIONS = {
    "team": "Team",
    "service": "Service",
    "feature": "Feature",
    "key_id": "Key",
    "model": "Model",
    "provider": "Provider",
}
NOBODY = {"team": "(no team)", "service": "(no service)", "feature": "(untagged)", "key_id": "(no key)", "model": "–", "provider": "–"}


@dataclass(frozen=True, slots=True)
class Change:
    """One value of a dimension, or one combination of them. usual: the mean of the weekdays before."""

    name: str
    cost: int
    usual: int
    requests: int
    who: str = ""
    key_id: str = ""
    key: str = ""

    @property
    def change(self) -> int:
        return self.cost - self.usual

    @property
    def delta(self) -> Delta | None:
        """In percent; more spent is not welcome."""
        return delta(self.cost, self.usual, better="less")


@dataclass(frozen=True, slots=True)
class DayReview:
    """``weekdays``: (day, cost) of those compared with, the latest first. ``movers``: what changed most, each with whose it is."""

    day: date
    whole: Change
    weekdays: list[tuple[date, int]]
    by: list[tuple[str, list[Change]]]
    movers: list[Change]


def _bounds(day: date) -> tuple[datetime, datetime]:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return start, start + timedelta(days=1)


def day_review(scope: Scope, day: date) -> DayReview:
    """Three queries over the hours of at most five days, and three for names."""
    days = [day - timedelta(weeks=week) for week in range(WEEKS + 1)]
    ranges = " OR ".join(["(bucket >= %s AND bucket < %s)"] * len(days))
    place = [scope.organisation, scope.simulated, *(bound for each in days for bound in _bounds(each))]
    where = f"organisation = %s AND simulated = %s AND ({ranges})"
    totals = {
        found: (cost, requests)
        for found, cost, requests in rows_of(
            "SELECT (bucket AT TIME ZONE 'UTC')::date, sum(cost_nano)::bigint, sum(requests)::bigint FROM usage_rollup_1h "
            f"WHERE {where} GROUP BY 1",
            place,
        )
    }
    past = [(each, totals[each][0]) for each in days[1:] if each in totals]
    count = max(1, len(past))
    start = _bounds(day)[0]
    columns = ", ".join(DIMENSIONS)
    sums = (
        "coalesce(sum(cost_nano) FILTER (WHERE bucket >= %s), 0)::bigint AS cost, "
        "coalesce(sum(cost_nano) FILTER (WHERE bucket < %s), 0)::bigint AS before, "
        "coalesce(sum(requests) FILTER (WHERE bucket >= %s), 0)::bigint AS requests"
    )
    sets = ", ".join(f"({name})" for name in DIMENSIONS)
    summed = f"SELECT GROUPING({columns}) AS which, {columns}, {sums} FROM usage_rollup_1h WHERE {where} GROUP BY GROUPING SETS ({sets})"
    each_value = (
        f"SELECT which, {columns}, cost, before, requests FROM (SELECT *, row_number() OVER (PARTITION BY which "
        f"ORDER BY abs(cost * %s - before) DESC, cost DESC, {columns}) AS place FROM ({summed}) AS summed "
        "WHERE cost <> 0 OR before <> 0) AS ranked WHERE place <= %s ORDER BY which, place"
    )
    combined = (
        f"SELECT {columns}, cost, before, requests FROM (SELECT {columns}, {sums} FROM usage_rollup_1h WHERE {where} GROUP BY {columns}) "
        f"AS summed WHERE cost * %s <> before ORDER BY abs(cost * %s - before) DESC, {columns} LIMIT %s"
    )
    names = names_of(scope.organisation)
    by: dict[str, list[Change]] = {name: [] for name in DIMENSIONS}
    for which, *values, cost, before, requests in rows_of(each_value, [count, start, start, start, *place, MOST_ROWS]):
        at = next(index for index in range(len(DIMENSIONS)) if not which & (1 << (len(DIMENSIONS) - 1 - index)))
        dimension = list(DIMENSIONS)[at]
        value = values[at]
        shown = names.key(value) if dimension == "key_id" else names.team(value) if dimension == "team" else value
        by[dimension].append(
            Change(shown or NOBODY[dimension], cost, before // count, requests, key_id=value if dimension == "key_id" else "")
        )
    movers = [
        _mover(names, values, cost, before // count, requests)
        for *values, cost, before, requests in rows_of(combined, [start, start, start, *place, count, count, MOST_MOVERS])
    ]
    cost, requests = totals.get(day, (0, 0))
    whole = Change("", cost, sum(each for _, each in past) // count if past else 0, requests)
    return DayReview(day, whole, past, [(label, by[name]) for name, label in DIMENSIONS.items()], movers)


def _mover(names: Names, values: list[str], cost: int, usual: int, requests: int) -> Change:
    team, service, feature, key_id, model, provider = values
    owner = [names.team(team), names.service(team, service), feature]
    what = f"{model} at {provider}" if provider else model or "no provider"
    return Change(what, cost, usual, requests, " · ".join(part for part in owner if part) or "nobody named", key_id, names.key(key_id))
