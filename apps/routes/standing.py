"""What a route costs and whether it performs as it should, how long its users waited, for the panel of its page that asks for
itself: three queries."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from apps.budgets.performance_selectors import PerformanceLine, performance_budgets_of
from apps.ui.status import Status, worst
from apps.usage.feedback_selectors import Waits, waits_of_route
from apps.usage.to_date import ToDate, to_date

if TYPE_CHECKING:
    from apps.accounts.scope import Choice
    from apps.routes.models import Route

WAIT = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class RouteStanding:
    """spend: of the day and the month so far. lines: its performance budgets as the last look found them. waits: of the users, as apps
    told them lately (``WAIT``); None: none did."""

    spend: ToDate
    lines: tuple[PerformanceLine, ...]
    waits: Waits | None

    @property
    def verdict(self) -> Status | None:
        """The worst of the budgets' verdicts; None: there is no budget, so there is none."""
        return worst([line.status for line in self.lines]) if self.lines else None


def route_standing(choice: Choice, route: Route, *, now: datetime | None = None) -> RouteStanding:
    """Of one route, in the chosen scope."""
    now = now or datetime.now(UTC)
    rows = performance_budgets_of(choice.organisation).filter(scope="route", scope_id=str(route.pk))
    lines = tuple(PerformanceLine(row, route.name, now) for row in rows)
    waits = waits_of_route(choice.scope, route.name, now - WAIT, now)
    return RouteStanding(to_date(choice.scope, "route", route.name, now=now), lines, waits)
