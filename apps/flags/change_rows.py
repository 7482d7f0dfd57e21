"""A request's row between the table and the pure rules: read as they read it, locked, filled with what they decided, told to the audit."""

from __future__ import annotations

import hashlib
import json
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID

from apps.accounts.selectors import permitted
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.services import audit_record
from apps.flags import change_choices as choices
from apps.flags import change_rules as rules
from apps.flags.four_eyes import rule_of
from apps.flags.models import ChangeRequest, Flag, TwoPersonRule
from apps.flags.services import flag_facts

if TYPE_CHECKING:
    from apps.accounts.models import Organisation

STANDING = ("on", "until", "share", "simulated_only", "acknowledged")
TOLD = ("kind", "subject_kind", "subject_id", "level", "rules", "default", "owner", *STANDING)
"""What a request remembers of its flag: what it does, and how it stands."""


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


def standing_asked(row: ChangeRequest) -> rules.Standing:
    """How the flag would stand."""
    return rules.Standing(True, row.until, row.share, row.simulated_only) if row.turn_on else rules.OFF


def definition_of(told: dict[str, Any]) -> dict[str, Any]:
    """What a flag does, without how it stands and who owns it."""
    return {name: value for name, value in told.items() if name not in (*STANDING, "owner")}


def flag_locked(organisation: Organisation, name: str) -> Flag:
    """The flag of that name, its row locked. Raises ServiceError."""
    rows = Flag.objects.select_for_update(of=("self",)).select_related("owner", "organisation")
    flag = rows.filter(organisation=organisation, name=name).first()
    if flag is None:
        raise ServiceError(f"there is no flag {name!r}", "name")
    return flag


def flag_of(row: ChangeRequest) -> Flag:
    """The request's flag, its row locked. Raises ServiceError where it is deleted."""
    flag = Flag.objects.select_for_update(of=("self",)).select_related("owner", "organisation").filter(pk=row.flag_id).first()
    if flag is None:
        raise ServiceError(f"the flag {row.flag_name} is deleted: there is nothing to flip")
    return flag


def team_of(row: ChangeRequest) -> UUID | None:
    """Who owns the flag now; of a deleted one, who did."""
    return row.flag.owner_id if row.flag is not None else row.team_id


def change_locked(change: ChangeRequest) -> ChangeRequest:
    """The request's row, locked, with what deciding it takes."""
    return ChangeRequest.objects.select_for_update(of=("self",)).select_related("organisation", "flag", "team", "to").get(pk=change.pk)


def same_again(row: ChangeRequest, at: datetime | None) -> ChangeRequest | None:
    """The open request in which the same person asks for the same; the flag's lock keeps two from being made at once."""
    same = ("flag", "gives", "to", "turn_on", "until", "share", "simulated_only", "acknowledged", "asked_kind", "asked_id")
    wanted = {name: getattr(row, name) for name in same}
    found = ChangeRequest.objects.filter(**wanted, at=at, state__in=choices.OPEN_STATES)
    return found.select_related("organisation", "flag", "team", "to").first()


def asker_still_may(row: ChangeRequest, flag: Flag) -> None:
    """Raises ServiceError where who asked may not do so any more."""
    asker = Actor(kind=row.asked_kind, id=row.asked_id, name=row.asked_by)  # type: ignore[arg-type]
    action = "ownership.change" if row.gives else "change.request" if row.two else "flag.flip"
    may = permitted(actor=asker, action=action, organisation=row.organisation, team=flag.owner_id)
    if not may and not row.gives:
        may = permitted(actor=asker, action="flag.flip", organisation=row.organisation, team=flag.owner_id)
    if not may:
        raise ServiceError(f"{row.asked_by}, who asked for it, may not do so any more: ask for it yourself")


def person_of(actor: Actor) -> rules.Person:
    """Who acts, as the rules tell people apart."""
    return rules.Person(actor.kind, actor.id)


def step_take(row: ChangeRequest, change: rules.Change) -> None:
    """What the rules decided, into the row."""
    row.state, row.two, row.glass, row.review = change.state, change.two, change.glass, change.review
    row.at, row.expires_at = change.at, change.expires_at
    row.late_minutes = None if change.late is None else int(change.late.total_seconds() // 60)


def step_decide(row: ChangeRequest, change: rules.Change, actor: Actor, now: datetime, reason: str) -> None:
    """The same of a decision, with who made it, when and why."""
    step_take(row, change)
    row.decided_kind, row.decided_id, row.decided_by = actor.kind, actor.id, actor.name
    row.decided_at, row.decided_reason = now, reason.strip()[:500]


def rule_text(rule: TwoPersonRule) -> str:
    """A rule's words, as a request keeps them."""
    return rules.rule_words(rule_of(rule), team=rule.team.name if rule.team else "")[:300]


def change_note(actor: Actor, action: str, row: ChangeRequest, before: dict[str, Any], after: dict[str, Any], reason: str) -> None:
    """What the audit keeps of a step of a request."""
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
