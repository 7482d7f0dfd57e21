"""Flips as people ask for them: done at once, scheduled, or waiting for a second person (``change_rules`` has the invariants).

A request's row goes to ``applied`` by compare-and-set in the transaction that flips the flag and publishes, so that however many approve
it, run it or are killed on the way, the flag is flipped once or not at all. Two constraints of the table refuse a row that says otherwise.
"""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone as clock

from apps.accounts.selectors import permission_require, permitted
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.registry import event_record
from apps.audit.services import audit_record
from apps.flags import change_choices as choices
from apps.flags import change_rules as rules
from apps.flags import change_telling as telling
from apps.flags.four_eyes import agreed, agreed_owner, owner_rule, rule_for, rule_of, standing_of
from apps.flags.models import ChangeRequest, Flag
from apps.flags.services import flag_facts, flag_flip
from apps.ownership.owned import column_assign

if TYPE_CHECKING:
    from apps.accounts.models import Organisation
    from apps.ownership.models import Team

STANDING = ("on", "until", "share", "simulated_only", "acknowledged")
TOLD = ("kind", "subject_kind", "subject_id", "level", "rules", "default", "owner", *STANDING)
"""What a request remembers of its flag: what it does, and how it stands."""


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
    flag = _flag(organisation, name)
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
        by=_person(actor),
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
        rule=_rule_words(rule) if rule is not None else "" if may_flip else "asked for by somebody who may not flip it",
        seen=told_of(flag),
        agreed=told_of(flag) if step.change.state == choices.SCHEDULED else {},
        asked_kind=actor.kind,
        asked_id=actor.id,
        asked_by=actor.name,
        asked_role=actor.role,
        asked_at=now,
        zone=zone,
    )
    same = _same_again(row, at)
    if same is not None:
        return same
    _take(row, step.change)
    if step.flip:
        row.applied_at = now
    row.save(force_insert=True)
    if step.flip:
        with agreed(flag, after):
            flag_flip(actor=actor, **flip)
        telling.glass_broken(row)
    elif step.change.state == choices.WAITING:
        telling.asked(row)
    action = "breakglass.use" if row.glass else "change.request" if row.two else "change.schedule"
    _record(actor, action, row, {}, request_facts(row), reason)
    return row


@transaction.atomic
def owner_submit(*, actor: Actor, flag: Flag, team: Team | None, reason: str) -> Flag | ChangeRequest:
    """Give a flag to another team (None: to nobody). A Flag: it is done. A ChangeRequest: a rule holds for the flag by the team that owns
    it now, so it waits for a second person; asked for again by the same person, the same request comes back. Raises ServiceError."""
    flag = _flag(flag.organisation, flag.name)
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
        rule=_rule_words(rule),
        seen=told_of(flag),
        asked_kind=actor.kind,
        asked_id=actor.id,
        asked_by=actor.name,
        asked_role=actor.role,
        asked_at=now,
    )
    same = _same_again(row, None)
    if same is not None:
        return same
    _take(row, rules.asked(by=_person(actor), two=True, glass=False, now=now).change)
    row.save(force_insert=True)
    telling.asked(row)
    _record(actor, "change.request", row, {}, request_facts(row), reason)
    return row


@transaction.atomic
def change_approve(*, actor: Actor, change: ChangeRequest, reason: str = "", seen: str = "") -> ChangeRequest:
    """A second person says yes: flipped now, or scheduled for its time. The caller publishes.

    seen: ``fingerprint(told_of(flag))`` of the flag as the approver saw it. It is asked for where the flag is another one than when the
    flip was asked for, so that nobody approves what they have not seen. Raises ServiceError.
    """
    row = _locked(change)
    flag = _flag_of(row)
    permission_require(actor=actor, action="change.approve", organisation=row.organisation, team=flag.owner_id)
    now = clock.now()
    step = rules.approved(facts_of(row), by=_person(actor), now=now)
    _asker_still_may(row, flag)
    if row.turn_on and not row.gives and flag.expired(row.at if step.change.state == choices.SCHEDULED else now):
        raise ServiceError(f"{flag.name} has expired since: reject it")
    drift = rules.conflicts(row.seen, told_of(flag))
    if drift and seen != fingerprint(told_of(flag)):
        names = ", ".join(conflict.field.replace("_", " ") for conflict in drift)
        raise ServiceError(f"the flag changed since this was asked for ({names}): look at the differences, then approve again", "seen")
    row.agreed = told_of(flag)
    _decide(row, step.change, actor, now, reason)
    if step.flip:
        _flip(row, flag, actor=actor, now=now)
    row.save()
    _record(actor, "change.approve", row, {"state": choices.WAITING}, request_facts(row), reason)
    telling.came_of(row)
    return row


