"""Keeping what an incident did up to date: the window that the data propose, and the measurement of it.

A window that a person set is measured as it stands and never moved. Nothing here is a decision, so nothing is audited.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from uuid import UUID

from django.db.models import Q, QuerySet
from django.utils import timezone as clock

from apps.postmortems import incident_choices as choices
from apps.postmortems.impact import Impact, impact_minutes, impact_of
from apps.postmortems.impact_rules import MinuteImpact, Window, window_propose
from apps.postmortems.incident_models import Incident
from apps.usage.impacts import LONGEST

USUAL = timedelta(hours=1)
"""So much time before shows what is usual; and so much before it was noticed, people may have felt it."""
AFTER = timedelta(minutes=15)
"""So long after it was resolved, requests may still have failed."""
EVERY = timedelta(seconds=60)
"""Open incidents are measured so often."""


def looked_at(incident: Incident, *, now: datetime) -> tuple[datetime, datetime]:
    """From when to when the impact is looked for."""
    start = min(incident.started_at, incident.detected_at) - USUAL
    end = min(incident.resolved_at + AFTER, now) if incident.resolved_at is not None else now
    return max(start, end - LONGEST + 2 * USUAL), end


def minutes_around(incident: Incident, *, now: datetime) -> tuple[list[MinuteImpact], list[MinuteImpact]]:
    """(minutes that show what is usual, minutes in which the impact is looked for): one query."""
    start, end = looked_at(incident, now=now)
    found = impact_minutes(
        organisation=incident.organisation, routes=incident.routes, since=start - USUAL, until=end, simulated=incident.simulated, now=now
    )
    return [one for one in found if one.at < start], [one for one in found if one.at >= start]


def window_proposed(incident: Incident, *, now: datetime | None = None) -> Window | None:
    """The window that the data propose now; None where nothing is beyond what is usual. One query."""
    return window_propose(*minutes_around(incident, now=now or clock.now()), noticed=incident.started_at)


def impact_refresh(incident_id: UUID, *, now: datetime | None = None) -> Impact | None:
    """Move the window with the data, where it follows them, and measure it; None where there is nothing to measure.

    Seconds on a large window: for a task. ``Incident.impact_progress`` says how far it is.
    """
    incident = Incident.objects.select_related("organisation").get(pk=incident_id)
    moment = now or clock.now()
    rows = Incident.objects.filter(pk=incident_id)
    since, until = incident.impact_from, incident.impact_until
    if not incident.impact_set_by:
        window = window_proposed(incident, now=moment)
        since, until = (window.since, window.until) if window is not None else (None, None)
        if not rows.filter(impact_set_by="").update(impact_from=since, impact_until=until):
            return None  # a person has set it meanwhile: the next run measures that
    if since is None:
        rows.update(impact={}, impact_at=moment, impact_progress=None)
        return None
    end = until or min(moment, (incident.resolved_at or moment) + AFTER)
    rows.update(impact_progress=0)
    try:
        found = impact_of(
            organisation=incident.organisation,
            routes=incident.routes,
            since=max(since, end - LONGEST + timedelta(minutes=2)),
            until=max(end, since + timedelta(minutes=1)),
            simulated=incident.simulated,
            progress=lambda percent: rows.update(impact_progress=percent) and None,
            now=moment,
        )
    finally:
        rows.update(impact_progress=None)
    rows.update(impact=found.document(), impact_at=moment)
    return found


def to_measure(*, now: datetime | None = None) -> QuerySet[Incident]:
    """Incidents whose measurement is due: open ones each minute, others after a change of their window, and once after their end."""
    moment = now or clock.now()
    due = Q(impact_at=None) | Q(state__in=choices.OPEN, impact_at__lt=moment - EVERY)
    late = Q(resolved_at__gt=moment - 2 * USUAL, impact_at__lt=moment - EVERY)
    return Incident.objects.exclude(state__in=(choices.CANCELLED, choices.MERGED)).filter(due | late).order_by("impact_at", "number")
