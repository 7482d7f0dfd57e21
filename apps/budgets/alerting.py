"""Which thresholds were reached: each is raised once for each window, however many look, and then told (``apps.budgets.telling``)."""

from __future__ import annotations

from django.db import connection, transaction

from apps.audit.registry import event_record
from apps.budgets.choices import ALERT_EVENT, ALERT_KINDS
from apps.budgets.forecast import Reached, reached
from apps.budgets.models import Budget, BudgetAlert, BudgetDay
from apps.budgets.standings import MOST_USERS, WindowStanding, window_standings


def alerts_raise() -> list[int]:
    """Look at every living budget's running window; the ids of alerts that somebody should be told of.

    Of several thresholds that one look finds, the highest of a kind is told, the lower ones are kept as passed over.
    """
    told: list[int] = []
    budgets = {row.pk: row for row in Budget.objects.filter(deleted_at=None).select_related("key")}
    for found in window_standings(None, users=MOST_USERS):
        budget = budgets.get(found.budget)
        if budget is not None and found.window:
            told += _look(budget, found)
    return told


@transaction.atomic
def _look(budget: Budget, found: WindowStanding) -> list[int]:
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
        made = _insert(found, each)
        if made is None:
            continue
        if each.kind in new:
            passed.append(new[each.kind][0])
        new[each.kind] = (made, each)
    if passed:
        BudgetAlert.objects.filter(pk__in=passed).update(told_at=standing.now, told="passed over: a higher threshold was reached too")
    for _, each in new.values():
        event_record(
            kind=ALERT_EVENT,
            subject_kind="budget",
            subject_id=budget.pk,
            subject_name=budget.name,
            data={"of": ALERT_KINDS[each.kind], "percent": each.share, "value_nano": each.value, "limit_nano": standing.limit},
        )
    return [made for made, _ in new.values()]


def _day_spent(found: WindowStanding) -> int:
    return BudgetDay.objects.values_list("spent_nano", flat=True).get(window_id=found.window, starts_at=found.standing.day_starts_at)


def _insert(found: WindowStanding, each: Reached) -> int | None:
    """The alert's id where this look was the first to find it."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO budgets_budgetalert (window_id, kind, share, critical, value_nano, limit_nano, raised_at, told, tries) "
            "VALUES (%s, %s, %s, %s, %s, %s, clock_timestamp(), '', 0) ON CONFLICT (window_id, kind, share) DO NOTHING RETURNING id",
            [found.window, each.kind, each.share, each.critical, min(each.value, 2**63 - 1), found.standing.limit],
        )
        row = cursor.fetchone()
    return None if row is None else int(row[0])
