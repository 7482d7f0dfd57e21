"""A day's cost beside the same weekday of the weeks before: what changed most, and whose it is. Amounts are nano-dollars, days UTC."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, timedelta

from apps.accounts.scope import Scope
from apps.ui.delta import Delta, delta
from apps.usage.choices import COMBINED
from apps.usage.covering import DAY
from apps.usage.names import Names, names_of
from apps.usage.selectors import rows_of
from apps.usage.spend import midnight

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


_TOTALS = (
    f"SELECT bucket, cost_nano, requests FROM usage_spend WHERE organisation = %s AND simulated = %s AND seconds = {DAY} "
    "AND dimension = '' AND bucket = ANY (%s)"
)
_CHANGES = f"""
    SELECT dimension, value, cost::bigint, before::bigint, requests::bigint FROM (
        SELECT *, row_number() OVER (PARTITION BY dimension ORDER BY abs(cost * %(count)s - before) DESC, cost DESC, value) AS place
        FROM (
            SELECT dimension, value, coalesce(sum(cost_nano) FILTER (WHERE bucket = %(day)s), 0) AS cost,
                   coalesce(sum(cost_nano) FILTER (WHERE bucket < %(day)s), 0) AS before,
                   coalesce(sum(requests) FILTER (WHERE bucket = %(day)s), 0) AS requests
            FROM usage_spend WHERE organisation = %(organisation)s AND simulated = %(simulated)s AND seconds = {DAY}
              AND dimension = ANY (%(dimensions)s) AND bucket = ANY (%(days)s)
            GROUP BY dimension, value
        ) AS summed
        WHERE (cost <> 0 OR before <> 0) AND (dimension <> '{COMBINED}' OR cost * %(count)s <> before)
    ) AS ranked
    WHERE place <= CASE dimension WHEN '{COMBINED}' THEN {MOST_MOVERS} ELSE {MOST_ROWS} END ORDER BY dimension, place
"""


def day_review(scope: Scope, day: date) -> DayReview:
    """Two queries over the days that spend is counted by (``apps.usage.counting``), and three for names."""
    days = [day - timedelta(weeks=week) for week in range(WEEKS + 1)]
    buckets = [midnight(each) for each in days]
    totals = {
        bucket.astimezone(UTC).date(): (cost, requests)
        for bucket, cost, requests in rows_of(_TOTALS, [scope.organisation, scope.simulated, buckets])
    }
    past = [(each, totals[each][0]) for each in days[1:] if each in totals]
    count = max(1, len(past))
    names = names_of(scope.organisation)
    by: dict[str, list[Change]] = {name: [] for name in DIMENSIONS}
    movers: list[Change] = []
    asked = {
        "organisation": scope.organisation, "simulated": scope.simulated, "dimensions": [COMBINED, *DIMENSIONS], "days": buckets,
        "day": midnight(day), "count": count,
    }  # fmt: skip
    for dimension, value, cost, before, requests in rows_of(_CHANGES, asked):
        if dimension == COMBINED:
            movers.append(_mover(names, json.loads(value), cost, before // count, requests))
            continue
        shown = names.key(value) if dimension == "key_id" else names.team(value) if dimension == "team" else value
        by[dimension].append(
            Change(shown or NOBODY[dimension], cost, before // count, requests, key_id=value if dimension == "key_id" else "")
        )
    cost, requests = totals.get(day, (0, 0))
    whole = Change("", cost, sum(each for _, each in past) // count if past else 0, requests)
    return DayReview(day, whole, past, [(label, by[name]) for name, label in DIMENSIONS.items()], movers)


def _mover(names: Names, values: list[str], cost: int, usual: int, requests: int) -> Change:
    """values: of ``COMBINED_OF``."""
    team, service, feature, key_id, model, provider = values
    owner = [names.team(team), names.service(team, service), feature]
    what = f"{model} at {provider}" if provider else model or "no provider"
    return Change(what, cost, usual, requests, " · ".join(part for part in owner if part) or "nobody named", key_id, names.key(key_id))
