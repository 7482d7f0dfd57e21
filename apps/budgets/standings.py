"""Where budgets' running windows stand, with what forecasts need: one query."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple
from uuid import UUID

from django.db import connection

from apps.budgets.forecast import Standing

_QUERY = (
    "SELECT b.id, coalesce(w.id, 0), coalesce(w.subject, ''), f.starts_at, f.ends_at, clock_timestamp(), "
    "coalesce(budgets_limit_at(b.id, clock_timestamp()), b.limit_nano), coalesce(w.spent_nano + w.overrun_nano, 0), "
    "coalesce(w.leased_nano, 0), d.starts_at, d.ends_at, coalesce(day.spent_nano, 0), b.window = 'day', b.kind = 'hard' "
    "FROM budgets_budget AS b CROSS JOIN LATERAL budgets_window_at(b.window, b.timezone, clock_timestamp()) AS f "
    "CROSS JOIN LATERAL budgets_window_at('day', b.timezone, clock_timestamp()) AS d "
    "LEFT JOIN LATERAL (SELECT * FROM budgets_budgetwindow AS each WHERE each.budget_id = b.id AND each.starts_at = f.starts_at "
    "AND each.ends_at = f.ends_at ORDER BY each.spent_nano + each.overrun_nano DESC, each.id LIMIT %s) AS w ON true "
    "LEFT JOIN budgets_budgetday AS day ON day.window_id = w.id AND day.starts_at = d.starts_at "
    "WHERE b.deleted_at IS NULL AND (%s OR b.id = ANY (%s))"
)
MOST_USERS = 100
"""Users' own windows of one budget that are looked at, the fullest first."""


class WindowStanding(NamedTuple):
    """window: 0 where nobody used it yet. subject: the user whose own it is. standing.spent has overruns in it."""

    budget: UUID
    window: int
    subject: str
    leased: int
    standing: Standing


def window_standings(budgets: Sequence[UUID] | None, *, users: int = 1) -> list[WindowStanding]:
    """Of these budgets, or of all that live. users: how many users' own windows of each, the fullest first."""
    with connection.cursor() as cursor:
        cursor.execute(_QUERY, [users, budgets is None, list(budgets or ())])
        return [
            WindowStanding(row[0], row[1], row[2], row[8], Standing(row[3], row[4], row[5], row[6], row[7], *row[9:14]))
            for row in cursor.fetchall()
        ]
