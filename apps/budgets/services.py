"""Writes of budgets (by people) and of leases (by the shipper and by operators).

People's changes are atomic, audited, and noted for the next publish; a limit acts on the running window at once, in the
same transaction, without waiting for a publish.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit
from uuid import UUID

from django.db import DataError, connection, transaction
from django.utils import timezone as clock

from apps.accounts.selectors import permission_require
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.registry import event_record
from apps.audit.services import audit_record, change_record
from apps.budgets import choices, rules
from apps.budgets.choices import OVERRUN_EVENT
from apps.budgets.models import Budget
from apps.budgets.ownership import budget_owner
from apps.budgets.scoping import scope_resolve
from apps.contracts.money import MAX_NANO, dollars_text
from apps.ownership.owned import holding_move
from apps.providers.vault import decrypt, encrypt
from apps.publishing.services import section_touch

if TYPE_CHECKING:
    from apps.accounts.models import Organisation


DEFAULT_SHARES = ", ".join(str(share) for share in choices.ALERT_SHARES)
TERMS = ("limit_nano", "kind", "open_when_away", "actions", "owner_email", "alert_shares")
"""What may change while spend is kept."""


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
    kind: str = "hard",
    open_when_away: bool = True,
    actions: str = "",
    owner_email: str = "",
    alert_shares: str = DEFAULT_SHARES,
    reason: str = "",
) -> Budget:
    """Make the organisation's budget of that name what is asked; the same again changes nothing.

    scope_id: id of the team, service, key, route or provider, the user, model, feature or tag itself; ``*``: each user by themselves.
    A changed limit or kind keeps what was spent and acts at once: raised, it gives room; lowered, grants stop until spend and leases are
    below it, and proxies are asked to give back. A changed scope, window or time zone is another wall: the old budget is
    deleted and a new one of the same name starts counting from zero. Raises ServiceError.
    """
    name = rules.check_name(name)
    held = Budget.objects.filter(organisation=organisation, name=name, deleted_at=None).first()
    permission_require(actor=actor, action="budget.change", organisation=organisation, team=budget_owner(held) if held else None)
    wanted = Budget(
        organisation=organisation,
        name=name,
        scope=rules.check_scope(scope),
        window=rules.check_window(window),
        timezone=_timezone_known(rules.check_timezone(timezone)),
        limit_nano=rules.check_limit(limit_nano),
        kind=rules.check_kind(kind),
        open_when_away=open_when_away,
        actions=rules.check_actions(actions, kind),
        owner_email=rules.check_address(owner_email, "owner_email"),
        alert_shares=rules.check_shares(alert_shares),
        **scope_resolve(organisation, scope, scope_id),
    )
    _twin_refuse(wanted)
    now = Budget.objects.select_for_update().filter(organisation=organisation, name=name, deleted_at=None).first()
    if now is not None and _wall(now) != _wall(wanted):
        budget_delete(actor=actor, budget=now, reason=reason or "replaced by another scope, window or time zone")
        now = None
    if now is None:
        wanted.save(force_insert=True)
        if held is not None:
            holding_move(kind="budget", before=held.pk, after=wanted.pk)
        change_record(actor, "budget.create", wanted, {}, budget_facts(wanted), reason)
        section_touch(section="budgets", ids=[wanted.pk])
        return wanted
    _terms_change(actor, now, _terms(wanted), reason)
    return now


@transaction.atomic
def budget_webhooks_set(
    *,
    actor: Actor,
    budget: Budget,
    webhook: str | None = None,
    slack_webhook: str | None = None,
    sources: Mapping[str, str] | None = None,
) -> None:
    """Where alerts are posted; None keeps what is there, empty removes it. Kept under the master key, and never shown again.

    sources: by field, the reference that a document took the address from; without one it is not known.
    """
    permission_require(actor=actor, action="budget.change", organisation=budget.organisation, team=budget_owner(budget))
    row = Budget.objects.select_for_update().get(pk=budget.pk)
    changed, sourced = {}, []
    for field, url in (("webhook", webhook), ("slack_webhook", slack_webhook)):
        if url is None:
            continue
        wanted = rules.check_webhook(url, field)
        if wanted != (decrypt(getattr(row, field)) if getattr(row, field) else ""):
            setattr(row, field, encrypt(wanted) if wanted else "")
            changed[field] = f"calls {urlsplit(wanted).hostname}" if wanted else "removed"
        source = (sources or {}).get(field, "") if wanted else ""
        if source != getattr(row, f"{field}_source"):
            setattr(row, f"{field}_source", source)
            sourced.append(f"{field}_source")
    if changed or sourced:
        row.save(update_fields=[*changed, *sourced, "changed_at"])
    if changed:
        change_record(actor, "budget.webhooks", row, {}, changed)


@transaction.atomic
def budget_delete(*, actor: Actor, budget: Budget, reason: str = "") -> None:
    """Lift a wall. Its windows stay readable; proxies are held to it until the next publish reaches them. A second time changes nothing."""
    permission_require(actor=actor, action="budget.change", organisation=budget.organisation, team=budget_owner(budget))
    row = Budget.objects.select_for_update().get(pk=budget.pk)
    if row.deleted_at is not None:
        return
    row.deleted_at = clock.now()
    row.save(update_fields=["deleted_at", "changed_at"])
    change_record(actor, "budget.delete", row, budget_facts(row), {}, reason)
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
    kind: str = "hard",
    open_when_away: bool = True,
    actions: str = "",
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
        **scope_resolve(organisation, scope, scope_id, revoked=True),
        "window": rules.check_window(window),
        "timezone": _timezone_known(rules.check_timezone(timezone)),
    }
    terms = {"limit_nano": rules.check_limit(limit_nano), "kind": rules.check_kind(kind), "open_when_away": open_when_away}
    terms["actions"] = rules.check_actions(actions, kind)
    row = Budget.objects.select_for_update().filter(pk=budget_id).first()
    if row is None:
        row = Budget(id=UUID(str(budget_id)), **terms, **facts)
        row.save(force_insert=True)
        change_record(actor, "budget.create", row, {}, budget_facts(row), reason)
        section_touch(section="budgets", ids=[row.pk])
        return row
    before, was_deleted = budget_facts(row), row.deleted_at is not None
    for field, value in facts.items():
        setattr(row, field, value)
    row.deleted_at = None
    after = budget_facts(row)
    if was_deleted or after != before:
        row.save()
        change_record(actor, "budget.restore", row, {} if was_deleted else before, after, reason)
        section_touch(section="budgets", ids=[row.pk])
    _terms_change(actor, row, terms, reason)
    return row


def budget_facts(budget: Budget) -> dict[str, Any]:
    """What the audit keeps of a budget."""
    return {
        "scope": budget.scope,
        **({"key": budget.key.name} if budget.key else {"scope_id": budget.scope_ref} if budget.scope_ref else {}),
        "window": budget.window,
        "timezone": budget.timezone,
        "limit": f"${dollars_text(budget.limit_nano)}",
        "limit_nano": budget.limit_nano,
        "kind": budget.kind,
        **({} if budget.kind == "hard" else {"open_when_away": budget.open_when_away}),
        **({"actions": budget.actions} if budget.actions else {}),
        **({"owner_email": budget.owner_email} if budget.owner_email else {}),
        **({"alert_shares": budget.alert_shares} if budget.alert_shares != DEFAULT_SHARES else {}),
    }


# --- leases: called by the shipper and by operators ------------------------------------------------------------------


def charges_settle(*, cursor: Cursor, costs: Mapping[int, int], ending: Sequence[UUID] = ()) -> None:
    """Settle journalled costs (lease id -> nano-dollars) in the caller's transaction, as its last statement.

    One statement for all rows; windows are locked in ascending id. Each cost moves from its window's ``leased`` to ``spent``; what
    the lease did not hold (a provider billed beyond the bound, or the lease is closed) becomes the window's
    ``overrun`` and an event, and never an error. Costs of a written-off lease are set against the write-off first.
    Leases that this database does not know (it was restored from a backup) are passed over.

    ending: boot ids whose journals end with these costs. Whatever their leases still hold is freed, under locks taken in one order,
    and they are never granted anything again; a second time changes nothing.
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
    names = dict(Budget.objects.filter(pk__in=[row[0] for row in overruns], kind="hard").values_list("pk", "name"))
    for budget_id, window_id, overrun, total in overruns:
        if budget_id not in names:
            continue  # a soft one held nothing while the database was away: that is no wall that was broken
        event_record(
            kind=OVERRUN_EVENT,
            subject_kind="budget",
            subject_id=budget_id,
            subject_name=names.get(budget_id, ""),
            data={"window": window_id, "overrun_nano": int(overrun), "window_overrun_nano": int(total)},
        )


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
    return (budget.scope, budget.key_id, budget.scope_ref, budget.window, budget.timezone)


