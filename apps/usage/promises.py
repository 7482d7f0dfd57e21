"""What a team's or a service's SLA is measured by: its requests by calendar month (UTC), from the summaries and rollups: one query."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime

from apps.accounts.scope import Scope
from apps.ownership.attainment import MonthMeasured
from apps.usage.covering import DAY
from apps.usage.measures import latency_of
from apps.usage.selectors import rows_of
from apps.usage.spend import midnight

_OF_TEAM = f"usage_summary WHERE organisation = %s AND simulated = %s AND seconds = {DAY} AND dimension = 'team' AND value = %s"
_OF_SERVICE = "usage_rollup_1h WHERE organisation = %s AND simulated = %s AND team = %s AND service = %s"
"""No summary knows services: their hours are read, all of the organisation's in the range."""


def months_measured(
    scope: Scope, months: Sequence[date], *, team: str, service: str = "", now: datetime | None = None
) -> list[MonthMeasured]:
    """The requests of a team, or of one of its services, in each of some months in a row, in their order. months: first days. team,
    service: short names, as records have them. A month without requests has zeros."""
    if not months:
        return []
    today = (now or datetime.now(UTC)).astimezone(UTC).date()
    source, named = (_OF_SERVICE, [team, service]) if service else (_OF_TEAM, [team])
    rows = rows_of(
        "SELECT date_trunc('month', bucket AT TIME ZONE 'UTC')::date, sum(ok)::bigint, sum(error + unknown)::bigint, "
        "string_agg(h_first_token::text, ',') FILTER (WHERE h_first_token <> '{}'), "
        f"string_agg(h_total::text, ',') FILTER (WHERE h_total <> '{{}}') FROM {source} "
        "AND bucket >= %s AND bucket < %s GROUP BY 1",
        [scope.organisation, scope.simulated, *named, midnight(min(months)), midnight(_next(max(months)))],
    )
    found = {first: (ok, failed, latency_of(tokens).p95, latency_of(totals).p95) for first, ok, failed, tokens, totals in rows}
    return [MonthMeasured(first, *found.get(first, (0, 0, None, None)), over=_next(first) <= today) for first in months]


def _next(first: date) -> date:
    """The first day of the month after."""
    return date(first.year + first.month // 12, first.month % 12 + 1, 1)
