"""What an incident did: measured from the store for any window, the same for the live page, the postmortem and the API."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from apps.accounts.models import Organisation
from apps.accounts.scope import Scope
from apps.flags.models import Flag
from apps.postmortems.impact_rules import MINUTE, MinuteImpact
from apps.usage.covering import MINUTE as MINUTE_SECONDS
from apps.usage.covering import ceil, floor
from apps.usage.impacts import LONGEST, hit_of, minutes_of
from apps.usage.retention import retention
from apps.usage.selectors import traffic_of

MOST_ROUTES = 20
LESSENING = ("fallback", "degrade")
"""Kinds of flags that answer with less than usual."""


@dataclass(frozen=True, slots=True)
class RouteImpact:
    """One route's part. attempt_errors: attempts that failed, whatever came of the request."""

    route: str
    requests: int
    failed: int
    attempt_errors: int


@dataclass(frozen=True, slots=True)
class Impact:
    """What happened between two whole minutes, until exclusive. Money is nano-dollars.

    requests: that came in. failed: apps got an error, or no known end. degraded: answered, but a fallback or a degradation had a say.
    rescued: answered after an attempt had failed. refused: by limits, budgets or switches. users: of failed requests, as apps name them,
    else by key; users_touched: of failed, refused, degraded or rescued ones. tokens, lost_nano: of failed requests, paid for in vain.
    cost_nano: of everything in the window. routes: the worst first. complete: False where requests of the window are kept no more, so that
    users, degraded, rescued, tokens and lost_nano are too low.
    """

    since: datetime
    until: datetime
    requests: int = 0
    failed: int = 0
    degraded: int = 0
    rescued: int = 0
    refused: int = 0
    attempt_errors: int = 0
    users: int = 0
    users_touched: int = 0
    tokens: int = 0
    lost_nano: int = 0
    cost_nano: int = 0
    routes: tuple[RouteImpact, ...] = ()
    complete: bool = True

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            **asdict(self),
            "since": self.since.isoformat(),
            "until": self.until.isoformat(),
            "routes": [asdict(one) for one in self.routes],
        }

    @classmethod
    def of_document(cls, document: Mapping[str, Any]) -> Impact:
        """What ``document`` gave."""
        facts = dict(document)
        moments = {name: datetime.fromisoformat(facts.pop(name)) for name in ("since", "until")}
        return cls(routes=tuple(RouteImpact(**one) for one in facts.pop("routes", ())), **moments, **facts)

    @property
    def minutes(self) -> int:
        """How long it lasted."""
        return round((self.until - self.since) / MINUTE)

    @property
    def share(self) -> float:
        """Of the requests, those that failed, 0 to 1."""
        return self.failed / self.requests if self.requests else 0.0


def scope_of(organisation: Organisation, simulated: bool | None = None) -> Scope:
    """Whose traffic; of an organisation's own kind unless told."""
    return Scope(str(organisation.pk), organisation.simulated if simulated is None else simulated)


def impact_minutes(
    *,
    organisation: Organisation,
    routes: Sequence[str],
    since: datetime,
    until: datetime,
    simulated: bool | None = None,
    now: datetime | None = None,
) -> list[MinuteImpact]:
    """One row each minute, oldest first, without holes; minutes to come are left out. routes: empty: all of them. One query."""
    now = now or datetime.now(UTC)
    first, last = floor(since, MINUTE_SECONDS), min(ceil(until, MINUTE_SECONDS), ceil(now, MINUTE_SECONDS))
    if last <= first or last - first > LONGEST:
        return []
    found = minutes_of(scope_of(organisation, simulated), first, last, routes=routes, now=now)
    rows, at = [], first
    while at < last:
        one = found.get(at)
        rows.append(
            MinuteImpact(at)
            if one is None
            else MinuteImpact(at, one.requests, one.failed, one.attempt_errors, one.cost_nano, one.attempts, one.tokens, one.refused)
        )
        at += MINUTE
    return rows


def impact_of(
    *,
    organisation: Organisation,
    routes: Sequence[str],
    since: datetime,
    until: datetime,
    simulated: bool | None = None,
    progress: Callable[[int], None] | None = None,
    now: datetime | None = None,
) -> Impact:
    """Measure a window, widened to whole minutes. routes: empty: all of them.

    Counts and money come from the summaries, users, degraded and rescued requests from the requests themselves, counted in Postgres: for a
    task, not for a page. Raises ValueError for a window without length or of more than a month.
    """
    now = now or datetime.now(UTC)
    first, last = floor(since, MINUTE_SECONDS), ceil(until, MINUTE_SECONDS)
    if last <= first or last - first > LONGEST:
        raise ValueError("an impact is measured over at least a minute and at most 31 days")
    scope = scope_of(organisation, simulated)
    minutes = impact_minutes(organisation=organisation, routes=routes, since=first, until=last, simulated=simulated, now=now)
    lessening = list(Flag.objects.filter(organisation=organisation, kind__in=LESSENING).values_list("name", flat=True))
    hit = hit_of(scope, first, last, routes=routes, lessening=lessening, progress=progress)
    groups = traffic_of(scope, first, last, "route", list(routes) or None, latency=False, now=now)
    worst = sorted(groups, key=lambda group: (-group.totals.failed, -group.totals.attempt_errors, -group.totals.requests, group.value))
    return Impact(
        since=first,
        until=last,
        requests=sum(one.requests for one in minutes),
        failed=sum(one.failed for one in minutes),
        degraded=hit.degraded,
        rescued=hit.rescued,
        refused=sum(one.refused for one in minutes),
        attempt_errors=sum(one.attempt_errors for one in minutes),
        users=len(hit.users),
        users_touched=len(hit.touched),
        tokens=hit.tokens,
        lost_nano=hit.cost_nano,
        cost_nano=sum(one.cost_nano for one in minutes),
        routes=tuple(
            RouteImpact(group.value, group.totals.requests, group.totals.failed, group.totals.attempt_errors)
            for group in worst[:MOST_ROUTES]
        ),
        complete=first >= now - timedelta(days=retention().request_days),
    )
