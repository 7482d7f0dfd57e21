"""What happens to an alert is a row, added in the transaction that changes the alert and handed in it to whoever tells people.

``apps.alerts.notifying.alert_changed(alert, event)`` is called inside that transaction, so that what it writes down (deliveries) exists
exactly where the event does; it sends nothing itself. Where it raises, the alert's change stays and the event is handed over again with
the next minute (``events_hand``): no alert is lost to a fault of telling.
"""

from __future__ import annotations

import logging
from datetime import datetime
from uuid import UUID

from django.db import transaction
from django.utils import timezone as clock

from apps.alerts import choices
from apps.alerts.followers import follow
from apps.alerts.models import Alert, AlertEvent
from apps.audit.registry import event_record
from controlplane.away import database_away

log = logging.getLogger("bulkhead.alerts")
MOST_AT_ONCE = 500


def event_add(alert: Alert, kind: str, *, at: datetime, actor: str = "", note: str = "", muted: bool = True) -> AlertEvent:
    """Write one event down, hand it over, and record the fact where the alert fired or ended. In the caller's transaction."""
    event = AlertEvent.objects.create(
        alert=alert,
        at=at,
        kind=kind,
        actor=actor[:500],
        note=note[:2000],
        severity=alert.severity,
        value=alert.value,
        muted=muted,
    )
    fact = {"fired": choices.FIRED_EVENT, "resolved": choices.RESOLVED_EVENT}.get(kind)
    if fact is not None:
        event_record(
            kind=fact,
            subject_kind="alert",
            subject_id=alert.pk,
            subject_name=f"{alert.rule.title}: {alert.subject}" if alert.subject else alert.rule.title,
            at=at,
            data={
                "organisation": str(alert.organisation_id),
                "rule": alert.rule.name,
                "by": alert.by,
                "subject": alert.subject,
                "severity": alert.severity,
            },
        )
    _hand(alert, event)
    return event


def events_hand(organisation: UUID) -> int:
    """Hand over what could not be handed over before, the oldest first; how many that was. In the caller's transaction."""
    waiting = list(
        AlertEvent.objects.filter(handed_at=None, alert__organisation=organisation)
        .order_by("id")
        .values_list("pk", flat=True)[:MOST_AT_ONCE]
    )
    if not waiting:
        return 0
    rows = AlertEvent.objects.filter(pk__in=waiting).select_related("alert__rule__owner", "alert__organisation")
    return sum(_hand(event.alert, event) for event in rows.order_by("id"))


def _hand(alert: Alert, event: AlertEvent) -> bool:
    from apps.alerts.notifying import alert_changed  # it may read alerts by their selectors, which stand above this

    try:
        with transaction.atomic():
            alert_changed(alert, event)
            follow(alert, event)
    except Exception as error:
        if database_away(error):
            raise
        log.exception("alert %s: %s could not be handed over; it is tried again with the next minute", alert.pk, event.kind)
        return False
    event.handed_at = clock.now()
    event.save(update_fields=["handed_at"])
    return True
