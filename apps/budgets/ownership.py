"""Budgets as things that teams own: whoever does may set them. A budget of a team's spend is not the team's own until it is given."""

from __future__ import annotations

from uuid import UUID

from django.db.models import QuerySet

from apps.accounts.models import Organisation
from apps.budgets.models import Budget
from apps.ownership.owned import Owned, held_by, holding_assign, owner_of


def _rows(organisation: Organisation) -> QuerySet[Budget]:
    rows = Budget.objects.filter(organisation=organisation, deleted_at=None).select_related("organisation")
    return rows.annotate(held_by=held_by("budget"))


def budget_owner(budget: Budget) -> UUID | None:
    """The team that a budget was given to, whose managers may set it."""
    return owner_of(kind="budget", object_id=budget.pk)


BUDGETS = Owned("budget", "Budgets", "spend", "budgets:detail", _rows, holding_assign)
