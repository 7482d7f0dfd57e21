"""What helps in an incident: flags that act on what is hit, who owns it and who is on call, the runbooks that it and its alerts name."""

from __future__ import annotations

from dataclasses import dataclass
from uuid import UUID

from django.db.models import Q
from django.urls import reverse
from django.utils import timezone as clock

from apps.alerts.remedies import Flip, Runbook
from apps.flags.choices import SWITCHES
from apps.flags.models import Flag
from apps.ownership.models import Runbook as OwnRunbook
from apps.ownership.reach import Reach, reach_of
from apps.postmortems.incident_models import Incident
from apps.postmortems.timeline_sources import Places
from apps.routes.models import Route

MOST_FLIPS, MOST_TEAMS, MOST_RUNBOOKS = 8, 2, 6
_NEAREST = {"fallback": 0, "degrade": 1, "kill": 2}
"""What costs users least comes first."""
_WHY = {"fallback": "sends {} to its fallback", "degrade": "lets {} make do with less", "kill": "stops {}"}


@dataclass(frozen=True, slots=True)
class Owner:
    """Who answers for something that is hit. things: the routes and services that are theirs."""

    reach: Reach
    things: tuple[str, ...]


def flips_in_reach(incident: Incident, places: Places) -> list[Flip]:
    """Flags that act on the routes that are hit, on their providers and regions, or on everything; first those that can still be turned on,
    then those that cost users least. One query."""
    routes = {key: name for key, name in places.routes.items() if not incident.routes or name in incident.routes}
    named = {*incident.providers, *places.used_by(incident.routes)}
    providers = {key: name for key, name in places.providers.items() if name in named}
    acts = (
        Q(subject_kind="route", subject_id__in=list(routes))
        | Q(subject_kind="provider", subject_id__in=list(providers))
        | Q(subject_kind="region", subject_id__in=incident.regions)
        | Q(subject_kind="organisation")
    )
    now = clock.now()
    rows = list(Flag.objects.filter(acts, organisation=incident.organisation, kind__in=SWITCHES)[:200])
    hit = set(incident.providers)
    rows.sort(
        key=lambda row: (
            row.in_force(now),
            row.subject_kind == "organisation",
            _NEAREST[row.kind],
            row.subject_kind == "provider" and providers.get(row.subject_id) not in hit,
            row.name,
        )
    )
    names = {**routes, **providers}
    return [
        Flip(
            name=row.name,
            kind=row.kind,
            label=row.get_kind_display(),
            why=row.purpose or _WHY[row.kind].format(_about(row, names)),
            on=row.in_force(now),
            url=reverse("flags:detail" if row.in_force(now) else "flags:on", args=[row.name]),
        )
        for row in rows[:MOST_FLIPS]
    ]


@dataclass(frozen=True, slots=True)
class Answerable:
    """Who answers for what is hit, and what is written about it."""

    owners: list[Owner]
    runbooks: list[Runbook]


def answerable(incident: Incident) -> Answerable:
    """The teams that own the routes that are hit, with who is on call there, and the runbooks that those routes and the rules of its alerts
    name: at most three queries, and one for each team."""
    things: dict[UUID, list[str]] = {}
    named = [reference for reference in incident.alerts.order_by("started_at").values_list("rule__runbook", flat=True) if reference]
    if incident.routes:
        routes = Route.objects.filter(organisation=incident.organisation, name__in=incident.routes).order_by("name")
        for name, owner, runbook in routes.values_list("name", "owner_id", "runbook"):
            named += [runbook] if runbook else []
            if owner is not None:
                things.setdefault(owner, []).append(name)
    teams = list(things.items())[:MOST_TEAMS]
    owners = [Owner(reach_of(incident.organisation, team=team), tuple(names)) for team, names in teams]
    return Answerable(owners, _runbooks(incident, list(dict.fromkeys(named))[:MOST_RUNBOOKS]))


def _runbooks(incident: Incident, named: list[str]) -> list[Runbook]:
    """One query where some are ours."""
    own = [reference for reference in named if not reference.startswith(("http://", "https://"))]
    found: dict[str, OwnRunbook] = {}
    if own:
        ids = [UUID(reference) for reference in own if _is_uuid(reference)]
        for row in OwnRunbook.objects.filter(Q(pk__in=ids) | Q(name__in=own), organisation=incident.organisation).defer("text"):
            found[str(row.pk)] = found[row.name] = row
    return [_runbook(reference, found) for reference in named]


def _runbook(reference: str, found: dict[str, OwnRunbook]) -> Runbook:
    row = found.get(reference)
    if row is not None:
        return Runbook(row.title, reverse("ownership:runbook", args=[row.pk]))
    return Runbook(reference, reference if reference.startswith(("http://", "https://")) else "")


def _about(row: Flag, names: dict[str, str]) -> str:
    return "everything" if row.subject_kind == "organisation" else f"{row.subject_kind} {names.get(row.subject_id, row.subject_id)}"


def _is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
