"""What flags' pages show of budgets, which know no flags: where they stand, and which act or have more for a while."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.urls import reverse

from apps.accounts.models import Organisation
from apps.accounts.scope import Choice
from apps.budgets.models import BudgetOverride
from apps.budgets.rules import actions_of
from apps.budgets.selectors import budget_statuses, budgets_of
from apps.flags.neighbours import BudgetStanding, Override
from apps.ui.format import dollars

RELIEF_WORDS = {
    "cheaper": "uses the cheapest targets first",
    "limited": "is limited",
    "cached": "is answered from the cache",
    "minimal": "is minimal",
}


def budgets_standing(organisation: Organisation) -> Sequence[BudgetStanding]:
    """The organisation's and its routes' budgets in their running windows: two queries, one without any."""
    rows = list(budgets_of(organisation).filter(scope__in=("organisation", "route")))
    return [
        BudgetStanding(one.budget.name, one.budget.scope, one.budget.scope_id, one.remaining, one.ends_at) for one in budget_statuses(rows)
    ]


def budget_overrides(choice: Choice, now: datetime) -> list[Override]:
    """Thresholds that act and overrides in force: three queries, fewer where no budget has any."""
    acting = list(budgets_of(choice.organisation).exclude(actions=""))
    found = []
    for one in budget_statuses(acting):
        used = one.spent + one.leased + one.overrun
        reached = [action for action in actions_of(one.budget.actions) if used * 100 >= action.at_percent * one.limit]
        if reached:
            what = f"What budget {one.budget.name} pays for {RELIEF_WORDS[reached[-1].do]}"
            url, detail = reverse("budgets:detail", args=[one.budget.pk]), f"from {reached[-1].at_percent}% of its limit on"
            found.append(Override("budget", one.budget.name, what, url, until=one.ends_at, detail=detail))
    overrides = BudgetOverride.objects.filter(
        budget__organisation=choice.organisation, ended_at=None, starts_at__lte=now, expires_at__gt=now, budget__deleted_at=None
    )
    for row in overrides.select_related("budget"):
        what, url = f"Gives budget {row.budget.name} {dollars(row.amount_nano)} more", reverse("budgets:detail", args=[row.budget_id])
        found.append(Override("budget", row.budget.name, what, url, row.starts_at, row.expires_at, row.approver, row.reason, tone="info"))
    return found
