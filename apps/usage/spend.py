"""Reads of what was spent: day by day as the summaries have it, and by one dimension as it was counted (``apps.usage.counting``).

Days are UTC, both ends of a period included. Every read takes a ``Scope``: no total mixes two organisations, or real and simulated.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta

from apps.accounts.scope import Scope
from apps.usage.choices import SPEND_DIMENSIONS, WASTE
from apps.usage.counting import REST
from apps.usage.covering import DAY
from apps.usage.selectors import rows_of

MOST_ROWS = 10_000
"""Of a dimension's values, the costliest are read; the others are in the rest."""


@dataclass(frozen=True, slots=True)
class Period:
    """Whole days (UTC), both included."""

    first: date
    last: date

    @property
    def days(self) -> int:
        """How many."""
        return (self.last - self.first).days + 1

    @property
    def before(self) -> Period:
        """The period of the same length that ends where this one begins."""
        return Period(self.first - timedelta(days=self.days), self.first - timedelta(days=1))

    @property
    def start(self) -> datetime:
        """Its first moment."""
        return midnight(self.first)

    @property
    def end(self) -> datetime:
        """The first moment after it."""
        return midnight(self.last + timedelta(days=1))


def midnight(day: date) -> datetime:
    """The first moment of a day, UTC."""
    return datetime.combine(day, time(), tzinfo=UTC)


@dataclass(frozen=True, slots=True)
class Amounts:
    """What was spent on what. waste_nano: the part of ``cost_nano`` that reached nobody."""

    requests: int = 0
    attempts: int = 0
    tokens_input: int = 0
    tokens_output: int = 0
    cost_nano: int = 0
    waste_nano: int = 0


@dataclass(frozen=True, slots=True)
class SpendRow:
    """One value of a dimension in a period. before_nano: its cost in the period before. rest: all values that are not told apart."""

    value: str
    amounts: Amounts
    before_nano: int = 0
    rest: bool = False


@dataclass(frozen=True, slots=True)
class Spend:
    """A period by one dimension, the costliest first; the rows add up to ``total`` exactly."""

    rows: list[SpendRow]
    total: Amounts
    before_nano: int


def spend_days(scope: Scope, first: date, last: date) -> dict[date, int]:
    """Nano-dollars of each day that had any request: one query over the summaries, of the last two seconds on."""
    rows = rows_of(
        "SELECT bucket, cost_nano FROM usage_summary WHERE organisation = %s AND simulated = %s AND seconds = %s AND dimension = '' "
        "AND bucket >= %s AND bucket < %s",
        [scope.organisation, scope.simulated, DAY, midnight(first), midnight(last + timedelta(days=1))],
    )
    return {bucket.astimezone(UTC).date(): int(cost) for bucket, cost in rows}


_AMOUNTS = ("requests", "attempts", "tokens_input", "tokens_output", "cost_nano", "waste_nano")


def spend_by(scope: Scope, period: Period, dimension: str, *, limit: int = MOST_ROWS) -> Spend:
    """A period by one of ``SPEND_DIMENSIONS``, and what each value cost in the period before: one query.

    Raises ValueError for what is no dimension.
    """
    if dimension not in SPEND_DIMENSIONS:
        raise ValueError(f"{dimension!r} is no dimension of spend: one of {', '.join(SPEND_DIMENSIONS)}")
    return _found(scope, period, [dimension, f"{dimension}{REST}"], limit)


def waste_by(scope: Scope, period: Period) -> list[tuple[str, SpendRow]]:
    """What was paid for in vain in a period, by why (``WASTE``), each of them, in that order: one query."""
    found = {row.value: row for row in _found(scope, period, ["waste"], MOST_ROWS).rows}
    return [(why, found.get(why, SpendRow(why, Amounts()))) for why in WASTE]


def _found(scope: Scope, period: Period, dimensions: Sequence[str], limit: int) -> Spend:
    sums = ", ".join(f"coalesce(sum({name}) FILTER (WHERE bucket >= %(start)s), 0)::bigint" for name in _AMOUNTS)
    rows = rows_of(
        f"SELECT dimension, value, {sums}, coalesce(sum(cost_nano) FILTER (WHERE bucket < %(start)s), 0)::bigint FROM usage_spend "
        f"WHERE organisation = %(organisation)s AND simulated = %(simulated)s AND seconds = {DAY} AND dimension = ANY (%(dimensions)s) "
        "AND bucket >= %(before)s AND bucket < %(end)s GROUP BY dimension, value ORDER BY 7 DESC, 3 DESC, 2",
        {
            "organisation": scope.organisation,
            "simulated": scope.simulated,
            "dimensions": ["", *dimensions],
            "before": period.before.start,
            "start": period.start,
            "end": period.end,
        },
    )
    total, before, kept, others = Amounts(), 0, [], []
    for dimension, value, *amounts, cost_before in rows:
        if not dimension:
            total, before = Amounts(*amounts), cost_before
        elif dimension.endswith(REST) or len(kept) >= limit:
            others.append((amounts, cost_before))
        else:
            kept.append(SpendRow(value, Amounts(*amounts), cost_before))
    if others:
        summed = Amounts(*(sum(column) for column in zip(*(amounts for amounts, _ in others), strict=True)))
        kept.append(SpendRow("", summed, sum(cost for _, cost in others), rest=True))
    # what there was none of in the period itself says nothing here
    shown = [row for row in kept if row.amounts.requests or row.amounts.attempts or row.amounts.cost_nano or row.before_nano]
    return Spend(shown, total, before)
