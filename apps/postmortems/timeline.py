"""A timeline: what stands in it, and how it fills itself.

Every entry made of something recorded elsewhere names its source, and a source has one entry in a timeline: filling again, from wherever,
adds only what is not there, however late it was recorded. What people hid stays hidden, because its entry stays.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import Case, QuerySet, Value, When
from django.utils import timezone as clock

from apps.postmortems import incident_choices as choices
from apps.postmortems.incident_models import Incident, TimelineEntry
from apps.postmortems.timeline_sources import Fact, alert_facts, facts_of, places_of

BEFORE = timedelta(hours=1)
"""What happened so long before it began may have begun it."""
AFTER = timedelta(minutes=30)
"""What happens so long after it was resolved still belongs to the story."""
FOLLOWED = timedelta(days=7)
"""So long after it was resolved, what was recorded late is still taken in."""
MOST_FILLED = 5_000
"""Entries of one timeline that were not written by people."""
_CAUSE_FIRST = Case(When(source__startswith="fact:", then=Value(0)), default=Value(1))
"""Of one moment, what happened stands before what was made of it: an alert that fired before the incident that it declared, however much
later the fact was taken in."""


def entry_add(
    *,
    incident: Incident,
    kind: str,
    title: str,
    at: datetime | None = None,
    text: str = "",
    tone: str = "neutral",
    by: str = "",
    url: str = "",
    source: str = "",
) -> TimelineEntry:
    """Write one entry, in the caller's transaction; with a source that is there already, that entry. Not audited: what it tells of is."""
    if kind not in choices.ENTRY_KINDS:
        raise LookupError(f"{kind!r} is no kind of entry: one of {', '.join(choices.ENTRY_KINDS)}")
    facts = {
        "at": at or clock.now(), "kind": kind, "title": title[:300], "text": text, "tone": tone, "by": by[:500], "url": url[:500]
    }  # fmt: skip
    if not source:
        return TimelineEntry.objects.create(incident=incident, **facts)
    return TimelineEntry.objects.get_or_create(incident=incident, source=source[:80], defaults=facts)[0]


def entries_of(incident: Incident, *, hidden: bool = False) -> QuerySet[TimelineEntry]:
    """Its entries with their attachments (but for their bodies), oldest first; with ``hidden`` also those that people left out."""
    rows = TimelineEntry.objects.filter(incident=incident).select_related("attachment").defer("attachment__body")
    return (rows if hidden else rows.filter(hidden=False)).order_by("at", _CAUSE_FIRST, "id")


def stretch_of(incident: Incident, *, now: datetime) -> tuple[datetime, datetime]:
    """From when to when things belong into the timeline."""
    begin = min(filter(None, (incident.started_at, incident.detected_at, incident.impact_from)))
    ends = [at for at in (incident.resolved_at, incident.closed_at) if at is not None]
    return begin - BEFORE, min(max(ends) + AFTER, now) if ends else now


def timeline_fill(incident: Incident, *, now: datetime | None = None) -> int:
    """Take in what was recorded elsewhere and is not in the timeline yet; how many entries. Two fillings at once make none twice."""
    moment = now or clock.now()
    start, end = stretch_of(incident, now=moment)
    organisation = incident.organisation
    facts = [
        *facts_of(organisation, start, end + timedelta(microseconds=1), places_of(organisation)),
        *alert_facts(organisation, start, end),
    ]
    with transaction.atomic():
        there = set(TimelineEntry.objects.filter(incident=incident).exclude(source="").values_list("source", flat=True))
        wanted = [fact for fact in facts if fact.change.key not in there and not _own(fact, incident)][: max(0, MOST_FILLED - len(there))]
        TimelineEntry.objects.bulk_create([_entry(incident, fact) for fact in wanted], ignore_conflicts=True, batch_size=500)
        Incident.objects.filter(pk=incident.pk).update(filled_until=moment)
    return len(wanted)


def to_fill(*, now: datetime | None = None) -> QuerySet[Incident]:
    """Incidents whose timelines still fill: open ones, and those resolved lately; without merged and cancelled ones."""
    moment = now or clock.now()
    rows = Incident.objects.select_related("organisation").exclude(state__in=(choices.MERGED, choices.CANCELLED))
    return (rows.filter(state__in=choices.OPEN) | rows.filter(resolved_at__gte=moment - FOLLOWED)).order_by("number")


def _entry(incident: Incident, fact: Fact) -> TimelineEntry:
    change = fact.change
    return TimelineEntry(
        incident=incident,
        at=change.at,
        kind=choices.ALERT_EVENT if fact.alert else choices.FACT,
        source=change.key,
        title=change.title,
        text=change.text,
        tone=fact.tone,
        url=change.url[:500],
        by=change.who,
    )


def _own(fact: Fact, incident: Incident) -> bool:
    """Whether a fact is this incident's own, which its timeline tells by itself."""
    return fact.change.url.rstrip("/").endswith(f"/incidents/{incident.pk}")