@transaction.atomic
def change_reject(*, actor: Actor, change: ChangeRequest, reason: str) -> ChangeRequest:
    """A second person says no, and why. Raises ServiceError."""
    row = _locked(change)
    permission_require(actor=actor, action="change.approve", organisation=row.organisation, team=_team_of(row))
    if not reason.strip():
        raise ServiceError("say why: who asked for it reads the reason", "reason")
    step = rules.rejected(facts_of(row), by=_person(actor))
    _decide(row, step.change, actor, clock.now(), reason)
    row.save()
    _record(actor, "change.reject", row, {"state": choices.WAITING}, request_facts(row), reason)
    telling.came_of(row)
    return row


@transaction.atomic
def change_withdraw(*, actor: Actor, change: ChangeRequest, reason: str) -> ChangeRequest:
    """Take back what waits or is scheduled; who could approve it may stop it too. Raises ServiceError."""
    row = _locked(change)
    before = row.state
    may = permitted(actor=actor, action="change.approve", organisation=row.organisation, team=_team_of(row))
    if not may:
        permission_require(actor=actor, action="change.request", organisation=row.organisation, team=_team_of(row))
    _take(row, rules.withdrawn(facts_of(row), by=_person(actor), may_approve=may).change)
    row.detail = f"by {actor.name}: {reason.strip()}"[:500]
    row.save()
    _record(actor, "change.withdraw", row, {"state": before}, {"state": row.state}, reason)
    if actor.id != row.asked_id:
        telling.came_of(row)
    return row


@transaction.atomic
def change_review(*, actor: Actor, change: ChangeRequest, verdict: str, note: str) -> ChangeRequest:
    """Close the review of what one person did alone: somebody else, with a verdict and a note. Raises ServiceError."""
    row = _locked(change)
    permission_require(actor=actor, action="breakglass.review", organisation=row.organisation, team=_team_of(row))
    if verdict not in choices.VERDICTS:
        raise ServiceError(f"say {' or '.join(repr(name) for name in choices.VERDICTS)}", "verdict")
    if not note.strip() or len(note) > 1000:
        raise ServiceError("write what you looked at and found, up to 1,000 characters", "note")
    _take(row, rules.reviewed(facts_of(row), by=_person(actor)).change)
    row.reviewed_id, row.reviewed_by, row.reviewed_at = actor.id, actor.name, clock.now()
    row.verdict, row.review_note = verdict, note.strip()
    row.save()
    _record(actor, "breakglass.review", row, {"review": choices.OPEN}, {"review": row.review, "verdict": verdict}, note.strip())
    telling.came_of(row)
    return row


def told_of(flag: Flag) -> dict[str, Any]:
    """What a request remembers of a flag, as plain JSON values."""
    facts = flag_facts(flag)
    return {name: value.isoformat() if isinstance(value := facts[name], datetime) else value for name in TOLD}


def fingerprint(told: dict[str, Any]) -> str:
    """A short text that is another one as soon as the flag is."""
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:24]


def facts_of(row: ChangeRequest) -> rules.Change:
    """A row as the pure rules read it."""
    return rules.Change(
        state=row.state,
        two=row.two,
        glass=row.glass,
        asked_by=rules.Person(row.asked_kind, row.asked_id),
        approved_by=rules.Person(row.decided_kind, row.decided_id) if row.decided_id and row.state != choices.REJECTED else None,
        at=row.at,
        until=row.until,
        late=None if row.late_minutes is None else timedelta(minutes=row.late_minutes),
        expires_at=row.expires_at,
        review=row.review,
    )