def _terms(budget: Budget) -> dict[str, Any]:
    """What may change while spend is kept."""
    return {field: getattr(budget, field) for field in TERMS}


def _twin_refuse(wanted: Budget) -> None:
    """Two budgets of one kind, scope and window overlap wholly: the lower limit is the only one that ever acts."""
    twins = Budget.objects.filter(organisation=wanted.organisation, deleted_at=None, kind=wanted.kind, scope=wanted.scope, key=wanted.key)
    twin = twins.filter(scope_ref=wanted.scope_ref, window=wanted.window, timezone=wanted.timezone).exclude(name=wanted.name).first()
    if twin is not None:
        raise ServiceError(
            f"the {wanted.kind} budget {twin.name!r} is for the same {wanted.scope} and {wanted.window} already: change its limit",
            "scope_id",
        )


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


def _terms_change(actor: Actor, budget: Budget, terms: dict[str, Any], reason: str) -> None:
    changed = [field for field, value in terms.items() if getattr(budget, field) != value]
    if not changed:
        return
    before = budget_facts(budget)
    for field in changed:
        setattr(budget, field, terms[field])
    budget.save(update_fields=[*changed, "changed_at"])
    with connection.cursor() as cursor:
        cursor.execute("SELECT budgets_limit_changed(%s)", [budget.pk])
    after = budget_facts(budget)
    told = [field for field in before | after if before.get(field) != after.get(field)]
    change_record(actor, "budget.update", budget, {f: before.get(f) for f in told}, {f: after.get(f) for f in told}, reason)
    section_touch(section="budgets", ids=[budget.pk])
