"""Reading the audit trail and the event log."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from django.db.models import QuerySet

from apps.audit.models import AuditEvent, Event


def audit_events(
    *, subject_kind: str | None = None, subject_id: object | None = None, action: str | None = None, actor_id: str | None = None
) -> QuerySet[AuditEvent]:
    """The trail, newest first; narrowed by subject, action and who where given."""
    events = AuditEvent.objects.all()
    if subject_kind is not None:
        events = events.filter(subject_kind=subject_kind)
    if subject_id is not None:
        events = events.filter(subject_id=str(subject_id))
    if action is not None:
        events = events.filter(action=action)
    if actor_id is not None:
        events = events.filter(actor_id=actor_id)
    return events.order_by("-seq")


def events_between(start: datetime, end: datetime, kinds: Collection[str] | None = None) -> QuerySet[Event]:
    """Facts with ``start <= at < end``, oldest first; of the given kinds, or of all."""
    events = Event.objects.filter(at__gte=start, at__lt=end)
    if kinds is not None:
        events = events.filter(kind__in=list(kinds))
    return events.order_by("at", "id")


def events_about(*, subject_kind: str, subject_id: object) -> QuerySet[Event]:
    """Facts about one subject, oldest first."""
    return Event.objects.filter(subject_kind=subject_kind, subject_id=str(subject_id)).order_by("at", "id")
