"""Reads of budgets: rows for forms and exports, and where each stands now for pages."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import FilteredRelation, Q, QuerySet

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


@dataclass(frozen=True, slots=True)
class BudgetBar:
    """A budget in its current window; amounts in nano-dollars. Nothing was granted yet where ``ends_at`` is None."""

    name: str
    scope: str
    window: str
    limit: int
    spent: int
    leased: int
    overrun: int
    ends_at: datetime | None
    key_id: str = ""
    """Of the key that it walls in; empty for the whole organisation."""

    @property
    def spent_share(self) -> float:
        """Of the limit, 0..100; full where the limit is zero and something was spent."""
        return min(100.0, 100 * self.spent / self.limit) if self.limit else 100.0 if self.spent else 0.0

    @property
    def leased_share(self) -> float:
        """Of the limit, beside what is spent, together at most 100."""
        return min(100.0 - self.spent_share, 100 * self.leased / self.limit) if self.limit else 0.0

    @property
    def status(self) -> Status:
        """Within, nearly used, exhausted or overrun."""
        return choices.BUDGET_STATES[rules.state_of(limit=self.limit, spent=self.spent, leased=self.leased, overrun=self.overrun)]


def budget_bars(organisation: Organisation, *, now: datetime, key_ids: Collection[str] | None = None) -> list[BudgetBar]:
    """An organisation's budgets with what is spent and held of the current window, the fullest first: one query.

    key_ids: only those that wall these keys in, or the whole organisation.
    """
    budgets = Budget.objects.filter(organisation=organisation, deleted_at=None)
    if key_ids is not None:
        budgets = budgets.filter(Q(key=None) | Q(key__in=list(key_ids)))
    rows = budgets.annotate(
        current=FilteredRelation("windows", condition=Q(windows__starts_at__lte=now, windows__ends_at__gt=now))
    ).values_list(
        "name",
        "scope",
        "key_id",
        "key__name",
        "window",
        "limit_nano",
        "current__spent_nano",
        "current__leased_nano",
        "current__overrun_nano",
        "current__ends_at",
    )
    bars = [
        BudgetBar(
            name=name,
            scope=f"key {key}" if scope == "key" else "whole organisation",
            window=window,
            limit=limit,
            spent=spent or 0,
            leased=leased or 0,
            overrun=overrun or 0,
            ends_at=ends_at,
            key_id=str(key_id or ""),
        )
        for name, scope, key_id, key, window, limit, spent, leased, overrun, ends_at in rows
    ]
    return sorted(bars, key=lambda bar: (-bar.spent_share, bar.name))
