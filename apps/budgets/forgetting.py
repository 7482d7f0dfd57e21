"""Windows of single users that ended long ago are forgotten: an app may name a million users, each with a window a day.

Invariant: no window goes that a cost could still be settled against. A cost names a lease, and a lease is

1. released: its proxy's journal was settled to its end, nothing can name it any more;
2. written off: the journal was lost, and may turn up after all: such a window stays for good;
3. open: its proxy runs. Then the window stays until nothing of the lease is held or spent unsettled, and the proxy's journal is known to be
   settled up to a moment ``MARGIN`` after the window's end: no request runs that long.

Nothing else refers to such a window: alerts about it, and what its days began with, go too. What users spent stays in usage.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection, transaction

KEPT = timedelta(days=100)
"""After its end a user's window stays readable for so long."""
MARGIN = timedelta(days=30)
STEP = 1_000
"""Windows in one transaction: settlement waits for none of them."""

_OLD = """
    SELECT w.id FROM budgets_budgetwindow AS w
    WHERE w.subject <> '' AND w.ends_at < %(before)s AND w.leased_nano = 0
      AND NOT EXISTS (
          SELECT 1 FROM budgets_lease AS l
          LEFT JOIN unnest(%(boots)s::uuid[], %(until)s::timestamptz[]) AS settled (boot_id, until) ON settled.boot_id = l.boot_id
          WHERE l.window_id = w.id AND l.state <> 'released'
            AND (l.state <> 'open' OR l.granted_nano <> l.returned_nano + l.settled_nano
                 OR settled.until IS NULL OR settled.until <= w.ends_at + %(margin)s)
      )
    ORDER BY w.ends_at, w.id LIMIT %(step)s FOR UPDATE OF w SKIP LOCKED
"""


def windows_forget(*, settled_until: Mapping[UUID, datetime], now: datetime, most: int = 200 * STEP) -> int:
    """Forget users' windows that ended more than ``KEPT`` ago; returns how many, at most ``most``.

    settled_until: by boot id of a running proxy, the moment up to which everything in its journal is settled. Safe to run side by side.
    """
    asked = {
        "before": now - KEPT,
        "boots": list(settled_until),
        "until": list(settled_until.values()),
        "margin": MARGIN,
        "step": STEP,
    }
    forgotten = 0
    while forgotten < most:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute(_OLD, asked)
            ids = [row[0] for row in cursor.fetchall()]
            for table, column in (
                ("budgets_budgetalert", "window_id"),
                ("budgets_budgetday", "window_id"),
                ("budgets_lease", "window_id"),
                ("budgets_budgetwindow", "id"),
            ):
                cursor.execute(f"DELETE FROM {table} WHERE {column} = ANY (%s)", [ids])
        forgotten += len(ids)
        if len(ids) < STEP:
            break
    return forgotten
