"""What was spent, by day and everything that it can be told apart by: read day by day, so that an export of a year holds one in memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Protocol

from apps.accounts.models import Organisation
from apps.accounts.scope import Scope
from apps.usage.focus import Charge
from apps.usage.names import names_of
from apps.usage.selectors import rows_of


@dataclass(frozen=True, slots=True)
class Correction:
    """The difference that re-pricings in force make to some of a day's requests. words: which prices took the place of which."""

    team: str
    service: str
    feature: str
    key_id: str
    provider: str
    model: str
    route: str
    cost_nano: int
    words: str


class Corrections(Protocol):
    """Who knows re-pricings, which stand above usage (``apps.prices.selectors``)."""

    def of_day(self, scope: Scope, day: date) -> Sequence[Correction]:
        """Of one day (UTC), in order: one query."""

    def total(self, scope: Scope, first: date, last: date) -> int:
        """Nano-dollars of whole days, both ends included: one query."""


_corrections: Corrections | None = None


def register_corrections(read: Corrections) -> None:
    """Names who knows re-pricings; without one nothing is corrected."""
    global _corrections
    _corrections = read


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
    """Of whole days (UTC), both ends included, in order, each day's corrections after it. Two queries a day, and three for names."""
    names = names_of(str(organisation.pk))
    scope = Scope(str(organisation.pk), simulated)
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
        for each in _corrections.of_day(scope, day) if _corrections is not None else ():
            yield Charge(
                day=day,
                account_id=str(organisation.pk),
                account=account,
                team=each.team,
                team_name=names.team(each.team),
                service=each.service,
                service_name=names.service(each.team, each.service),
                feature=each.feature,
                environment="",
                key_id=each.key_id,
                key=names.key(each.key_id),
                provider=each.provider,
                model=each.model,
                route=each.route,
                requests=0,
                attempts=0,
                tokens_input=0,
                tokens_output=0,
                tokens_cache_read=0,
                tokens_cache_write=0,
                tokens_reasoning=0,
                cost_nano=each.cost_nano,
                correction=each.words,
            )
        day += timedelta(days=1)


def charges_total(scope: Scope, *, first: date, last: date) -> tuple[int, int, int]:
    """(nano-dollars booked, nano-dollars that corrections add, days that have anything) of the same days: what an export adds up to."""
    start, end = datetime(first.year, first.month, first.day, tzinfo=UTC), datetime(last.year, last.month, last.day, tzinfo=UTC)
    [(cost, days)] = rows_of(_TOTAL, [scope.organisation, scope.simulated, start, end + timedelta(days=1)])
    return int(cost), _corrections.total(scope, first, last) if _corrections is not None else 0, int(days)