def request_facts(row: ChangeRequest) -> dict[str, Any]:
    """What the audit keeps of a request."""
    return {
        "flag": row.flag_name,
        "on": row.turn_on,
        **({"owner": row.to_name or "nobody"} if row.gives else {}),
        "until": row.until,
        "share": row.share,
        "simulated_only": row.simulated_only,
        "acknowledged": row.acknowledged,
        "at": row.at,
        "state": row.state,
        "two_persons": row.two,
        "break_glass": row.glass,
        "rule": row.rule,
        "asked_by": row.asked_by,
        "decided_by": row.decided_by,
    }


def apply_scheduled(row: ChangeRequest, *, now: datetime, actor: Actor) -> ChangeRequest:
    """What time makes of an open request, its row locked by the caller, who publishes. Raises ServiceError where it cannot be done."""
    facts = facts_of(row)
    flag = _flag_of(row) if row.state == choices.SCHEDULED else None
    two_now = False
    if flag is not None:
        two_now = rule_for(flag, standing_of(flag).at(now), _after(row)) is not None
    step = rules.due(facts, now=now, two_now=two_now)
    if step.change == facts:
        return row
    _take(row, step.change)
    if row.state == choices.FAILED:
        row.detail = "since it was scheduled a rule asks for a second person: ask for it again"
    elif row.state == choices.MISSED:
        row.detail = (
            "nothing ran scheduled flips at its time, and then it was too late"
            if not row.until or row.until > now
            else "its end had passed"
        )
    elif step.flip and flag is not None:
        _asker_still_may(row, flag)
        changed = rules.conflicts(_definition(row.agreed), _definition(told_of(flag)))
        if changed:
            names = ", ".join(conflict.field.replace("_", " ") for conflict in changed)
            raise ServiceError(f"what the flag does changed since ({names}): ask for it again")
        if row.turn_on and flag.expired(now):
            raise ServiceError("the flag had expired")
        row.detail = rules.lateness(row.at or now, now)
        _flip(row, flag, actor=actor, now=now)
    row.save()
    before = {"state": facts.state}
    _record(actor, f"change.{'apply' if step.flip else row.state}", row, before, request_facts(row), row.detail or row.reason)
    if row.detail and row.state in (choices.APPLIED, choices.MISSED):
        event_record(
            kind=choices.LATE_EVENT if row.state == choices.APPLIED else choices.MISSED_EVENT,
            subject_kind="flag",
            subject_id=str(row.flag_id or ""),
            subject_name=row.flag_name,
            data={"organisation": str(row.organisation_id), "change": str(row.pk), "at": str(row.at), "note": row.detail},
        )
    telling.came_of(row)
    return row


def change_fail(row: ChangeRequest, why: str, *, actor: Actor) -> None:
    """Give a request up that could not be done; its row locked by the caller."""
    before = row.state
    _take(row, rules.failed(facts_of(row)).change)
    row.detail = why[:500]
    row.save()
    _record(actor, "change.failed", row, {"state": before}, {"state": row.state}, row.detail)
    telling.came_of(row)


def _flip(row: ChangeRequest, flag: Flag, *, actor: Actor, now: datetime) -> None:
    """The one place where a request flips: its row becomes ``applied`` by compare-and-set first."""
    won = ChangeRequest.objects.filter(pk=row.pk, state__in=choices.OPEN_STATES, applied_at=None).update(
        state=choices.APPLIED,
        applied_at=now,
        decided_kind=row.decided_kind,
        decided_id=row.decided_id,
    )
    if not won:
        raise ServiceError("it was done already")
    row.applied_at = now
    if row.gives:
        if row.to_id is None and row.to_name:
            raise ServiceError(f"the team {row.to_name} is deleted: reject it")
        with agreed_owner(flag, row.to_id):
            column_assign(actor=actor, row=flag, team=row.to, reason=row.reason)
        return
    if standing_of(flag) == _after(row):
        row.detail = "; ".join(filter(None, [row.detail, "the flag stood so already"]))
        return
    with agreed(flag, _after(row)):
        flag_flip(
            actor=actor,
            organisation=row.organisation,
            name=flag.name,
            on=row.turn_on,
            reason=row.reason,
            until=row.until,
            share=row.share,
            simulated_only=row.simulated_only,
            acknowledge=row.acknowledged,
        )


