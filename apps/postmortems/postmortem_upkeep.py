"""What runs by itself: postmortems that incidents need are begun, people are reminded, checks are asked. Each safe to run at any time,
twice, and side by side: what is told has a key that is told once, rows are moved under their lock."""

from __future__ import annotations

import logging
from datetime import datetime, timedelta

from django.db.models import Q
from django.urls import reverse
from django.utils import timezone as clock

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.postmortems import action_rules as rules
from apps.postmortems import postmortem_choices as choices
from apps.postmortems.action_checks import CHECKS
from apps.postmortems.action_services import action_check
from apps.postmortems.incident_selectors import severities_of
from apps.postmortems.models import ActionItem, Incident, Postmortem
from apps.postmortems.postmortem_evidence import evidence_ask, evidence_recover
from apps.postmortems.postmortem_rules import reminder_of
from apps.postmortems.postmortem_selectors import incidents_lacking
from apps.postmortems.postmortem_services import postmortem_create
from apps.postmortems.postmortem_telling import leads_of, managers_of, told
from controlplane.away import database_away

ACTOR = Actor.system("postmortems")
CHECKED_EVERY = timedelta(minutes=30)
AT_ONCE = 200

log = logging.getLogger("bulkhead.postmortems")


def postmortems_run(*, now: datetime | None = None) -> int:
    """Begin what is needed, remind of what is due; how many people were told anew."""
    now = now or clock.now()
    evidence_recover()
    for organisation in Organisation.objects.filter(incidents__isnull=False).distinct():
        levels = [level for level, meaning in severities_of(organisation).items() if meaning.postmortem]
        for incident in incidents_lacking(organisation, levels)[:AT_ONCE]:
            postmortem_begin(incident, now=now)
    rows = Postmortem.objects.exclude(state=choices.PUBLISHED).filter(due_at__isnull=False, due_at__lt=now + timedelta(days=7))
    return sum(_remind(row, now) for row in rows.select_related("incident", "owner", "organisation").order_by("due_at")[:AT_ONCE])


def postmortem_begin(incident: Incident, *, now: datetime | None = None) -> Postmortem:
    """The postmortem of an incident that needs one, with its evidence asked for; the one that there is, where there is one."""
    row = postmortem_create(actor=ACTOR, incident=incident, now=now)
    if not row.take and row.taking is None and not row.taking_error:
        evidence_ask(actor=ACTOR, postmortem=row)
    return row


def _remind(row: Postmortem, now: datetime) -> int:
    assert row.due_at is not None
    reminder = reminder_of(row.due_at, now)
    if reminder is None:
        return 0
    owner = row.owner if row.owner is not None and row.owner.is_active else None
    late = reminder.key.startswith("overdue")
    title = f"The postmortem of {row.incident.reference} is {'overdue' if late else 'due soon'}"
    lines = [
        f"{row.incident.reference} ({row.incident.severity.upper()}): {row.incident.title}",
        f"{'It was' if late else 'It is'} due on {row.due_at:%Y-%m-%d}. It is {row.status.label.lower()}.",
        f"Its owner is {owner.email}." if owner else "Nobody owns it: give it an owner.",
    ]
    url, about = reverse("postmortems:postmortem", args=[row.pk]), f"postmortem:{row.pk}:{reminder.key}"
    given = {"organisation": row.organisation, "title": title, "lines": lines, "url": url, "now": now}
    count = told([owner] if owner else leads_of(row.organisation), about=about, **given)  # type: ignore[arg-type]
    if reminder.up and owner is not None:
        count += told(managers_of(owner, row.organisation), about=f"{about}:up", up=True, **given)  # type: ignore[arg-type]
    return count


def actions_run(*, now: datetime | None = None) -> int:
    """Ask the checks of actions, then nudge owners of open ones; how many people were told anew."""
    now = now or clock.now()
    due = Q(verdict_at=None) | Q(verdict_at__lt=now - CHECKED_EVERY)
    bound = ActionItem.objects.filter(due, check_kind__in=list(CHECKS)).exclude(state=rules.DECLINED)
    for row in bound.order_by("verdict_at")[:AT_ONCE]:
        try:
            action_check(action=row, now=now)
        except Exception as error:  # one check that breaks must not keep the others from being asked
            if database_away(error):
                raise
            log.exception("postmortems: the check of %s", row.reference)
    soon = ActionItem.objects.filter(state=rules.OPEN, due_on__lte=(now + rules.EARLY).date())
    return sum(_nudge(row, now) for row in soon.select_related("owner", "organisation").order_by("due_on")[: AT_ONCE * 5])


def _nudge(row: ActionItem, now: datetime) -> int:
    key = rules.nudge_of(row.due_on, now.date())
    if not key:
        return 0
    owner = row.owner if row.owner is not None and row.owner.is_active else None
    days = (row.due_on - now.date()).days
    when = f"due in {days} day{'' if days == 1 else 's'}" if days > 0 else "due today" if days == 0 else f"overdue since {row.due_on}"
    lines = [row.title, f"Done when: {row.outcome}", f"It is {when}.", "" if owner else "Nobody owns it any more: give it to somebody."]
    return told(
        [owner] if owner else leads_of(row.organisation), organisation=row.organisation, about=f"action:{row.pk}:{key}",
        title=f"{row.reference} is {when}: {row.title}", lines=[line for line in lines if line],
        url=reverse("postmortems:action", args=[row.pk]), now=now,
    )  # fmt: skip
