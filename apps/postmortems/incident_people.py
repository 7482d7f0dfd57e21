"""Who does what in an incident: roles, and saying that one looks after it."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from django.db import transaction
from django.utils import timezone as clock

from apps.accounts.selectors import permission_require, permitted
from apps.alerts.choices import FIRING
from apps.alerts.services import alert_acknowledge
from apps.audit.errors import ServiceError
from apps.audit.services import change_record
from apps.postmortems import incident_choices as choices
from apps.postmortems.incident_checks import check_person
from apps.postmortems.incident_followers import follow
from apps.postmortems.incident_models import Incident
from apps.postmortems.incident_services import locked
from apps.postmortems.timeline import entry_add

if TYPE_CHECKING:
    from apps.accounts.models import User
    from apps.alerts.models import Alert
    from apps.audit.actors import Actor


@transaction.atomic
def incident_role_set(*, actor: Actor, incident: Incident, role: str, person: User | None, now: datetime | None = None) -> Incident:
    """Give a role to somebody, or to nobody. The same person again changes nothing. Raises ServiceError for who left or may only look."""
    row = locked(actor, incident)
    if role not in choices.ROLES:
        raise ServiceError(f"{role[:30]!r} is no role: one of {', '.join(choices.ROLES)}", "role")
    found = check_person(row.organisation, person, "person")
    old: User | None = getattr(row, role)
    if (old.pk if old else None) == (found.pk if found else None):
        return row
    setattr(row, role, found)
    row.save(update_fields=[role, "changed_at"])
    before, after = (one.email if one else "" for one in (old, found))
    change_record(actor, "incident.role", row, {role: before}, {role: after})
    label = choices.ROLES[role]
    title = f"{label}: {found.name or found.email}" if found else f"{label}: nobody"
    entry_add(incident=row, kind=choices.ROLE, title=title, at=now or clock.now(), by=actor.name)
    return row


@transaction.atomic
def incident_acknowledge(*, actor: Actor, incident: Incident, now: datetime | None = None) -> Incident:
    """Say that somebody looks after it, and after its alerts that fire, where one may. A second time changes nothing."""
    row = locked(actor, incident)
    at = now or clock.now()
    if row.acknowledged_at is None and row.open:
        acknowledged(row, at=at, by=actor.name)
        change_record(actor, "incident.acknowledge", row, {}, {"acknowledged_at": at.isoformat()})
    for alert in row.alerts.select_related("rule", "organisation").filter(state=FIRING):
        if permitted(actor=actor, action="alert.acknowledge", organisation=row.organisation, team=alert.rule.owner_id):
            alert_acknowledge(actor=actor, alert=alert, note=row.reference, now=at)
    return row


def acknowledged(row: Incident, *, at: datetime, by: str) -> None:
    """Write down that somebody looks after it; its row locked by the caller."""
    row.acknowledged_at = max(at, row.detected_at)
    row.save(update_fields=["acknowledged_at", "changed_at"])
    entry_add(incident=row, kind=choices.STATE, title="Acknowledged", at=row.acknowledged_at, tone="info", by=by)
    follow(row, "times")


@transaction.atomic
def incident_alert_attach(*, actor: Actor, incident: Incident, alert: Alert, now: datetime | None = None) -> Incident:
    """Say that an alert belongs to an incident. A second time changes nothing. Raises ServiceError."""
    row = locked(actor, incident)
    permission_require(actor=actor, action="alert.view", organisation=row.organisation)
    if alert.organisation_id != row.organisation_id:
        raise ServiceError("that alert is another organisation's", "alert")
    if row.alerts.filter(pk=alert.pk).exists():
        return row
    row.alerts.add(alert)
    name = f"{alert.rule.title} {alert.subject}".strip()
    change_record(actor, "incident.alert", row, {}, {"alert": name})
    entry_add(incident=row, kind=choices.ALERT_EVENT, title=f"Alert attached: {name}", at=now or clock.now(), by=actor.name)
    return row
