"""What incidents need without anybody asking: timelines filled, impacts measured. One run at a time; safe to run twice."""

from __future__ import annotations

import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from uuid import UUID

from django.db import connection
from django.utils import timezone as clock

from apps.postmortems import incident_choices as choices
from apps.postmortems.impact_services import impact_refresh, to_measure
from apps.postmortems.incident_models import ChatCall
from apps.postmortems.timeline import timeline_fill, to_fill
from controlplane.away import database_away

log = logging.getLogger("bulkhead.incidents")
QUIET = timedelta(minutes=5)
"""Incidents that are resolved are looked after so often."""
_LOCK = "incident upkeep"


def incidents_follow(*, now: datetime | None = None) -> int:
    """Fill and measure what is due; how many incidents were looked after. One that fails does not hold up the others."""
    moment = now or clock.now()
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [_LOCK])
        if not cursor.fetchone()[0]:
            return 0
    try:
        done = set()
        for incident in to_fill(now=moment):
            if incident.state in choices.OPEN or incident.filled_until is None or incident.filled_until < moment - QUIET:
                done |= _tried(incident.pk, lambda incident=incident: timeline_fill(incident, now=moment))
        for incident_id in to_measure(now=moment).values_list("pk", flat=True):
            done |= _tried(incident_id, lambda incident_id=incident_id: impact_refresh(incident_id, now=moment))
        return len(done)
    finally:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_advisory_unlock(hashtextextended(%s, 0))", [_LOCK])


def chat_calls_forget(*, now: datetime | None = None) -> int:
    """Forget slash commands whose timestamps are refused by now anyway; how many."""
    return ChatCall.objects.filter(at__lt=(now or clock.now()) - timedelta(hours=1)).delete()[0]


def _tried(incident_id: UUID, act: Callable[[], object]) -> set[UUID]:
    """The incident, where it could be looked after. A database that is away is everybody's trouble, and raised."""
    try:
        act()
    except Exception as error:
        if database_away(error):
            raise
        log.exception("incident %s could not be looked after; it is tried again", incident_id)
        return set()
    return {incident_id}
