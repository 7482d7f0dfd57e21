"""What one route, provider or key did since the day and the month began: one query over the summaries of days. Days are UTC."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from apps.accounts.scope import Scope
from apps.usage.covering import DAY, floor
from apps.usage.measures import SUMS, Totals
from apps.usage.selectors import Dimension, rows_of


@dataclass(frozen=True, slots=True)
class ToDate:
    """today, month: from midnight and from the first of the month (UTC) until now."""

    today: Totals
    month: Totals

    @property
    def per_request(self) -> int | None:
        """Nano-dollars that an answered request of the month cost, rounded up; None where none was answered."""
        return -(-self.month.cost_nano // self.month.ok) if self.month.ok else None

    @property
    def per_thousand_tokens(self) -> int | None:
        """Nano-dollars for a thousand tokens of the month, in and out, rounded up; None where there were none."""
        tokens = self.month.tokens_input + self.month.tokens_output
        return -(-self.month.cost_nano * 1_000 // tokens) if tokens else None


def to_date(scope: Scope, dimension: Dimension, value: str, *, now: datetime | None = None) -> ToDate:
    """The day and the month so far of one value of a dimension: one query."""
    now = now or datetime.now(UTC)
    today = floor(now, DAY)
    rows = rows_of(
        f"SELECT bucket >= %s, {SUMS} FROM usage_summary WHERE organisation = %s AND simulated = %s AND seconds = %s AND dimension = %s "
        "AND value = %s AND bucket >= %s AND bucket <= %s GROUP BY 1",
        [today, scope.organisation, scope.simulated, DAY, dimension, value, today.replace(day=1), today],
    )
    found = {recent: Totals(*sums) for recent, *sums in rows}
    recent = found.get(True, Totals())
    return ToDate(recent, found.get(False, Totals()) + recent)
