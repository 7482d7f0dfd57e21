"""Writes of overrides: more money for a while, at once, audited with who allowed it and why."""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import connection, transaction
from django.utils import timezone as clock

from apps.accounts.models import User
from apps.accounts.selectors import permission_require, permitted
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.services import audit_record
from apps.budgets import rules
from apps.budgets.models import Budget, BudgetOverride
from apps.budgets.ownership import budget_owner
from apps.contracts.money import dollars_text

LONGEST = timedelta(days=92)


@transaction.atomic
def override_grant(
    *, actor: Actor, budget: Budget, amount_nano: int, expires_at: datetime | None, approver: str, reason: str
) -> BudgetOverride:
    """Raise the budget's limit by an amount until a moment. Acts in the running window at once; runs out by itself. Raises ServiceError.

    approver: e-mail address of somebody who may change the organisation's budgets. One override at a time.
    """
    permission_require(actor=actor, action="budget.change", organisation=budget.organisation, team=budget_owner(budget))
    row = Budget.objects.select_for_update().get(pk=budget.pk)
    if row.deleted_at is not None:
        raise ServiceError("the budget is deleted: nothing is walled in any more", None)
    rules.check_limit(amount_nano, field="amount_nano", what="an override's amount")
    if not reason.strip():
        raise ServiceError("say why more may be spent: the reason is kept with the override", "reason")
    now = clock.now()
    if expires_at is None or not now < expires_at <= now + LONGEST:
        raise ServiceError(f"an override ends in the future, within {LONGEST.days} days: choose when", "expires_at")
    allows = _approver(row, approver)
    running = row.overrides.filter(ended_at=None, expires_at__gt=now).first()
    if running is not None:
        raise ServiceError(
            f"an override of ${dollars_text(running.amount_nano)} runs until {running.expires_at:%Y-%m-%d %H:%M} UTC: end it first", None
        )
    override = BudgetOverride.objects.create(
        budget=row, amount_nano=amount_nano, starts_at=now - timedelta(seconds=1), expires_at=expires_at, reason=reason.strip()[:500],
        approver=allows,
    )  # fmt: skip
    _acts(row)
    _record(actor, "budget.override", row, override, reason)
    return override


@transaction.atomic
def override_end(*, actor: Actor, override: BudgetOverride, reason: str = "") -> None:
    """End an override before its time. What was spent under it stays spent. A second time changes nothing."""
    permission_require(actor=actor, action="budget.change", organisation=override.budget.organisation, team=budget_owner(override.budget))
    row = BudgetOverride.objects.select_for_update().select_related("budget").get(pk=override.pk)
    if row.ended_at is not None or row.expires_at <= clock.now():
        return
    row.ended_at = clock.now()
    row.save(update_fields=["ended_at"])
    _acts(row.budget)
    _record(actor, "budget.override_end", row.budget, row, reason)


def _approver(budget: Budget, email: str) -> str:
    person = User.objects.filter(email__iexact=email.strip(), is_active=True).first() if email.strip() else None
    if person is None or not permitted(
        actor=Actor.of_user(person), action="budget.change", organisation=budget.organisation, team=budget_owner(budget)
    ):
        raise ServiceError(f"{email.strip()[:60]!r} may not allow this: name an admin of the organisation by e-mail address", "approver")
    return str(person.email)


def _acts(budget: Budget) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT budgets_limit_changed(%s)", [budget.pk])


def _record(actor: Actor, action: str, budget: Budget, override: BudgetOverride, reason: str) -> None:
    audit_record(
        actor=actor,
        action=action,
        subject_kind="budget",
        subject_id=budget.pk,
        subject_name=budget.name,
        after={
            "amount": f"${dollars_text(override.amount_nano)}",
            "expires_at": override.expires_at.isoformat(),
            "approver": override.approver,
            "reason": override.reason,
        },
        reason=reason,
    )
