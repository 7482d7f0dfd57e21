"""What changed before an incident began, gathered for ``suspicion`` to rank: facts, providers' notes, the shape of traffic."""

from __future__ import annotations

from datetime import datetime, timedelta
from urllib.parse import urlencode
from uuid import UUID

from django.urls import reverse

from apps.accounts.scope import Scope
from apps.keys.selectors import keys_of
from apps.postmortems import suspicion
from apps.postmortems.impact import scope_of
from apps.postmortems.incident_models import Incident
from apps.postmortems.suspicion import Affected, Change, Suspect
from apps.postmortems.timeline_sources import Places, facts_of, places_of
from apps.usage.impacts import keys_around

SHAPE = timedelta(minutes=10)
"""Traffic just before the beginning is held against the time before that."""
TIMES, LEAST = 1.5, 30
"""Traffic that is so many times as much, or as little, has another shape; with fewer requests nothing is said."""
LOOKED_AFTER = timedelta(minutes=15)
"""Changes so long after the beginning are shown, too, to say that they did not begin it."""


def begin_of(incident: Incident) -> datetime:
    """When it began, as far as is known: when people felt it first, else when it is said to have begun."""
    return incident.impact_from or incident.started_at


def affected_of(incident: Incident, places: Places) -> Affected:
    """What is hit, by what people or the data named."""
    return Affected(
        begin=begin_of(incident),
        routes=frozenset(incident.routes),
        providers=frozenset(incident.providers),
        regions=frozenset(incident.regions),
        used=places.used_by(incident.routes),
    )


def suspects_of(incident: Incident, *, now: datetime) -> list[Suspect]:
    """The suspects of an incident, the most suspect first: six queries at most."""
    begin, places = begin_of(incident), places_of(incident.organisation)
    facts = facts_of(incident.organisation, begin - suspicion.HORIZON, min(begin + LOOKED_AFTER, now), places)
    changes = [fact.change for fact in facts if fact.suspected]
    shape = traffic_change(scope_of(incident.organisation, incident.simulated), incident, begin)
    return suspicion.suspects([*changes, *([shape] if shape else [])], affected_of(incident, places))


def traffic_change(scope: Scope, incident: Incident, begin: datetime) -> Change | None:
    """Traffic that rose or fell just before the beginning, and the key that did most of it; None where it was as before. Two queries."""
    split = begin - SHAPE
    rows = keys_around(scope, begin - suspicion.HORIZON, split, begin)
    early, late = {key: before for key, before, _ in rows}, {key: after for key, _, after in rows}
    factor = (suspicion.HORIZON - SHAPE) / SHAPE
    usual, lately = sum(early.values()) / factor, sum(late.values())
    if max(usual, lately) < LEAST or (usual and 1 / TIMES < lately / usual < TIMES):
        return None
    rise = lately > usual
    key, part = max(
        ((key, late.get(key, 0) - early.get(key, 0) / factor) for key in {*late, *early}), key=lambda pair: pair[1] * (1 if rise else -1)
    )
    minutes = SHAPE.total_seconds() / 60
    text = f"{usual / minutes:,.0f} requests a minute in the hour before, {lately / minutes:,.0f} in the last {minutes:.0f} minutes."
    share = part / (lately - usual) if lately != usual else 0.0
    if share >= 0.5 and key:
        name = keys_of(incident.organisation, revoked=True).filter(pk=key).values_list("name", flat=True).first() if _uuid(key) else None
        text += f" Key {name or key} did {min(share, 1):.0%} of that."
    query = urlencode({"from": f"{begin - suspicion.HORIZON:%Y-%m-%dT%H:%M:%SZ}", "to": f"{begin + LOOKED_AFTER:%Y-%m-%dT%H:%M:%SZ}"})
    return Change(
        key=f"traffic:{begin:%Y%m%dT%H%M}",
        kind=suspicion.TRAFFIC,
        at=split,
        title=f"Traffic {'rose' if rise else 'fell'} {f'to {lately / usual:.1f} times' if usual else 'from nothing'}",
        text=text,
        url=f"{reverse('dashboard:requests')}?{query}",
        wide=True,
    )


def _uuid(text: str) -> bool:
    try:
        return bool(UUID(text))
    except ValueError:
        return False
