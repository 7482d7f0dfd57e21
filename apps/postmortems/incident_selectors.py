"""Reading incidents, severities, and who can work on them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from uuid import UUID

from django.db.models import OuterRef, QuerySet, Subquery
from django.db.models.functions import JSONObject
from django.utils import timezone as clock

from apps.accounts.models import Organisation, User
from apps.accounts.rules import roles_for
from apps.audit.selectors import audit_events
from apps.postmortems import incident_choices as choices
from apps.postmortems.incident_choices import MEANINGS, Meaning
from apps.postmortems.incident_models import Incident, IncidentSeverity

MOST_MERGEABLE = 100
"""Incidents that merging offers."""
_NUMBER = re.compile(r"(?:inc-?)?#?(\d{1,9})", re.IGNORECASE)


def incidents(organisation: Organisation) -> QuerySet[Incident]:
    """An organisation's incidents with their people, the newest first."""
    people = ("organisation", "commander", "scribe", "liaison", "declarer", "merged_into")
    return Incident.objects.filter(organisation=organisation).select_related(*people)


def mergeable(incident: Incident) -> list[tuple[str, str]]:
    """(id, what it is called) of incidents that this one could be part of, the newest first: one query."""
    others = Incident.objects.filter(organisation=incident.organisation, state__in=(*choices.OPEN, choices.RESOLVED))
    rows = others.exclude(pk=incident.pk).order_by("-number").values_list("pk", "number", "title")
    return [(str(pk), f"INC-{number} {title}") for pk, number, title in rows[:MOST_MERGEABLE]]


def open_incidents(organisation: Organisation) -> QuerySet[Incident]:
    """Those that somebody works on, the worst first."""
    return incidents(organisation).filter(state__in=choices.OPEN).order_by("severity", "-number")


def incident_get(organisation: Organisation, reference: str) -> Incident | None:
    """The incident with this id, or number as people write it: ``INC-12``, ``inc12``, ``#12``, ``12``."""
    text = reference.strip()
    found = _NUMBER.fullmatch(text)
    if found is not None:
        return incidents(organisation).filter(number=int(found[1])).first() if int(found[1]) < 2**31 else None
    try:
        return incidents(organisation).filter(pk=UUID(text)).first()
    except ValueError:
        return None


def severities_of(organisation: Organisation) -> dict[str, Meaning]:
    """Level -> what it means here, the worst first: one query."""
    own = {row.level: row for row in IncidentSeverity.objects.filter(organisation=organisation)}
    return {
        level: Meaning(level, own[level].title, own[level].meaning, own[level].postmortem) if level in own else known
        for level, known in MEANINGS.items()
    }


def with_meaning(rows: QuerySet[Incident]) -> QuerySet[Incident]:
    """Incidents with what their severities mean here (``meaning_of``), in the same query."""
    own = IncidentSeverity.objects.filter(organisation=OuterRef("organisation"), level=OuterRef("severity"))
    return rows.annotate(own_meaning=Subquery(own.values(said=JSONObject(title="title", meaning="meaning", postmortem="postmortem"))))


def meaning_of(incident: Incident) -> Meaning:
    """What its severity means here; of a row that ``with_meaning`` read."""
    said = incident.own_meaning  # type: ignore[attr-defined]
    return Meaning(incident.severity, **said) if said else MEANINGS[incident.severity]


def people_of(organisation: Organisation) -> list[User]:
    """Who can hold a role in an incident: active members who may write, by name. One query."""
    roles = [role.value for role in roles_for("incident.note")]
    rows = User.objects.filter(memberships__organisation=organisation, memberships__role__in=roles, is_active=True)
    return list(rows.order_by("name", "email"))


def severity_spans(incident: Incident, *, now: datetime | None = None) -> list[tuple[str, datetime, datetime]]:
    """(severity, from, until) from its declaration to its resolution, or to now, in order: one query."""
    end = incident.resolved_at or incident.closed_at or now or clock.now()
    changes = audit_events(subject_kind="incident", subject_id=incident.pk, action="incident.severity").order_by("at")
    spans: list[tuple[str, datetime, datetime]] = []
    at, severity = incident.declared_at, incident.severity
    rows = list(changes.values_list("at", "before", "after"))
    severity = rows[0][1]["severity"] if rows else severity
    for changed_at, _, after in rows:
        if changed_at >= end:
            break
        spans.append((severity, at, changed_at))
        at, severity = changed_at, after["severity"]
    spans.append((severity, at, max(at, end)))
    return spans


def left(incident: Incident, people: Sequence[User]) -> list[str]:
    """Roles whose holder can hold them no more, because they left; ``people`` as ``people_of`` has them."""
    here = {person.pk for person in people}
    return [role for role in choices.ROLES if (held := getattr(incident, f"{role}_id")) is not None and held not in here]
