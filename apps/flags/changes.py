"""Flips as people ask for them: done at once, scheduled, or waiting for a second person (``change_rules`` has the invariants).

A request's row goes to ``applied`` by compare-and-set in the transaction that flips the flag and publishes, so that however many approve
it, run it or are killed on the way, the flag is flipped once or not at all. Two constraints of the table refuse a row that says otherwise.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.utils import timezone as clock

from apps.accounts.selectors import permission_require, permitted
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.flags import change_choices as choices
from apps.flags import change_rules as rules
from apps.flags import change_telling as telling
from apps.flags.change_applying import change_flip
from apps.flags.change_rows import (
    asker_still_may,
    change_locked,
    change_note,
    facts_of,
    fingerprint,
    flag_locked,
    flag_of,
    person_of,
    request_facts,
    rule_text,
    same_again,
    step_decide,
    step_take,
    team_of,
    told_of,
)
from apps.flags.four_eyes import agreed, owner_rule, rule_for, standing_of
from apps.flags.models import ChangeRequest, Flag
from apps.flags.services import flag_flip
from apps.ownership.owned import column_assign

if TYPE_CHECKING:
    from apps.accounts.models import Organisation
    from apps.ownership.models import Team


@transaction.atomic
def flip_submit(
    *,
    actor: Actor,
    organisation: Organisation,
    name: str,
    on: bool,
    reason: str,
    until: datetime | None = None,
    at: datetime | None = None,
    break_glass: bool = False,
    share: int = 100,
    simulated_only: bool = False,
    acknowledge: bool = False,
    zone: str = "UTC",
    late: timedelta | None = rules.LATE,
) -> Flag | ChangeRequest:
    """Ask for a flip. A Flag: it is flipped. A ChangeRequest: see its ``state``; ``applied`` where glass was broken. The caller publishes.

    It waits for a second person where a rule of the organisation says so, or where the actor may ask for flips but not flip; asked for
    again by the same person while it waits, the same request comes back. at: when it shall happen; zone: in which people are shown that;
    late: how late it may run if nothing ran at its time, None however late. break_glass: do alone what takes two; it is told to the
    owners and stays open for review. The rest as of ``flag_flip``. Raises ServiceError and PermissionRefused.
    """
    now = clock.now()
    if not reason.strip():
        raise ServiceError("say why: everybody sees the reason while the flag is on", "reason")
    rules.zone_of(zone)
    flag = flag_locked(organisation, name)
    may_flip = permitted(actor=actor, action="flag.flip", organisation=organisation, team=flag.owner_id)
    if not may_flip:
        permission_require(actor=actor, action="change.request", organisation=organisation, team=flag.owner_id)
    if on and flag.expired(at or now):
        raise ServiceError(f"{flag.name} expired on {flag.expires_at:%Y-%m-%d}: give it a later expiry first, or delete it", "on")
    after = rules.Standing(True, until, share, simulated_only) if on else rules.OFF
    before = standing_of(flag).at(now)
    rule = rule_for(flag, before, after, planned=at is not None)
    if break_glass and rule is not None and may_flip:
        permission_require(actor=actor, action="breakglass.use", organisation=organisation, team=flag.owner_id)
    step = rules.asked(
        by=person_of(actor),
        two=rule is not None or not may_flip,
        glass=break_glass and rule is not None and may_flip,
        now=now,
        at=at,
        until=after.until,
        late=late,
    )
    flip: dict[str, Any] = {
        "organisation": organisation, "name": name, "on": on, "reason": reason, "until": until,
        "share": share, "simulated_only": simulated_only, "acknowledge": acknowledge,
    }  # fmt: skip
    if step.flip and not step.change.glass:
        return flag_flip(actor=actor, **flip)
    row = ChangeRequest(
        organisation=organisation,
        flag=flag,
        flag_name=flag.name,
        team=flag.owner,
        turn_on=on,
        until=after.until,
        share=after.share,
        simulated_only=after.simulated_only,
        acknowledged=on and acknowledge,
        reason=reason.strip(),
        rule=rule_text(rule) if rule is not None else "" if may_flip else "asked for by somebody who may not flip it",
        seen=told_of(flag),
        agreed=told_of(flag) if step.change.state == choices.SCHEDULED else {},
        asked_kind=actor.kind,
        asked_id=actor.id,
        asked_by=actor.name,
        asked_role=actor.role,
        asked_at=now,
        zone=zone,
    )
    same = same_again(row, at)
    if same is not None:
        return same
    step_take(row, step.change)
    if step.flip:
        row.applied_at = now
    row.save(force_insert=True)
    if step.flip:
        with agreed(flag, after):
            flag_flip(actor=actor, **flip)
        telling.glass_broken(row, rule)
    elif step.change.state == choices.WAITING:
        telling.asked(row, rule)
    action = "breakglass.use" if row.glass else "change.request" if row.two else "change.schedule"
    change_note(actor, action, row, {}, request_facts(row), reason)
    return row


@transaction.atomic
def owner_submit(*, actor: Actor, flag: Flag, team: Team | None, reason: str) -> Flag | ChangeRequest:
    """Give a flag to another team (None: to nobody). A Flag: it is done. A ChangeRequest: a rule holds for the flag by the team that owns
    it now, so it waits for a second person; asked for again by the same person, the same request comes back. Raises ServiceError."""
    flag = flag_locked(flag.organisation, flag.name)
    permission_require(actor=actor, action="ownership.change", organisation=flag.organisation, team=flag.owner_id)
    if not reason.strip():
        raise ServiceError("say why: whoever approves it, and whoever asks later, reads it", "reason")
    if team is not None and team.organisation_id != flag.organisation_id:
        raise ServiceError("the team belongs to another organisation", "team")
    to = team.pk if team is not None else None
    if flag.owner_id == to:
        raise ServiceError(f"{flag.name} belongs to {team.name if team else 'nobody'} already: choose another team", "team")
    rule = owner_rule(flag, to) if actor.kind == "user" else None
    if rule is None:
        column_assign(actor=actor, row=flag, team=team, reason=reason)
        return Flag.objects.select_related("owner", "organisation").get(pk=flag.pk)
    now = clock.now()
    row = ChangeRequest(
        organisation=flag.organisation,
        flag=flag,
        flag_name=flag.name,
        team=flag.owner,
        gives=True,
        to=team,
        to_name=team.name if team is not None else "",
        turn_on=flag.on,
        reason=reason.strip()[:300],
        rule=rule_text(rule),
        seen=told_of(flag),
        asked_kind=actor.kind,
        asked_id=actor.id,
        asked_by=actor.name,
        asked_role=actor.role,
        asked_at=now,
    )
    same = same_again(row, None)
    if same is not None:
        return same
    step_take(row, rules.asked(by=person_of(actor), two=True, glass=False, now=now).change)
    row.save(force_insert=True)
    telling.asked(row, rule)
    change_note(actor, "change.request", row, {}, request_facts(row), reason)
    return row


@transaction.atomic
def change_approve(*, actor: Actor, change: ChangeRequest, reason: str = "", seen: str = "") -> ChangeRequest:
    """A second person says yes: flipped now, or scheduled for its time. The caller publishes.

    seen: ``fingerprint(told_of(flag))`` of the flag as the approver saw it. It is asked for where the flag is another one than when the
    flip was asked for, so that nobody approves what they have not seen. Raises ServiceError.
    """
    row = change_locked(change)
    flag = flag_of(row)
    permission_require(actor=actor, action="change.approve", organisation=row.organisation, team=flag.owner_id)
    now = clock.now()
    step = rules.approved(facts_of(row), by=person_of(actor), now=now)
    asker_still_may(row, flag)
    if row.turn_on and not row.gives and flag.expired(row.at if step.change.state == choices.SCHEDULED else now):
        raise ServiceError(f"{flag.name} has expired since: reject it")
    drift = rules.conflicts(row.seen, told_of(flag))
    if drift and seen != fingerprint(told_of(flag)):
        names = ", ".join(conflict.field.replace("_", " ") for conflict in drift)
        raise ServiceError(f"the flag changed since this was asked for ({names}): look at the differences, then approve again", "seen")
    row.agreed = told_of(flag)
    step_decide(row, step.change, actor, now, reason)
    if step.flip:
        change_flip(row, flag, actor=actor, now=now)
    row.save()
    change_note(actor, "change.approve", row, {"state": choices.WAITING}, request_facts(row), reason)
    telling.came_of(row)
    return row


@transaction.atomic
def change_reject(*, actor: Actor, change: ChangeRequest, reason: str) -> ChangeRequest:
    """A second person says no, and why. Raises ServiceError."""
    row = change_locked(change)
    permission_require(actor=actor, action="change.approve", organisation=row.organisation, team=team_of(row))
    if not reason.strip():
        raise ServiceError("say why: who asked for it reads the reason", "reason")
    step = rules.rejected(facts_of(row), by=person_of(actor))
    step_decide(row, step.change, actor, clock.now(), reason)
    row.save()
    change_note(actor, "change.reject", row, {"state": choices.WAITING}, request_facts(row), reason)
    telling.came_of(row)
    return row


@transaction.atomic
def change_withdraw(*, actor: Actor, change: ChangeRequest, reason: str) -> ChangeRequest:
    """Take back what waits or is scheduled; who could approve it may stop it too. Raises ServiceError."""
    row = change_locked(change)
    before = row.state
    may = permitted(actor=actor, action="change.approve", organisation=row.organisation, team=team_of(row))
    if not may:
        permission_require(actor=actor, action="change.request", organisation=row.organisation, team=team_of(row))
    step_take(row, rules.withdrawn(facts_of(row), by=person_of(actor), may_approve=may).change)
    row.detail = f"by {actor.name}: {reason.strip()}"[:500]
    row.save()
    change_note(actor, "change.withdraw", row, {"state": before}, {"state": row.state}, reason)
    if actor.id != row.asked_id:
        telling.came_of(row)
    return row


@transaction.atomic
def change_review(*, actor: Actor, change: ChangeRequest, verdict: str, note: str) -> ChangeRequest:
    """Close the review of what one person did alone: somebody else, with a verdict and a note. Raises ServiceError."""
    row = change_locked(change)
    permission_require(actor=actor, action="breakglass.review", organisation=row.organisation, team=team_of(row))
    if verdict not in choices.VERDICTS:
        raise ServiceError(f"say {' or '.join(repr(name) for name in choices.VERDICTS)}", "verdict")
    if not note.strip() or len(note) > 1000:
        raise ServiceError("write what you looked at and found, up to 1,000 characters", "note")
    step_take(row, rules.reviewed(facts_of(row), by=person_of(actor)).change)
    row.reviewed_id, row.reviewed_by, row.reviewed_at = actor.id, actor.name, clock.now()
    row.verdict, row.review_note = verdict, note.strip()
    row.save()
    change_note(actor, "breakglass.review", row, {"review": choices.OPEN}, {"review": row.review, "verdict": verdict}, note.strip())
    telling.came_of(row)
    return row
