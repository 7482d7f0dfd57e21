"""Writes of budgets (by people) and of leases (by the shipper and by operators).

People's changes are atomic, audited, and noted for the next publish; a limit acts on the running window at once, in the
same transaction, without waiting for a publish.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol
from uuid import UUID

from django.db import DataError, connection, transaction
from django.utils import timezone as clock

from apps.accounts.selectors import permission_require
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.registry import event_record
from apps.audit.services import audit_record
from apps.budgets import rules
from apps.budgets.choices import OVERRUN_EVENT
from apps.budgets.models import Budget
from apps.contracts.money import MAX_NANO, dollars_text
from apps.keys.models import VirtualKey
from apps.publishing.services import section_touch

if TYPE_CHECKING:
    from apps.accounts.models import Organisation


class Cursor(Protocol):
    """A database cursor, Django's or psycopg's, inside the caller's transaction."""

    def execute(self, query: str, params: Sequence[Any] = ..., /) -> Any: ...

    def fetchall(self) -> list[tuple[Any, ...]]: ...


@transaction.atomic
def budget_set(
    *,
    actor: Actor,
    organisation: Organisation,
    name: str,
    scope: str,
    scope_id: object,
    window: str,
    timezone: str = "UTC",
    limit_nano: int,
    reason: str = "",
) -> Budget:
    """Make the organisation's budget of that name what is asked; the same again changes nothing.

    A changed limit keeps what was spent and acts at once: raised, it gives room; lowered, grants stop until spend and leases are
    below it, and proxies are asked to give back. A changed scope, window or time zone is another wall: the old budget is
    deleted and a new one of the same name starts counting from zero. Raises ServiceError.
    """
    permission_require(actor=actor, action="budget.change", organisation=organisation)
    name = rules.check_name(name)
    wanted = Budget(
        organisation=organisation,
        name=name,
        scope=rules.check_scope(scope),
        key=_key_of(organisation, scope, scope_id),
        window=rules.check_window(window),
        timezone=_timezone_known(rules.check_timezone(timezone)),
        limit_nano=rules.check_limit(limit_nano),
    )
    now = Budget.objects.select_for_update().filter(organisation=organisation, name=name, deleted_at=None).first()
    if now is not None and _wall(now) != _wall(wanted):
        budget_delete(actor=actor, budget=now, reason=reason or "replaced by another scope, window or time zone")
        now = None
    if now is None:
        wanted.save(force_insert=True)
        _record(actor, "budget.create", wanted, {}, budget_facts(wanted), reason)
        section_touch(section="budgets", ids=[wanted.pk])
        return wanted
    _limit_change(actor, now, wanted.limit_nano, reason)
    return now


@transaction.atomic
def budget_delete(*, actor: Actor, budget: Budget, reason: str = "") -> None:
    """Lift a wall. Its windows stay readable; proxies are held to it until the next publish reaches them. A second time changes nothing."""
    permission_require(actor=actor, action="budget.change", organisation=budget.organisation)
    row = Budget.objects.select_for_update().get(pk=budget.pk)
    if row.deleted_at is not None:
        return
    row.deleted_at = clock.now()
    row.save(update_fields=["deleted_at", "changed_at"])
    _record(actor, "budget.delete", row, budget_facts(row), {}, reason)
    section_touch(section="budgets", ids=[row.pk])


@transaction.atomic
def budget_restore(
    *,
    actor: Actor,
    budget_id: object,
    organisation: Organisation,
    name: str,
    scope: str,
    scope_id: object,
    window: str,
    timezone: str,
    limit_nano: int,
    reason: str = "",
) -> Budget:
    """Bring a budget of a rolled-back version to life again under its own id, spend kept. Raises ServiceError."""
    permission_require(actor=actor, action="budget.change", organisation=organisation)
    for other in Budget.objects.filter(organisation=organisation, name=name, deleted_at=None).exclude(pk=budget_id):
        # The name was given to another budget since: that one did not exist in the version we return to.
        budget_delete(actor=actor, budget=other, reason=reason)
    facts = {
        "organisation": organisation,
        "name": rules.check_name(name),
        "scope": rules.check_scope(scope),
        "key": _key_of(organisation, scope, scope_id, revoked=True),
        "window": rules.check_window(window),
        "timezone": _timezone_known(rules.check_timezone(timezone)),
    }
    row = Budget.objects.select_for_update().filter(pk=budget_id).first()
    if row is None:
        row = Budget(id=UUID(str(budget_id)), limit_nano=rules.check_limit(limit_nano), **facts)
        row.save(force_insert=True)
        _record(actor, "budget.create", row, {}, budget_facts(row), reason)
        section_touch(section="budgets", ids=[row.pk])
        return row
    before, was_deleted = budget_facts(row), row.deleted_at is not None
    for field, value in facts.items():
        setattr(row, field, value)
    row.deleted_at = None
    after = budget_facts(row)
    if was_deleted or after != before:
        row.save()
        _record(actor, "budget.restore", row, {} if was_deleted else before, after, reason)
        section_touch(section="budgets", ids=[row.pk])
    _limit_change(actor, row, rules.check_limit(limit_nano), reason)
    return row


def budget_facts(budget: Budget) -> dict[str, Any]:
    """What the audit keeps of a budget."""
    return {
        "scope": budget.scope,
        "key": budget.key.name if budget.key else "",
        "window": budget.window,
        "timezone": budget.timezone,
        "limit": f"${dollars_text(budget.limit_nano)}",
        "limit_nano": budget.limit_nano,
    }


# --- leases: called by the shipper and by operators ------------------------------------------------------------------


