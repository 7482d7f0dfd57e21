"""Writes of limits: atomic, audited, noted for the next publish. What is used belongs to a limit's id and survives a changed amount."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.utils import timezone as clock

from apps.accounts.selectors import permission_require
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.services import change_record
from apps.budgets import limit_choices, limit_rules
from apps.budgets.models import Limit
from apps.contracts.identifiers import uuid7
from apps.keys.models import VirtualKey
from apps.keys.neighbours import routes_known
from apps.ownership.models import Team
from apps.ownership.owned import holding_move
from apps.publishing.services import section_touch

if TYPE_CHECKING:
    from apps.accounts.models import Organisation


@transaction.atomic
def limit_set(
    *,
    actor: Actor,
    organisation: Organisation,
    name: str,
    scope: str,
    scope_id: object,
    kind: str,
    amount: int,
    reason: str = "",
    id: str | None = None,
) -> Limit:
    """Make the organisation's limit of that name what is asked; the same again changes nothing. Raises ServiceError.

    A changed amount keeps what is used and acts as soon as it is published. Another scope or kind is another limit: the old one is deleted
    and the new one starts with nothing used. id: what a new row gets, where an earlier one is brought back.
    """
    permission_require(actor=actor, action="limit.change", organisation=organisation)
    name = limit_rules.check_name(name)
    wanted = Limit(
        id=UUID(id) if id else uuid7(),
        organisation=organisation,
        name=name,
        scope=limit_rules.check_scope(scope),
        scope_id=_scope_id(organisation, scope, scope_id),
        kind=limit_rules.check_kind(kind),
        amount=limit_rules.check_amount(amount),
    )
    live = Limit.objects.select_for_update().filter(organisation=organisation, deleted_at=None)
    now = live.filter(name=name).first()
    twin = live.filter(scope=wanted.scope, scope_id=wanted.scope_id, kind=wanted.kind).exclude(name=name).first()
    if twin is not None:
        raise ServiceError(
            f"the limit {twin.name!r} is one of {limit_choices.KINDS[twin.kind]} of the same {twin.scope} already: change its amount",
            "scope_id",
        )
    if now is not None and (now.scope, now.scope_id, now.kind) != (wanted.scope, wanted.scope_id, wanted.kind):
        limit_delete(actor=actor, limit=now, reason=reason or "replaced by another scope or kind")
        holding_move(kind="limit", before=now.pk, after=wanted.pk)
        now = None
    if now is None:
        wanted.save(force_insert=True)
        change_record(actor, "limit.create", wanted, {}, limit_facts(wanted), reason)
        section_touch(section="limits", ids=[wanted.pk])
        return wanted
    return limit_amount_set(actor=actor, limit=now, amount=wanted.amount, reason=reason)


@transaction.atomic
def limit_amount_set(*, actor: Actor, limit: Limit, amount: int, reason: str = "") -> Limit:
    """Another amount, what is used kept; the same again changes nothing. Raises ServiceError."""
    permission_require(actor=actor, action="limit.change", organisation=limit.organisation)
    amount = limit_rules.check_amount(amount)
    row = Limit.objects.select_for_update().get(pk=limit.pk)
    if row.deleted_at is not None:
        raise ServiceError(f"the limit {row.name!r} was deleted meanwhile: create it anew", "name")
    if row.amount != amount:
        before, row.amount = row.amount, amount
        row.save(update_fields=["amount", "changed_at"])
        change_record(actor, "limit.update", row, {"amount": before}, {"amount": amount}, reason)
        section_touch(section="limits", ids=[row.pk])
    return row


@transaction.atomic
def limit_delete(*, actor: Actor, limit: Limit, reason: str = "") -> None:
    """Lift a limit. A second time changes nothing."""
    permission_require(actor=actor, action="limit.change", organisation=limit.organisation)
    row = Limit.objects.select_for_update().get(pk=limit.pk)
    if row.deleted_at is not None:
        return
    row.deleted_at = clock.now()
    row.save(update_fields=["deleted_at", "changed_at"])
    change_record(actor, "limit.delete", row, limit_facts(row), {}, reason)
    section_touch(section="limits", ids=[row.pk])


@transaction.atomic
def limit_restore(
    *,
    actor: Actor,
    limit_id: str,
    organisation: Organisation,
    name: str,
    scope: str,
    scope_id: str,
    kind: str,
    amount: int,
    reason: str = "",
) -> Limit:
    """Bring a limit of a rolled-back version to life again under its own id. scope_id: as the row has it. Raises ServiceError."""
    permission_require(actor=actor, action="limit.change", organisation=organisation)
    facts = {
        "name": limit_rules.check_name(name),
        "scope": limit_rules.check_scope(scope),
        "scope_id": scope_id,
        "kind": limit_rules.check_kind(kind),
        "amount": limit_rules.check_amount(amount),
    }
    live = Limit.objects.select_for_update().filter(organisation=organisation, deleted_at=None).exclude(pk=limit_id)
    for other in live.filter(Q(name=name) | Q(scope=scope, scope_id=scope_id, kind=kind)):
        limit_delete(actor=actor, limit=other, reason=reason)  # it did not exist in the version that we return to
    row = Limit.objects.select_for_update().filter(pk=limit_id).first()
    created = row is None
    row = row or Limit(id=UUID(limit_id), organisation=organisation)
    before = {} if created or row.deleted_at is not None else limit_facts(row)
    for field, value in facts.items():
        setattr(row, field, value)
    row.deleted_at = None
    after = limit_facts(row)
    if after != before:
        row.save(force_insert=created)
        change_record(actor, "limit.restore", row, before, after, reason)
        section_touch(section="limits", ids=[row.pk])
    return row


def limit_facts(limit: Limit) -> dict[str, Any]:
    """What the audit keeps of a limit."""
    return {"name": limit.name, "scope": limit.scope, "scope_id": limit.scope_id, "kind": limit.kind, "amount": limit.amount}


def _scope_id(organisation: Organisation, scope: str, given: object) -> str:
    """Of the object named by ``given``: an id as text, or a model's name. Raises ServiceError where there is no such object."""
    if scope == "organisation":
        if given and str(given) != str(organisation.pk):
            raise ServiceError("a limit of an organisation is for the one that it is set in: give that one's id", "scope_id")
        return str(organisation.pk)
    if scope == "model":
        return limit_rules.check_model(given)
    if scope == "route":
        if any(str(given) == route.id for route in routes_known(organisation)):
            return str(given)
    else:
        try:
            wanted = UUID(str(given))
        except ValueError:
            wanted = None
        if scope == "key" and wanted is not None:
            key = VirtualKey.objects.filter(pk=wanted, organisation=organisation).first()
            if key is not None and key.state != "active":
                raise ServiceError(f"the key {key.name!r} is revoked and asks for nothing any more: choose an active one", "scope_id")
            if key is not None:
                return str(key.pk)
        elif wanted is not None and Team.objects.filter(pk=wanted, organisation=organisation).exists():
            return str(wanted)
    message = f"the organisation {organisation.name} has no {scope} {given}: choose one that it has, or create it first"
    raise ServiceError(message, "scope_id")
