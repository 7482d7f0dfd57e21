"""Writes of flags: atomic, audited, noted for the next publish; a flip is also an event on every timeline."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import transaction

from apps.accounts.selectors import permission_require
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.registry import event_record
from apps.audit.services import change_record
from apps.contracts.identifiers import uuid7
from apps.flags import choices, rules
from apps.flags.models import Flag
from apps.publishing.services import section_touch

if TYPE_CHECKING:
    from apps.accounts.models import Organisation
    from apps.ownership.models import Team


@transaction.atomic
def flag_set(
    *,
    actor: Actor,
    organisation: Organisation,
    name: str,
    kind: str,
    subject_kind: str,
    subject_id: str | UUID,
    on: bool = False,
    reason: str = "",
    until: datetime | None = None,
    owner: Team | None = None,
    purpose: str = "",
    id: str | None = None,
) -> Flag:
    """Create a flag, or make it as given; the same again changes nothing.

    subject_id: id of the provider, route or key; a flag whose subject is missing cannot be published.
    reason: why the flag stands as it stands; kept with it. id: the one a new flag gets, where an earlier one is brought back.
    """
    permission_require(actor=actor, action="flag.change", organisation=organisation)
    rules.check_name(name)
    rules.check_subject(kind, subject_kind)
    rules.check_text(reason, "reason")
    rules.check_text(purpose, "purpose")
    rules.check_until(until)
    if owner is not None and owner.organisation_id != organisation.pk:
        raise ServiceError("the owner belongs to another organisation", "owner")
    try:
        subject = UUID(str(subject_id))
    except ValueError:
        raise ServiceError(f"{subject_id!r} is not the id of a {subject_kind}", "subject_id") from None
    flag = Flag.objects.select_for_update().filter(organisation=organisation, name=name).first()
    created = flag is None
    before = {} if flag is None else flag_facts(flag)
    was_on = flag is not None and flag.on
    flag = flag or Flag(id=id or uuid7(), organisation=organisation, name=name)
    flag.kind, flag.subject_kind, flag.subject_id = kind, subject_kind, subject
    flag.on, flag.reason, flag.until = on, reason, until
    flag.owner, flag.purpose = owner, purpose
    after = flag_facts(flag)
    if after == before:
        return flag
    flag.save()
    changed = [field for field in after if after[field] != before.get(field)]
    change_record(
        actor,
        "flag.create" if created else "flag.update",
        flag,
        {field: before[field] for field in changed if field in before},
        {field: after[field] for field in changed},
        reason,
    )
    if was_on != on:
        _event(actor, flag)
    section_touch(section="flags", ids=[str(flag.id)])
    return flag


@transaction.atomic
def flag_flip(*, actor: Actor, organisation: Organisation, name: str, on: bool, reason: str, until: datetime | None = None) -> Flag:
    """Switch a flag on or off; the same again changes nothing. A reason is required.

    until: when a flag that is switched on turns itself off; None for no end.
    """
    permission_require(actor=actor, action="flag.change", organisation=organisation)
    if not reason.strip():
        raise ServiceError("say why: everybody sees the reason while the flag is on", "reason")
    rules.check_text(reason, "reason")
    rules.check_until(until)
    flag = Flag.objects.select_for_update(of=("self",)).select_related("owner").filter(organisation=organisation, name=name).first()
    if flag is None:
        raise ServiceError(f"there is no flag {name!r}", "name")
    until = until if on else None
    if flag.on == on and flag.until == until:
        return flag
    before = {"on": flag.on, "until": flag.until}
    flipped = flag.on != on
    flag.on, flag.reason, flag.until = on, reason, until
    flag.save()
    change_record(actor, "flag.flip", flag, before, {"on": on, "until": until}, reason)
    if flipped:
        _event(actor, flag)
    section_touch(section="flags", ids=[str(flag.id)])
    return flag


@transaction.atomic
def flag_delete(*, actor: Actor, flag: Flag, reason: str = "") -> None:
    """Delete a flag; where it was on, what it switched is as before from the next publish on."""
    permission_require(actor=actor, action="flag.change", organisation=flag.organisation)
    change_record(actor, "flag.delete", flag, flag_facts(flag), {}, reason)
    flag_id = str(flag.id)
    flag.delete()
    section_touch(section="flags", ids=[flag_id])


def flag_facts(flag: Flag) -> dict[str, Any]:
    """What the audit keeps of a flag: every field."""
    return {
        "kind": flag.kind,
        "subject_kind": flag.subject_kind,
        "subject_id": str(flag.subject_id),
        "on": flag.on,
        "reason": flag.reason,
        "until": flag.until,
        "owner": flag.owner.slug if flag.owner else "",
        "purpose": flag.purpose,
    }


def _event(actor: Actor, flag: Flag) -> None:
    event_record(
        kind=choices.FLIP_EVENT,
        subject_kind="flag",
        subject_id=str(flag.id),
        subject_name=flag.name,
        data={
            "on": flag.on,
            "kind": flag.kind,
            "subject_kind": flag.subject_kind,
            "subject_id": str(flag.subject_id),
            "by": actor.name,
            "reason": flag.reason,
        },
    )
