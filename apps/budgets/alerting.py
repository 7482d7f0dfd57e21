"""Which thresholds were reached: each is raised once for each window, however many look, and then told (``apps.budgets.telling``).

Those of a day's money are left to the rule of the alerts that looks at the budget, where there is one (``neighbours``).
"""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from django.db import connection, transaction
from django.utils import timezone as clock

from apps.audit.registry import event_record
from apps.budgets.choices import ALERT_EVENT, ALERT_KINDS, PACE, PASSED_OVER
from apps.budgets.forecast import Reached, reached
from apps.budgets.models import Budget, BudgetAlert, BudgetDay
from apps.budgets.neighbours import days_watched
from apps.budgets.standings import MOST_USERS, WindowStanding, window_standings


def alerts_raise(*, only: UUID | None = None) -> list[int]:
    """Look at every living budget's running window, or at those of one; the ids of alerts that budgets are to tell somebody of.

    Of several thresholds that one look finds, the highest of a kind is told, the lower ones are kept as passed over.
    """
    told: list[int] = []
    living = Budget.objects.filter(deleted_at=None) if only is None else Budget.objects.filter(deleted_at=None, pk=only)
    budgets = {row.pk: row for row in living.select_related("key")}
    rules = days_watched(budgets.values())
    for found in window_standings(None if only is None else [only], users=MOST_USERS):
        budget = budgets.get(found.budget)
        if budget is not None and found.window:
            told += _look(budget, found, rules.get(budget.pk, ""))
    return told


@transaction.atomic
def _look(budget: Budget, found: WindowStanding, rule: str) -> list[int]:
    standing = found.standing
    if standing.day_starts_at > standing.starts_at:
        BudgetDay.objects.bulk_create(
            [BudgetDay(window_id=found.window, starts_at=standing.day_starts_at, seen_at=standing.now, spent_nano=standing.spent)],
            ignore_conflicts=True,
        )
        if not standing.day_spent:  # the first look at this day: nothing of what is spent is today's
            standing = standing._replace(day_spent=_day_spent(found))
    shares = [int(share) for share in budget.alert_shares.split(",") if share.strip()]
    new: dict[str, tuple[int, Reached]] = {}
    passed = []
    for each in reached(standing, shares):
        made = _insert(found, each, rule if each.kind == PACE else "")
        if made is None:
            continue
        if each.kind in new:
            passed.append(new[each.kind][0])
        new[each.kind] = (made, each)
    if passed:
        BudgetAlert.objects.filter(pk__in=passed).update(told_at=standing.now, told=f"{PASSED_OVER}: a higher threshold was reached too")
    for _, each in new.values():
        event_record(
            kind=ALERT_EVENT,
            subject_kind="budget",
            subject_id=budget.pk,
            subject_name=budget.name,
            data={"of": ALERT_KINDS[each.kind], "percent": each.share, "value_nano": each.value, "limit_nano": standing.limit},
        )
    return [made for made, each in new.values() if not (rule and each.kind == PACE)]


@transaction.atomic
def day_told(*, budget: UUID, rule: str, fired_at: datetime, way: str, failed: str = "") -> None:
    """Write down, beside the thresholds of a budget's day, by what way a rule's alert of them was told, or why a way failed.

    fired_at: when that alert fired, which tells the window. A rule may be faster than the watch, so what was reached is raised first. A
    way that works later takes the place of its failure; the same again changes nothing.
    """
    alerts_raise(only=budget)
    rows = BudgetAlert.objects.select_for_update(of=("self",)).filter(
        window__budget=budget, kind=PACE, rule=rule, window__starts_at__lte=fired_at, window__ends_at__gt=fired_at
    )
    for row in rows.exclude(told__startswith=PASSED_OVER).order_by("pk"):
        ways = [said for said in row.told.split("; ") if said and said != way and not said.startswith(f"failed: {way} (")]
        row.told = "; ".join([*ways, f"failed: {way} ({failed})" if failed else way])[:300]
        row.told_at = row.told_at or clock.now()
        row.save(update_fields=["told", "told_at"])


def _day_spent(found: WindowStanding) -> int:
    return BudgetDay.objects.values_list("spent_nano", flat=True).get(window_id=found.window, starts_at=found.standing.day_starts_at)


def _insert(found: WindowStanding, each: Reached, rule: str) -> int | None:
    """The alert's id where this look was the first to find it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO budgets_budgetalert (window_id, kind, share, critical, value_nano, limit_nano, raised_at, told, tries, rule) "
            "VALUES (%s, %s, %s, %s, %s, %s, clock_timestamp(), '', 0, %s) ON CONFLICT (window_id, kind, share) DO NOTHING RETURNING id",
            [found.window, each.kind, each.share, each.critical, min(each.value, 2**63 - 1), found.standing.limit, rule],
        )
        row = cursor.fetchone()
    return None if row is None else int(row[0])
