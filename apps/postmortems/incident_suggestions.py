"""What else the data say is hit: routes by failed requests, providers and regions by failed attempts, services by failed requests."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from apps.postmortems.impact import scope_of
from apps.postmortems.impact_rules import Part, Suggestion, suggested
from apps.postmortems.incident_models import Incident
from apps.providers.models import Endpoint
from apps.usage.impacts import parts_of

BEFORE = timedelta(hours=1)
SHORTEST = timedelta(minutes=2)
MOST = 6


@dataclass(frozen=True, slots=True)
class Suggested:
    """field: of the incident that would name it; noun: for people."""

    field: str
    noun: str
    suggestion: Suggestion


def suggestions_of(incident: Incident, *, now: datetime) -> list[Suggested]:
    """What is hit by the data and not named yet, the worst of each kind first: two queries."""
    since = incident.impact_from or incident.started_at
    until = max(min(incident.impact_until or incident.resolved_at or now, now), since + SHORTEST)
    rows = parts_of(scope_of(incident.organisation, incident.simulated), since, until, before=BEFORE)
    regions = _regions(incident)
    found: list[Suggested] = []
    for field, noun, dimension, attempts in (
        ("routes", "route", "route", False),
        ("providers", "provider", "provider", True),
        ("regions", "region", "endpoint", True),
        ("services", "service", "service", False),
    ):
        parts: dict[str, Part] = {}
        for of, value, *counts in rows:
            if of != dimension:
                continue
            name = regions.get(value, "") if field == "regions" else value
            if name:
                old = parts.get(name, Part(name, 0, 0, 0, 0))
                parts[name] = Part(name, *(a + b for a, b in zip((old.bad, old.of, old.bad_before, old.of_before), counts, strict=True)))
        named = set(getattr(incident, field))
        found += [Suggested(field, noun, one) for one in suggested(parts.values(), attempts=attempts, most=MOST) if one.value not in named]
    return found


def _regions(incident: Incident) -> dict[str, str]:
    """``<provider>/<endpoint>`` -> its region."""
    rows = Endpoint.objects.filter(provider__organisation=incident.organisation).exclude(region="")
    return {f"{provider}/{name}": region for provider, name, region in rows.values_list("provider__name", "name", "region")}
