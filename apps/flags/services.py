"""Writes of flags: atomic, audited, noted for the next publish; a flip is also an event on every timeline."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone

from apps.accounts.selectors import permission_require
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.registry import event_record
from apps.audit.services import change_record
from apps.contracts.identifiers import uuid7
from apps.flags import choices
from apps.flags import rules as checks
from apps.flags.change_rules import OFF
from apps.flags.concerned import answering
from apps.flags.four_eyes import edit_guard, flip_guard, owner_guard, standing_of
from apps.flags.models import Flag
from apps.publishing.services import section_touch

if TYPE_CHECKING:
    from apps.accounts.models import Organisation
    from apps.ownership.models import Team

WHAT_IT_DOES = ("kind", "subject_kind", "subject_id", "level", "rules", "default")
"""Fields that say what a flag does while it is on."""


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
    level: str = "full",
    rules: Mapping[str, Any] | None = None,
    default: str = "off",
    runbook: str = "",
    expires_at: datetime | None = None,
    stale_after_days: int = 60,
    share: int = 100,
    simulated_only: bool = False,
    acknowledge: bool = False,
    id: str | None = None,
    parents_later: bool = False,
) -> Flag:
    """Create a flag, or make it as given; the same again changes nothing.

    subject_id: as ``models.Flag`` says, by kind of subject; a flag whose subject is missing cannot be published.
    rules: for whom it holds while it is on, as ``apps.contracts.flag_rules`` reads them; None or empty: for everybody.
    reason: why the flag stands as it stands; kept with it. id: the one a new flag gets, where an earlier one is brought back.
    acknowledge: it may leave a route without a target (otherwise publishing refuses that). parents_later: the flags it depends on may be
    made later in the same change. Raises ServiceError.
    """
    checks.check_name(name)
    checks.check_subject(kind, subject_kind)
    subject = checks.check_subject_id(subject_kind, subject_id)
    if subject_kind == "organisation" and subject != str(organisation.pk):
        raise ServiceError("a flag is about its own organisation, not another one", "subject_id")
    document = checks.check_rules(kind, rules or {})
    if owner is not None and owner.organisation_id != organisation.pk:
        raise ServiceError("the owner belongs to another organisation", "owner")
    flag = Flag.objects.select_for_update().filter(organisation=organisation, name=name).first()
    created = flag is None
    owning = {flag.owner_id if flag is not None else owner.pk if owner is not None else None, owner.pk if owner is not None else None}
    for team in owning:  # whoever gives a flag to another team changes it for both
        permission_require(actor=actor, action="flag.change", organisation=organisation, team=team)
    if flag is not None:
        owner_guard(actor=actor, flag=flag, team=owner.pk if owner is not None else None)
    before, was = {} if flag is None else flag_facts(flag), copy(flag)
    was_on = flag is not None and flag.on
    stood = OFF if flag is None else standing_of(flag)
    flag = flag or Flag(id=id or uuid7(), organisation=organisation, name=name)
    flag.kind, flag.subject_kind, flag.subject_id = kind, subject_kind, subject
    flag.level = checks.check_level(kind, level)
    flag.rules, flag.default = document, checks.check_default(kind, default, document)
    flag.on, flag.reason, flag.until = on, checks.check_text(reason, "reason"), checks.check_until(until)
    flag.share, flag.simulated_only, flag.acknowledged = checks.check_share(share), simulated_only, acknowledge
    flag.owner, flag.purpose = owner, checks.check_text(purpose, "purpose")
    flag.runbook = checks.check_runbook(runbook)
    flag.expires_at = checks.check_moment(expires_at, "expires_at")
    flag.stale_after_days = checks.check_stale(stale_after_days)
    checks.check_payload(kind, name, subject, reason, document)
    after = flag_facts(flag)
    if after == before:
        return flag
    reworked = was is not None and any(after[field] != before[field] for field in WHAT_IT_DOES)
    if was is None or reworked:
        for answers in answering(flag):  # nobody reaches another team's route by a flag of their own
            permission_require(actor=actor, action="flag.change", organisation=organisation, team=answers)
    edit_guard(actor=actor, flag=flag, before=stood, after=standing_of(flag), was=was if reworked else None)
    if not parents_later:
        _check_dependencies(flag)
    if on and not was_on:
        flag.exercised_at = timezone.now()
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
def flag_flip(
    *,
    actor: Actor,
    organisation: Organisation,
    name: str,
    on: bool,
    reason: str,
    until: datetime | None = None,
    share: int = 100,
    simulated_only: bool = False,
    acknowledge: bool = False,
) -> Flag:
    """Switch a flag on or off; the same again changes nothing. A reason is required. What takes two persons is refused here: people ask
    through ``changes.flip_submit``.

    until: when a flag that is switched on turns itself off; None for no end. share, simulated_only: a drill, for so many percent of the
    requests (by the request's id), or for those of simulated routes only. acknowledge: "I know that it leaves a route without a target".
    Raises ServiceError; publishing raises PublishError where a route would have no target left and nobody acknowledged it.
    """
    rows = Flag.objects.select_for_update(of=("self",)).select_related("owner", "organisation")
    flag = rows.filter(organisation=organisation, name=name).first()
    permission_require(actor=actor, action="flag.flip", organisation=organisation, team=flag.owner_id if flag else None)
    if not reason.strip():
        raise ServiceError("say why: everybody sees the reason while the flag is on", "reason")
    checks.check_text(reason, "reason")
    checks.check_until(until)
    checks.check_share(share)
    if flag is None:
        raise ServiceError(f"there is no flag {name!r}", "name")
    checks.check_payload(flag.kind, flag.name, flag.subject_id, reason, flag.rules)
    stood = standing_of(flag)
    if not on:
        until, share, simulated_only, acknowledge = None, 100, False, False
    after = {"on": on, "until": until, "share": share, "simulated_only": simulated_only, "acknowledged": acknowledge}
    before = {field: getattr(flag, field) for field in after}
    if after == before:
        return flag
    flag.reason = reason
    for field, value in after.items():
        setattr(flag, field, value)
    flip_guard(actor=actor, flag=flag, before=stood, after=standing_of(flag))
    if on:
        flag.exercised_at = timezone.now()
    flag.save()
    changed = [field for field in after if after[field] != before[field]]
    # on and until always: whoever reads the audit of a flip asks for both
    told = dict.fromkeys(["on", "until", *changed])
    change_record(actor, "flag.flip", flag, {field: before[field] for field in told}, {field: after[field] for field in told}, reason)
    if before["on"] != on:
        _event(actor, flag)
    section_touch(section="flags", ids=[str(flag.id)])
    return flag


@transaction.atomic
def flag_delete(*, actor: Actor, flag: Flag, reason: str = "") -> None:
    """Delete a flag; where it was on, what it switched is as before from the next publish on."""
    permission_require(actor=actor, action="flag.change", organisation=flag.organisation, team=flag.owner_id)
    children = Flag.objects.filter(organisation=flag.organisation, rules__dependencies__contains=[{"feature": flag.name}])
    child = children.exclude(pk=flag.pk).first()
    if child is not None:
        raise ServiceError(f"the flag {child.name!r} depends on it: change that one first", "name")
    edit_guard(actor=actor, flag=flag, before=standing_of(flag), after=OFF)
    change_record(actor, "flag.delete", flag, flag_facts(flag), {}, reason)
    flag_id = str(flag.id)
    flag.delete()
    section_touch(section="flags", ids=[flag_id])


def flag_facts(flag: Flag) -> dict[str, Any]:
    """What the audit keeps of a flag: every field."""
    return {
        "kind": flag.kind,
        "subject_kind": flag.subject_kind,
        "subject_id": flag.subject_id,
        "level": flag.level,
        "rules": flag.rules,
        "default": flag.default,
        "on": flag.on,
        "reason": flag.reason,
        "until": flag.until,
        "share": flag.share,
        "simulated_only": flag.simulated_only,
        "acknowledged": flag.acknowledged,
        "owner": flag.owner.slug if flag.owner else "",
        "purpose": flag.purpose,
        "runbook": flag.runbook,
        "expires_at": flag.expires_at,
        "stale_after_days": flag.stale_after_days,
    }


def _check_dependencies(flag: Flag) -> None:
    if flag.rules.get("dependencies"):
        others = Flag.objects.filter(organisation_id=flag.organisation_id).exclude(pk=flag.pk)
        checks.check_dependencies(flag.name, flag.kind, flag.rules, {other.name: (other.kind, other.rules) for other in others})


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
            "subject_id": flag.subject_id,
            "level": flag.level,
            "share": flag.share,
            "simulated_only": flag.simulated_only,
            "organisation": str(flag.organisation_id),
            "by": actor.name,
            "reason": flag.reason,
        },
    )
