"""Writing action items: making and changing them, ending them, and what their checks make of them. All audited."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from urllib.parse import urlsplit

from django.db import transaction
from django.db.models import Max
from django.urls import reverse
from django.utils import timezone as clock

from apps.accounts.models import Organisation, User
from apps.accounts.selectors import permission_require
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.rules import clean_text
from apps.audit.services import change_record
from apps.ownership.checks import check_line
from apps.postmortems import action_rules as rules
from apps.postmortems.action_checks import CHECKS
from apps.postmortems.models import ActionItem, Postmortem
from apps.postmortems.postmortem_selectors import template_now
from apps.postmortems.postmortem_telling import tracker_told

ACTION = "action_item.change"


@dataclass(frozen=True, slots=True)
class ActionSpec:
    """An action item as somebody writes it. check: a key of ``CHECKS`` and the short name of what it looks at, both empty for none."""

    title: str
    outcome: str
    owner: User
    due_on: date
    priority: str = "p2"
    check_kind: str = ""
    check_of: str = ""
    tracker_url: str = ""


@transaction.atomic
def action_create(
    *, actor: Actor, organisation: Organisation, spec: ActionSpec, postmortem: Postmortem | None = None, now: datetime | None = None
) -> ActionItem:
    """A new one, of a postmortem or of none. Raises ServiceError for what nobody could verify, an owner who left, a due date in the
    past."""
    permission_require(actor=actor, action=ACTION, organisation=organisation)
    now = now or clock.now()
    if postmortem is not None and postmortem.organisation_id != organisation.pk:
        raise ServiceError("The postmortem belongs to another organisation.", "postmortem")
    facts = _checked(organisation, spec)
    if spec.due_on < now.date():
        raise ServiceError("It is due in the past: choose today or later.", "due_on")
    Organisation.objects.select_for_update(no_key=True).get(pk=organisation.pk)  # numbers are given one by one
    highest: int | None = ActionItem.objects.filter(organisation=organisation).aggregate(most=Max("number"))["most"]
    row = ActionItem.objects.create(
        organisation=organisation, postmortem=postmortem, number=(highest or 0) + 1, created_by=actor.name[:500], **facts
    )
    change_record(actor, "action_item.create", row, {}, action_facts(row))
    _tell_tracker(row, "created", now)
    return row


@transaction.atomic
def action_update(*, actor: Actor, action: ActionItem, spec: ActionSpec, reason: str = "") -> ActionItem:
    """Made as given; the same again changes nothing. Raises ServiceError."""
    row = _locked(actor, action)
    facts = _checked(row.organisation, spec)
    before = action_facts(row)
    if (row.check_kind, row.check_of) != (facts["check_kind"], facts["check_of"]):
        row.verdict, row.verdict_at, row.verdict_why = "", None, ""
    for name, value in facts.items():
        setattr(row, name, value)
    after = action_facts(row)
    if before == after:
        return row
    row.save()
    changed = {name: value for name, value in before.items() if after[name] != value}
    change_record(actor, "action_item.update", row, changed, {name: after[name] for name in changed}, clean_text(reason, 2000))
    return row


@transaction.atomic
def action_done(*, actor: Actor, action: ActionItem, note: str = "", now: datetime | None = None) -> ActionItem:
    """Say that it is done. One that is bound to a check that fails is not; a second time changes nothing. Raises ServiceError."""
    row = _locked(actor, action)
    if row.state == rules.DONE:
        return row
    now = now or clock.now()
    if row.check_kind:
        _judge(row, now)
        if row.verdict == rules.FAILS:
            raise ServiceError(f"Its check fails: {row.verdict_why}. It is done once the check passes, or take the check away.", "state")
    return _ended(actor, row, rules.DONE, clean_text(note, 2000), now)


@transaction.atomic
def action_decline(*, actor: Actor, action: ActionItem, reason: str, now: datetime | None = None) -> ActionItem:
    """Say that it will not be done, and why. Raises ServiceError without a reason."""
    row = _locked(actor, action)
    if not reason.strip():
        raise ServiceError("Say why it will not be done: whoever meets the next incident will ask.", "reason")
    return row if row.state == rules.DECLINED else _ended(actor, row, rules.DECLINED, clean_text(reason, 2000), now or clock.now())


@transaction.atomic
def action_reopen(*, actor: Actor, action: ActionItem, reason: str = "", now: datetime | None = None) -> ActionItem:
    """Make it open again."""
    row = _locked(actor, action)
    if row.state == rules.OPEN:
        return row
    if not reason.strip():
        raise ServiceError("Say why it is open again.", "reason")
    return _reopened(actor, row, clean_text(reason, 2000), now or clock.now())


@transaction.atomic
def action_check(*, action: ActionItem, now: datetime | None = None) -> str:
    """Ask an action's check, and move the action where it says so (``action_rules.moved``); the state afterwards. Safe to run at any time,
    also side by side: a row is moved once."""
    now = now or clock.now()
    row = ActionItem.objects.select_for_update(of=("self",)).select_related("organisation", "owner", "postmortem").get(pk=action.pk)
    if row.check_kind not in CHECKS:
        return row.state
    _judge(row, now)
    move = rules.moved(row.state, row.verdict)
    actor = Actor.system("checks")
    if move is not None and move.state == rules.DONE:
        _ended(actor, row, rules.DONE, f"{move.why}: {row.verdict_why}"[:2000], now)
    elif move is not None:
        _reopened(actor, row, f"{move.why}: {row.verdict_why}"[:2000], now)
    return row.state


def _judge(row: ActionItem, now: datetime) -> None:
    found = CHECKS[row.check_kind].judge(row.organisation, row.check_of, now=now)
    row.verdict, row.verdict_at, row.verdict_why = found.verdict, now, found.why[:500]
    ActionItem.objects.filter(pk=row.pk).update(verdict=row.verdict, verdict_at=now, verdict_why=row.verdict_why)


def _ended(actor: Actor, row: ActionItem, state: str, reason: str, now: datetime) -> ActionItem:
    before, row.state, row.decided_at, row.decided_by, row.reason = row.state, state, now, actor.name[:500], reason
    row.save(update_fields=["state", "decided_at", "decided_by", "reason", "changed_at"])
    change_record(actor, f"action_item.{'done' if state == rules.DONE else 'decline'}", row, {"state": before}, {"state": state}, reason)
    _tell_tracker(row, state, now)
    return row


def _reopened(actor: Actor, row: ActionItem, reason: str, now: datetime) -> ActionItem:
    before, row.state, row.reason = row.state, rules.OPEN, reason
    row.reopened += 1
    row.decided_at, row.decided_by = None, ""
    row.save(update_fields=["state", "reason", "reopened", "decided_at", "decided_by", "changed_at"])
    change_record(actor, "action_item.reopen", row, {"state": before}, {"state": rules.OPEN}, reason)
    _tell_tracker(row, "reopened", now)
    return row


def _tell_tracker(row: ActionItem, what: str, now: datetime) -> None:
    template = template_now(row.organisation).row
    url = reverse("postmortems:action", args=[row.pk])
    lines = [row.title, f"Done when: {row.outcome}", f"Owner: {row.owner.email if row.owner else 'nobody'}, due {row.due_on}", row.reason]
    tracker_told(
        template.tracker if template else None, organisation=row.organisation, about=f"action:{row.pk}:{what}:{row.reopened}",
        what=f"action.{what}", title=f"{row.reference} {what}: {row.title}", lines=[line for line in lines if line], url=url,
        links=[("Tracker", row.tracker_url)] if row.tracker_url else [], now=now,
    )  # fmt: skip


def _checked(organisation: Organisation, spec: ActionSpec) -> dict[str, Any]:
    title = check_line(spec.title, what="the action a title", field="title")
    outcome = check_line(spec.outcome, what="an outcome that somebody else could verify", field="outcome", longest=1000)
    if not spec.owner.is_active or not spec.owner.memberships.filter(organisation=organisation).exists():
        raise ServiceError(f"{spec.owner.email} left, or does not belong to {organisation.name}: choose somebody who is here.", "owner")
    if spec.priority not in rules.PRIORITIES:
        raise ServiceError(f"{spec.priority!r} is no priority: one of {', '.join(rules.PRIORITIES)}.", "priority")
    if bool(spec.check_kind) != bool(spec.check_of):
        raise ServiceError("A check takes its kind and what it looks at: name both, or neither.", "check_of")
    if spec.check_kind:
        if spec.check_kind not in CHECKS:
            raise ServiceError(f"{spec.check_kind!r} is no kind of check: one of {', '.join(CHECKS)}.", "check_kind")
        known = dict(CHECKS[spec.check_kind].choices(organisation))
        if spec.check_of not in known:
            label = CHECKS[spec.check_kind].label.lower()
            raise ServiceError(f"There is no {label} {spec.check_of!r}: choose one that there is.", "check_of")
    url = spec.tracker_url.strip()
    if url and (urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).hostname or len(url) > 1000):
        raise ServiceError("The tracker's address begins with https:// or http://.", "tracker_url")
    return {
        "title": title, "outcome": outcome, "owner": spec.owner, "due_on": spec.due_on, "priority": spec.priority,
        "check_kind": spec.check_kind, "check_of": spec.check_of, "tracker_url": url,
    }  # fmt: skip


def action_facts(row: ActionItem) -> dict[str, Any]:
    """What the audit keeps."""
    return {
        "title": row.title, "outcome": row.outcome, "owner": row.owner.email if row.owner else "", "due_on": row.due_on,
        "priority": row.priority, "check": f"{row.check_kind}:{row.check_of}" if row.check_kind else "", "tracker_url": row.tracker_url,
    }  # fmt: skip


def _locked(actor: Actor, action: ActionItem) -> ActionItem:
    permission_require(actor=actor, action=ACTION, organisation=action.organisation)
    rows = ActionItem.objects.select_for_update(of=("self",)).select_related("organisation", "owner", "postmortem__incident")
    return rows.get(pk=action.pk)
