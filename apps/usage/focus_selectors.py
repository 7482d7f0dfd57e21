"""What was spent, by day and everything that it can be told apart by: read day by day, so that an export of a year holds one in memory."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta

from apps.accounts.models import Organisation
from apps.accounts.scope import Scope
from apps.usage.focus import Charge
from apps.usage.names import names_of
from apps.usage.selectors import rows_of

_DAY = (
    "SELECT team, service, feature, environment, key_id, provider, model, route, sum(requests)::bigint, sum(attempts)::bigint, "
    "sum(tokens_input)::bigint, sum(tokens_output)::bigint, sum(tokens_cache_read)::bigint, sum(tokens_cache_write)::bigint, "
    "sum(tokens_reasoning)::bigint, sum(cost_nano)::bigint FROM usage_rollup_1h "
    "WHERE organisation = %s AND simulated = %s AND bucket >= %s AND bucket < %s GROUP BY 1, 2, 3, 4, 5, 6, 7, 8 "
    "HAVING sum(attempts) > 0 OR sum(cost_nano) <> 0 OR sum(tokens_input + tokens_output) <> 0 ORDER BY 1, 2, 3, 4, 5, 6, 7, 8"
)
_TOTAL = (
    "SELECT coalesce(sum(cost_nano), 0)::bigint, count(DISTINCT (bucket AT TIME ZONE 'UTC')::date) FROM usage_rollup_1h "
    "WHERE organisation = %s AND simulated = %s AND bucket >= %s AND bucket < %s"
)


def charges(organisation: Organisation, *, simulated: bool, first: date, last: date) -> Iterator[Charge]:
    """Of whole days (UTC), both ends included, in order. A query a day, and three for names."""
    names = names_of(str(organisation.pk))
    account = f"{organisation.name} (simulated)" if simulated else organisation.name
    day = first
    while day <= last:
        start = datetime(day.year, day.month, day.day, tzinfo=UTC)
        for row in rows_of(_DAY, [str(organisation.pk), simulated, start, start + timedelta(days=1)]):
            team, service, feature, environment, key_id, provider, model, route, *sums = row
            yield Charge(
                day,
                str(organisation.pk),
                account,
                team,
                names.team(team),
                service,
                names.service(team, service),
                feature,
                environment,
                key_id,
                names.key(key_id),
                provider,
                model,
                route,
                *sums,
            )
        day += timedelta(days=1)


def charges_total(scope: Scope, *, first: date, last: date) -> tuple[int, int]:
    """(nano-dollars, days that have anything) of the same days: what an export adds up to."""
    start, end = datetime(first.year, first.month, first.day, tzinfo=UTC), datetime(last.year, last.month, last.day, tzinfo=UTC)
    [(cost, days)] = rows_of(_TOTAL, [scope.organisation, scope.simulated, start, end + timedelta(days=1)])
    return int(cost), int(days)
