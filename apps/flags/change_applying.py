"""Where a request flips its flag: at once when it is approved, at its time when it was scheduled, and giving up what cannot be done."""

from __future__ import annotations

from datetime import datetime

from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.registry import event_record
from apps.flags import change_choices as choices
from apps.flags import change_rules as rules
from apps.flags import change_telling as telling
from apps.flags.change_rows import (
    asker_still_may,
    change_note,
    definition_of,
    facts_of,
    flag_of,
    request_facts,
    standing_asked,
    step_take,
    told_of,
)
from apps.flags.four_eyes import agreed, agreed_owner, rule_for, standing_of
from apps.flags.models import ChangeRequest, Flag
from apps.flags.services import flag_flip
from apps.ownership.owned import column_assign


def apply_scheduled(row: ChangeRequest, *, now: datetime, actor: Actor) -> ChangeRequest:
    """What time makes of an open request, its row locked by the caller, who publishes. Raises ServiceError where it cannot be done."""
    facts = facts_of(row)
    flag = flag_of(row) if row.state == choices.SCHEDULED else None
    two_now = False
    if flag is not None:
        two_now = rule_for(flag, standing_of(flag).at(now), standing_asked(row)) is not None
    step = rules.due(facts, now=now, two_now=two_now)
    if step.change == facts:
        return row
    step_take(row, step.change)
    if row.state == choices.FAILED:
        row.detail = "since it was scheduled a rule asks for a second person: ask for it again"
    elif row.state == choices.MISSED:
        row.detail = (
            "nothing ran scheduled flips at its time, and then it was too late"
            if not row.until or row.until > now
            else "its end had passed"
        )
    elif step.flip and flag is not None:
        asker_still_may(row, flag)
        changed = rules.conflicts(definition_of(row.agreed), definition_of(told_of(flag)))
        if changed:
            names = ", ".join(conflict.field.replace("_", " ") for conflict in changed)
            raise ServiceError(f"what the flag does changed since ({names}): ask for it again")
        if row.turn_on and flag.expired(now):
            raise ServiceError("the flag had expired")
        row.detail = rules.lateness(row.at or now, now)
        change_flip(row, flag, actor=actor, now=now)
    row.save()
    before = {"state": facts.state}
    change_note(actor, f"change.{'apply' if step.flip else row.state}", row, before, request_facts(row), row.detail or row.reason)
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
    step_take(row, rules.failed(facts_of(row)).change)
    row.detail = why[:500]
    row.save()
    change_note(actor, "change.failed", row, {"state": before}, {"state": row.state}, row.detail)
    telling.came_of(row)


def change_flip(row: ChangeRequest, flag: Flag, *, actor: Actor, now: datetime) -> None:
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
    if standing_of(flag) == standing_asked(row):
        row.detail = "; ".join(filter(None, [row.detail, "the flag stood so already"]))
        return
    with agreed(flag, standing_asked(row)):
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
