"""Budgets as pages show them: where each stands, how it will end, and who is told."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import timedelta

from apps.accounts.models import Organisation
from apps.budgets import choices, rules
from apps.budgets.forecast import Standing, runway_minutes, window_forecast
from apps.budgets.models import Budget
from apps.budgets.scoping import scope_names, scope_text
from apps.budgets.standings import WindowStanding, window_standings
from apps.contracts.snapshot import RELIEFS
from apps.ui.status import Status


@dataclass(frozen=True, slots=True)
class BudgetLine:
    """One budget in its running window. Shares are of the bar, 0..100; amounts nano-dollars.

    runway: minutes; None: the window ends first."""

    budget: Budget
    subject: str
    user: str
    standing: Standing
    leased: int
    forecast: int | None
    runway: int | None

    @property
    def name(self) -> str:
        return self.budget.name

    @property
    def limit(self) -> int:
        return self.standing.limit

    @property
    def spent(self) -> int:
        return self.standing.spent

    @property
    def percent(self) -> float:
        return 100 * self.spent / self.limit if self.limit else 0.0

    @property
    def percent_text(self) -> str:
        return f"{self.percent:.0f}"

    @property
    def whole(self) -> int:
        """What the bar's width is: the limit, or more where more is spent."""
        return max(self.limit, self.spent, 1)

    @property
    def spent_share(self) -> float:
        return 100 * self.spent / self.whole

    @property
    def leased_share(self) -> float:
        return min(100 - self.spent_share, 100 * self.leased / self.whole)

    @property
    def forecast_share(self) -> float | None:
        """Where the forecast's mark is; None where there is none yet."""
        return None if self.forecast is None else min(99.0, 100 * self.forecast / self.whole)

    @property
    def status(self) -> Status:
        hard = self.budget.kind == "hard"
        return choices.BUDGET_STATES[rules.state_of(limit=self.limit, spent=self.spent, leased=self.leased, overrun=0, hard=hard)]

    @property
    def runway_text(self) -> str:
        """``95 minutes``; empty where the money outlasts the window."""
        if self.runway is None:
            return ""
        return f"{self.runway} minute{'' if self.runway == 1 else 's'}"

    @property
    def acting(self) -> str:
        """What its thresholds do now, in words: the severest that is reached by what is spent; empty where none is."""
        reached = [action.do for action in rules.actions_of(self.budget.actions) if self.spent * 100 >= action.at_percent * self.limit]
        return choices.RELIEF_WORDS[max(reached, key=RELIEFS.index)] if reached else ""

    @property
    def told(self) -> list[str]:
        """Who is told, without what must not be shown."""
        budget = self.budget
        ways = [budget.owner_email] if budget.owner_email else []
        return ways + [way for way, sealed in (("webhook", budget.webhook), ("Slack", budget.slack_webhook)) if sealed]


def budget_lines(organisation: Organisation, budgets: Iterable[Budget]) -> list[BudgetLine]:
    """One line per budget, in their order; of users' own windows the fullest. Two queries, and one per kind of object they are for."""
    rows = list(budgets)
    names = scope_names(organisation, rows)
    found = {each.budget: each for each in window_standings([row.pk for row in rows])} if rows else {}
    return [_line(row, names[row.pk], found[row.pk]) for row in rows if row.pk in found]


def _line(row: Budget, name: str, found: WindowStanding) -> BudgetLine:
    standing = found.standing
    text = scope_text(row.scope, name)
    return BudgetLine(row, text, found.subject, standing, found.leased, window_forecast(standing), runway_minutes(standing))


LAPSE = timedelta(days=400)
"""How far back a budget's page goes."""
MOST_WINDOWS = 60
