"""Reads of budgets: rows for forms and exports, and where each stands now for pages."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import QuerySet

from apps.budgets import choices, rules
from apps.budgets.models import Budget
from apps.ui.status import Status

if TYPE_CHECKING:
    from apps.accounts.models import Organisation


class BudgetStatus(NamedTuple):
    """One budget in its running window; amounts in nano-dollars.

    remaining: what nobody spent or holds, ``limit - spent - leased - overrun``, never below zero. holders: how many
    proxies hold a part of ``leased``. state: a key of ``choices.BUDGET_STATES``.
    """

    budget: Budget
    starts_at: datetime
    ends_at: datetime
    limit: int
    spent: int
    leased: int
    overrun: int
    remaining: int
    holders: int
    state: str

    @property
    def shown(self) -> Status:
        return choices.BUDGET_STATES[self.state]


def budgets_of(organisation: Organisation) -> QuerySet[Budget]:
    """An organisation's budgets by name, with their keys; deleted ones left out."""
    return Budget.objects.filter(organisation=organisation, deleted_at=None).select_related("key").order_by("name")


def budget_statuses(budgets: Iterable[Budget]) -> list[BudgetStatus]:
    """Where each budget stands in the window that is now by database time: one query. A window nobody used yet is empty."""
    rows: dict[UUID, Budget] = {budget.pk: budget for budget in budgets}
    if not rows:
        return []
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT b.id, f.starts_at, f.ends_at, coalesce(w.limit_nano, b.limit_nano), coalesce(w.spent_nano, 0), "
            "coalesce(w.leased_nano, 0), coalesce(w.overrun_nano, 0), (SELECT count(*) FROM budgets_lease AS l WHERE l.window_id = w.id "
            "AND l.state = 'open' AND l.granted_nano > l.returned_nano + l.settled_nano) "
            "FROM budgets_budget AS b CROSS JOIN LATERAL budgets_window_at(b.window, b.timezone, clock_timestamp()) AS f "
            "LEFT JOIN budgets_budgetwindow AS w ON w.budget_id = b.id AND w.starts_at = f.starts_at AND w.ends_at = f.ends_at "
            "WHERE b.id = ANY (%s)",
            [list(rows)],
        )
        found = {row[0]: row for row in cursor.fetchall()}
    statuses = []
    for pk, budget in rows.items():
        if pk in found:
            _, starts_at, ends_at, limit, spent, leased, overrun, holders = found[pk]
            state = rules.state_of(limit=limit, spent=spent, leased=leased, overrun=overrun)
            remaining = max(0, limit - spent - leased - overrun)
            statuses.append(BudgetStatus(budget, starts_at, ends_at, limit, spent, leased, overrun, remaining, holders, state))
    return statuses


def budget_status(budget: Budget) -> BudgetStatus:
    """``budget_statuses`` of one budget."""
    return budget_statuses([budget])[0]
