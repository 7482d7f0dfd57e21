"""Reads of budgets: rows for forms and exports, and where each stands now for pages."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple
from uuid import UUID

from django.db import connection
from django.db.models import Q, QuerySet

from apps.budgets import choices, rules
from apps.budgets.models import Budget
from apps.budgets.scoping import scope_named, scope_names, scope_text
from apps.ui.status import Status

if TYPE_CHECKING:
    from apps.accounts.models import Organisation


class BudgetStatus(NamedTuple):
    """One budget in its running window; amounts in nano-dollars.

    remaining: what nobody spent or holds, ``limit - spent - leased - overrun``, never below zero. holders: how many
    proxies hold a part of ``leased``. state: a key of ``choices.BUDGET_STATES``. subject: the user whose own window it is, else empty.
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
    subject: str = ""

    @property
    def shown(self) -> Status:
        return choices.BUDGET_STATES[self.state]


def budgets_of(organisation: Organisation) -> QuerySet[Budget]:
    """An organisation's budgets by name, with their keys and the names of what they are for; deleted ones left out."""
    return scope_named(Budget.objects.filter(organisation=organisation, deleted_at=None).select_related("key").order_by("name"))


_STANDING = (
    "SELECT b.id, f.starts_at, f.ends_at, coalesce(budgets_limit_at(b.id, clock_timestamp()), b.limit_nano), coalesce(w.spent_nano, 0), "
    "coalesce(w.leased_nano, 0), coalesce(w.overrun_nano, 0), coalesce(w.subject, ''), (SELECT count(*) FROM budgets_lease AS l "
    "WHERE l.window_id = w.id AND l.state = 'open' AND l.granted_nano > l.returned_nano + l.settled_nano) "
    "FROM budgets_budget AS b CROSS JOIN LATERAL budgets_window_at(b.window, b.timezone, clock_timestamp()) AS f "
    "LEFT JOIN LATERAL (SELECT * FROM budgets_budgetwindow AS each WHERE each.budget_id = b.id AND each.starts_at = f.starts_at "
    "AND each.ends_at = f.ends_at ORDER BY each.spent_nano + each.leased_nano DESC, each.id LIMIT 1) AS w ON true "
    "WHERE b.id = ANY (%s)"
)
"""Each budget in the window that is now by database time; of users' own windows the fullest."""


def budget_statuses(budgets: Iterable[Budget]) -> list[BudgetStatus]:
    """Where each budget stands in the window that is now by database time: one query. A window nobody used yet is empty."""
    rows: dict[UUID, Budget] = {budget.pk: budget for budget in budgets}
    if not rows:
        return []
    with connection.cursor() as cursor:
        cursor.execute(_STANDING, [list(rows)])
        found = {row[0]: row for row in cursor.fetchall()}
    statuses = []
    for pk, budget in rows.items():
        if pk in found:
            _, starts_at, ends_at, limit, spent, leased, overrun, subject, holders = found[pk]
            state = rules.state_of(limit=limit, spent=spent, leased=leased, overrun=overrun, hard=budget.kind == "hard")
            remaining = max(0, limit - spent - leased - overrun)
            statuses.append(BudgetStatus(budget, starts_at, ends_at, limit, spent, leased, overrun, remaining, holders, state, subject))
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
    """Of the key that it walls in; empty for any other scope."""
    hard: bool = True
    id: str = ""
    user: str = ""
    """Whose window it is, of users that have the budget each for themselves: the fullest one's."""

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
        state = rules.state_of(limit=self.limit, spent=self.spent, leased=self.leased, overrun=self.overrun, hard=self.hard)
        return choices.BUDGET_STATES[state]


def budget_bars(organisation: Organisation, *, now: datetime, key_ids: Collection[str] | None = None) -> list[BudgetBar]:
    """An organisation's budgets with what is spent and held of the current window, the fullest first: two queries.

    key_ids: only those that wall these keys in, or the whole organisation.
    """
    budgets = budgets_of(organisation).only("name", "scope", "scope_ref", "window", "kind", "key__name")
    if key_ids is not None:
        budgets = budgets.filter(Q(scope="organisation") | Q(key__in=list(key_ids)))
    rows = list(budgets)
    names = scope_names(organisation, rows)
    bars = [
        BudgetBar(
            name=status.budget.name,
            scope=scope_text(status.budget.scope, names[status.budget.pk]),
            window=status.budget.window,
            limit=status.limit,
            spent=status.spent,
            leased=status.leased,
            overrun=status.overrun,
            ends_at=status.ends_at,
            key_id=str(status.budget.key_id or ""),
            hard=status.budget.kind == "hard",
            id=str(status.budget.pk),
            user=status.subject,
        )
        for status in budget_statuses(rows)
    ]
    return sorted(bars, key=lambda bar: (-bar.spent_share, bar.name))