def _after(row: ChangeRequest) -> rules.Standing:
    return rules.Standing(True, row.until, row.share, row.simulated_only) if row.turn_on else rules.OFF


def _definition(told: dict[str, Any]) -> dict[str, Any]:
    """What a flag does, without how it stands and who owns it."""
    return {name: value for name, value in told.items() if name not in (*STANDING, "owner")}


def _flag(organisation: Organisation, name: str) -> Flag:
    rows = Flag.objects.select_for_update(of=("self",)).select_related("owner", "organisation")
    flag = rows.filter(organisation=organisation, name=name).first()
    if flag is None:
        raise ServiceError(f"there is no flag {name!r}", "name")
    return flag


def _flag_of(row: ChangeRequest) -> Flag:
    flag = Flag.objects.select_for_update(of=("self",)).select_related("owner", "organisation").filter(pk=row.flag_id).first()
    if flag is None:
        raise ServiceError(f"the flag {row.flag_name} is deleted: there is nothing to flip")
    return flag


def _team_of(row: ChangeRequest) -> UUID | None:
    """Who owns the flag now; of a deleted one, who did."""
    return row.flag.owner_id if row.flag is not None else row.team_id


def _locked(change: ChangeRequest) -> ChangeRequest:
    return ChangeRequest.objects.select_for_update(of=("self",)).select_related("organisation", "flag", "team", "to").get(pk=change.pk)


def _same_again(row: ChangeRequest, at: datetime | None) -> ChangeRequest | None:
    """The open request in which the same person asks for the same; the flag's lock keeps two from being made at once."""
    same = ("flag", "gives", "to", "turn_on", "until", "share", "simulated_only", "acknowledged", "asked_kind", "asked_id")
    wanted = {name: getattr(row, name) for name in same}
    found = ChangeRequest.objects.filter(**wanted, at=at, state__in=choices.OPEN_STATES)
    return found.select_related("organisation", "flag", "team", "to").first()


def _asker_still_may(row: ChangeRequest, flag: Flag) -> None:
    asker = Actor(kind=row.asked_kind, id=row.asked_id, name=row.asked_by)  # type: ignore[arg-type]
    action = "ownership.change" if row.gives else "change.request" if row.two else "flag.flip"
    may = permitted(actor=asker, action=action, organisation=row.organisation, team=flag.owner_id)
    if not may and not row.gives:
        may = permitted(actor=asker, action="flag.flip", organisation=row.organisation, team=flag.owner_id)
    if not may:
        raise ServiceError(f"{row.asked_by}, who asked for it, may not do so any more: ask for it yourself")


def _person(actor: Actor) -> rules.Person:
    return rules.Person(actor.kind, actor.id)


def _take(row: ChangeRequest, change: rules.Change) -> None:
    """What the rules decided, into the row."""
    row.state, row.two, row.glass, row.review = change.state, change.two, change.glass, change.review
    row.at, row.expires_at = change.at, change.expires_at
    row.late_minutes = None if change.late is None else int(change.late.total_seconds() // 60)


def _decide(row: ChangeRequest, change: rules.Change, actor: Actor, now: datetime, reason: str) -> None:
    _take(row, change)
    row.decided_kind, row.decided_id, row.decided_by = actor.kind, actor.id, actor.name
    row.decided_at, row.decided_reason = now, reason.strip()[:500]


def _rule_words(rule: Any) -> str:
    return rules.rule_words(rule_of(rule), team=rule.team.name if rule.team else "")[:300]


def _record(actor: Actor, action: str, row: ChangeRequest, before: dict[str, Any], after: dict[str, Any], reason: str) -> None:
    audit_record(
        actor=actor,
        action=action,
        subject_kind="change",
        subject_id=row.pk,
        subject_name=str(row),
        before=before,
        after=after,
        reason=reason,
    )