def charges_settle(*, cursor: Cursor, costs: Mapping[int, int], ending: Sequence[UUID] = ()) -> None:
    """Settle journalled costs (lease id -> nano-dollars) in the caller's transaction, as its last statement.

    One statement for all rows; windows are locked in ascending id. Each cost moves from its window's ``leased`` to ``spent``; what
    the lease did not hold (a provider billed beyond the bound, or the lease is closed) becomes the window's
    ``overrun`` and an event, and never an error. Costs of a written-off lease are set against the write-off first.
    Leases that this database does not know (it was restored from a backup) are passed over.

    ending: boot ids whose journals end with these costs; their leases are released too, under locks taken in one
    order, which two calls in one transaction could not promise.
    """
    leases = list(costs)
    amounts = [min(max(costs[lease], 0), MAX_NANO) for lease in leases]
    cursor.execute(
        "SELECT budget_id, window_id, overrun, total FROM budgets_settle(%s::bigint[], %s::bigint[], %s::uuid[])",
        [leases, amounts, list(ending)],
    )
    overruns = cursor.fetchall()
    if not overruns:
        return
    names = dict(Budget.objects.filter(pk__in=[row[0] for row in overruns]).values_list("pk", "name"))
    for budget_id, window_id, overrun, total in overruns:
        event_record(
            kind=OVERRUN_EVENT,
            subject_kind="budget",
            subject_id=budget_id,
            subject_name=names.get(budget_id, ""),
            data={"window": window_id, "overrun_nano": int(overrun), "window_overrun_nano": int(total)},
        )


def leases_release(*, cursor: Cursor, boot_id: UUID) -> None:
    """Free whatever a dead proxy's leases still hold, and never grant to that boot id again. A second time changes nothing.

    Call it when the journal is settled to its end: in a transaction of its own, or by ``charges_settle(ending=)``.
    """
    cursor.execute("SELECT lease FROM budgets_release(%s, false)", [boot_id])
    cursor.fetchall()


@transaction.atomic
def lease_write_off(*, actor: Actor, boot_id: UUID, reason: str) -> int:
    """A proxy's journal is lost: count everything its leases hold as spent. Gives the amount in nano-dollars.

    Should the journal turn up after all, its costs are set against the write-off. Raises ServiceError without a
    reason, and where that boot id has no open lease.
    """
    permission_require(actor=actor, action="budget.change")
    if not reason.strip():
        raise ServiceError("say why the journal cannot be read: a write-off counts money as spent that may not have been", "reason")
    with connection.cursor() as cursor:
        cursor.execute("SELECT lease, budget_id, outstanding FROM budgets_release(%s, true)", [boot_id])
        rows = cursor.fetchall()
    if not rows:
        raise ServiceError(f"the proxy {boot_id} has no open lease: look its boot id up in `manage.py status`", "boot_id")
    total = sum(int(row[2]) for row in rows)
    audit_record(
        actor=actor,
        action="lease.write_off",
        subject_kind="proxy",
        subject_id=boot_id,
        after={
            "written_off": f"${dollars_text(total)}",
            "leases": [{"lease": lease, "budget": str(budget), "nano": int(rest)} for lease, budget, rest in rows],
        },
        reason=reason,
    )
    return total


# --- parts -----------------------------------------------------------------------------------------------------------


def _wall(budget: Budget) -> tuple[object, ...]:
    """What makes two budgets of one name the same wall; the limit is only its height."""
    return (budget.scope, budget.key_id, budget.window, budget.timezone)


def _key_of(organisation: Organisation, scope: str, scope_id: object, *, revoked: bool = False) -> VirtualKey | None:
    if scope == "organisation":
        if str(scope_id) != str(organisation.pk):
            raise ServiceError("a budget of an organisation is for the one that it is set in: give that one's id", "scope_id")
        return None
    try:
        key = VirtualKey.objects.filter(pk=UUID(str(scope_id)), organisation=organisation).first()
    except ValueError:
        key = None
    if key is None:
        raise ServiceError(
            f"the organisation {organisation.name} has no key {scope_id}: choose one of its keys, or create it first", "scope_id"
        )
    if key.state != "active" and not revoked:
        raise ServiceError(f"the key {key.name!r} is revoked and spends nothing any more: choose an active one", "scope_id")
    return key


def _timezone_known(name: str) -> str:
    """Windows are computed by Postgres, whose time zone data may be older than ours."""
    try:
        with transaction.atomic(), connection.cursor() as cursor:
            cursor.execute("SELECT clock_timestamp() AT TIME ZONE %s", [name])
    except DataError:
        raise ServiceError(
            f"Postgres does not know the time zone {name!r}: update its time zone data, or use another name", "timezone"
        ) from None
    return name


def _limit_change(actor: Actor, budget: Budget, limit_nano: int, reason: str) -> None:
    if budget.limit_nano == limit_nano:
        return
    before = budget_facts(budget)
    budget.limit_nano = limit_nano
    budget.save(update_fields=["limit_nano", "changed_at"])
    with connection.cursor() as cursor:
        cursor.execute("SELECT budgets_limit_changed(%s)", [budget.pk])
    after = budget_facts(budget)
    changed = [field for field in after if after[field] != before[field]]
    _record(actor, "budget.update", budget, {f: before[f] for f in changed}, {f: after[f] for f in changed}, reason)
    section_touch(section="budgets", ids=[budget.pk])


def _record(actor: Actor, action: str, budget: Budget, before: dict[str, Any], after: dict[str, Any], reason: str) -> None:
    audit_record(
        actor=actor,
        action=action,
        subject_kind="budget",
        subject_id=budget.pk,
        subject_name=budget.name,
        before=before,
        after=after,
        reason=reason,
    )
