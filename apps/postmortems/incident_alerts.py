"""What alerts do to incidents: a rule that says so opens one, or joins the one that names what it is about; being taken, both are.

Called by ``apps.alerts`` in the transaction that changes the alert, at most once for each event that is handed over; all of it is safe to
run twice.
"""

from __future__ import annotations

from django.db import connection
from django.db.models import QuerySet

from apps.alerts import choices as alert_choices
from apps.alerts.models import Alert, AlertEvent
from apps.audit.actors import Actor
from apps.postmortems import incident_choices as choices
from apps.postmortems.incident_models import Incident
from apps.postmortems.incident_people import acknowledged
from apps.postmortems.incident_rules import joins
from apps.postmortems.incident_services import incident_declare
from apps.postmortems.timeline import entry_add

ACTOR = Actor.system("alerts")
OPENING = ("fired", "worsened", "unsilenced", "uninhibited")
"""Events that people are told of, and that open an incident where the rule says so."""
_FIELDS = {"route": "routes", "provider": "providers", "service": "services"}


def alert_followed(alert: Alert, event: AlertEvent) -> None:
    """What an event of an alert means for incidents."""
    if event.kind in OPENING and not event.muted and alert.rule.opens_incident:
        _open(alert, event)
    elif event.kind == "acknowledged":
        for row in _of(alert).filter(acknowledged_at=None):
            acknowledged(row, at=event.at, by=event.actor)
    elif event.kind in ("resolved", "cleared"):
        for row in _of(alert):
            if not row.alerts.exclude(state=alert_choices.RESOLVED).exclude(pk=alert.pk).exists():
                entry_add(
                    incident=row, kind=choices.ALERT_EVENT, title="Every alert of it is over", at=event.at, tone="good",
                    source=f"over:{event.pk}",
                )  # fmt: skip


def _of(alert: Alert) -> QuerySet[Incident]:
    """Open incidents that the alert belongs to, locked."""
    rows = Incident.objects.select_for_update(of=("self",), no_key=True).select_related("organisation")
    return rows.filter(alerts=alert, state__in=choices.OPEN)


def _open(alert: Alert, event: AlertEvent) -> None:
    """One incident for an alert: the one that it belongs to, that names what it is about, or a new one."""
    with connection.cursor() as cursor:  # two alerts of one thing at once: the second joins the first one's
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [f"incident of alerts {alert.organisation_id}"])
    if Incident.objects.filter(alerts=alert).exclude(state=choices.CANCELLED).exists():
        return
    opened = Incident.objects.filter(organisation=alert.organisation, state__in=choices.OPEN).order_by("severity", "-number")
    scopes = {
        row.pk: {"route": frozenset(row.routes), "provider": frozenset(row.providers), "service": frozenset(row.services)} for row in opened
    }
    found = joins(alert.subject, alert.by, scopes)
    name = f"{alert.rule.title}: {alert.subject}" if alert.subject else alert.rule.title
    if found is not None:
        row = Incident.objects.select_for_update(of=("self",), no_key=True).get(pk=found)
        row.alerts.add(alert)
        entry_add(
            incident=row,
            kind=choices.ALERT_EVENT,
            title=f"Alert joined: {name}"[:300],
            at=event.at,
            tone="bad",
            source=f"joined:{event.pk}",
        )
        return
    incident_declare(
        actor=ACTOR,
        organisation=alert.organisation,
        title=name[:200],
        severity=alert.rule.opens_incident,
        source=choices.ALERT,
        started_at=alert.started_at,
        detected_at=alert.fired_at or event.at,
        alerts=[alert],
        now=max(event.at, alert.fired_at or event.at),
        **scope_of_alert(alert),
    )


def scope_of_alert(alert: Alert) -> dict[str, list[str]]:
    """What an alert says is hit, for a person who declares from it."""
    field = _FIELDS.get(alert.by, "")
    return {field: [alert.subject]} if field and alert.subject and alert.subject != alert_choices.OTHER else {}
