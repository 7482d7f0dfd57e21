"""What budgets have spent today of a day's money, as they themselves tell it: one query, and the rules of their own alerts (ADR 0045).

The ways that a budget names are told with everybody else (``apps.alerts.budget_days``).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from apps.alerts.budget_days import ALSO_TOLD, ways_of_budget
from apps.alerts.channel_choices import KINDS
from apps.alerts.series import Sample
from apps.alerts.sources.look import Look, Samples
from apps.budgets.forecast import Standing, day_forecast, day_share
from apps.budgets.models import Budget
from apps.budgets.standings import WindowStanding, window_standings

if TYPE_CHECKING:
    from apps.alerts.models import AlertRule

FAR = timedelta(minutes=90)
"""Budgets know where they stand now and not where they stood: a minute that is longer ago cannot be judged by them."""


def read(look: Look, rules: Sequence[AlertRule]) -> Samples:
    """``look.Read``: two queries."""
    rows = Budget.objects.filter(organisation=look.organisation, deleted_at=None)
    budgets = {budget.pk: budget for budget in rows}
    standings = {found.budget: found for found in window_standings(list(budgets))} if budgets else {}
    samples = {budget.name: _sample(look, budget, standings.get(pk)) for pk, budget in budgets.items()}
    gone = Sample(None, missing="there is no budget of that name")
    return {rule.pk: {name: samples.get(name, gone) for name in (rule.values or samples)} for rule in rules}


def _sample(look: Look, budget: Budget, found: WindowStanding | None) -> Sample:
    """Where every user has the budget by themselves, of the one who spent most."""
    standing, user = (found.standing, found.subject) if found is not None else (None, "")
    if standing is None or abs(standing.now - look.at) > FAR:
        return Sample(None, missing="where the budget stood then is not known")
    spent, whole = today(standing)
    if spent is None or whole <= 0:
        return Sample(None, missing="too early in the day to say")
    evidence: dict[str, Any] = {
        "spent_nano": spent,
        "day_nano": whole,
        "limit_nano": standing.limit,
        "budget_id": str(budget.pk),
        "window": {"of": budget.window, "starts_at": standing.starts_at.isoformat(), "ends_at": standing.ends_at.isoformat()},
    }
    if ways := ways_of_budget(budget):
        evidence[ALSO_TOLD] = [KINDS[kind].label for kind in ways]
    if user:
        evidence["user"] = user
    return Sample(100 * spent / whole, 1, evidence=evidence)


def today(standing: Standing) -> tuple[int | None, int]:
    """(spent today, or forecast for it where the budget is a wall; what a day may spend), as budgets' own alerts reckon."""
    if standing.daily:
        return (day_forecast(standing) if standing.hard else standing.spent), standing.limit
    return max(0, standing.spent - standing.day_spent), day_share(standing)
