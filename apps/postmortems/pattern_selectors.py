"""Incidents with their postmortems as rows of ``pattern_rules``, and what is still owed."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Q
from django.urls import reverse

from apps.accounts.models import Organisation
from apps.ownership.models import Service
from apps.postmortems import action_rules
from apps.postmortems import postmortem_choices as choices
from apps.postmortems.models import ActionItem, Factor, Incident, Postmortem
from apps.postmortems.pattern_rules import Row

MOST = 1_000
"""Postmortems that are looked at, the latest."""


def pattern_rows(organisation: Organisation, since: datetime) -> list[Row]:
    """Every incident since a moment that has a postmortem: four queries. Teams are those of its services and of its alerts' rules, layers
    those that the rules are labelled with."""
    found = Postmortem.objects.filter(organisation=organisation, incident__started_at__gte=since)
    found = found.select_related("incident").prefetch_related("factors").defer("texts", "sections", "draft")
    postmortems = list(found.exclude(incident__state__in=("cancelled", "merged")).order_by("-incident__started_at")[:MOST])
    alerts: dict[object, tuple[set[str], set[str]]] = {}
    told = Incident.alerts.through.objects.filter(incident__in=[row.incident_id for row in postmortems])
    for incident, team, labels in told.values_list("incident_id", "alert__rule__owner__slug", "alert__rule__labels"):
        teams, layers = alerts.setdefault(incident, (set(), set()))
        if team:
            teams.add(team)
        if labels.get("layer"):
            layers.add(str(labels["layer"]))
    named = {name for row in postmortems for name in row.incident.services}
    owners: dict[str, str] = {}
    if named:
        services = Service.objects.filter(team__organisation=organisation, slug__in=named)
        owners = dict(services.values_list("slug", "team__slug"))
    return [_row(row, alerts.get(row.incident_id, (set(), set())), owners) for row in postmortems]


def _row(row: Postmortem, told: tuple[set[str], set[str]], owners: dict[str, str]) -> Row:
    incident = row.incident
    teams = {*told[0], *(owners[name] for name in incident.services if name in owners)}

    def after(at: datetime | None) -> float | None:
        return max((at - incident.began_at).total_seconds(), 0.0) if at else None

    return Row(
        id=str(incident.pk),
        reference=incident.reference,
        title=incident.title,
        severity=incident.severity,
        at=incident.started_at,
        url=reverse("postmortems:postmortem", args=[row.pk]),
        factors=tuple(tag.slug for tag in row.factors.all()),
        trigger=row.trigger,
        providers=tuple(incident.providers),
        routes=tuple(incident.routes),
        regions=tuple(incident.regions),
        layers=tuple(sorted(told[1])),
        teams=tuple(sorted(teams)),
        services=tuple(incident.services),
        detect_s=after(incident.detected_at),
        mitigate_s=after(incident.mitigated_at or incident.resolved_at),
        resolve_s=after(incident.resolved_at),
    )


def names_of_patterns(organisation: Organisation) -> dict[str, str]:
    """Titles of factors and triggers by their short names: one query."""
    return {**{name: label for name, label in choices.TRIGGERS.items() if name}, **_titles(organisation)}


def _titles(organisation: Organisation) -> dict[str, str]:
    return dict(Factor.objects.filter(organisation=organisation).values_list("slug", "title"))


@dataclass(frozen=True, slots=True)
class Debt:
    """What is owed of action items. days: all days together by which open ones are overdue."""

    open: int
    overdue: int
    urgent: int
    unowned: int
    reopened: int
    days: int


def action_debt(organisation: Organisation, now: datetime) -> Debt:
    """One query."""
    still, today = Q(state=action_rules.OPEN), now.date()
    rows = ActionItem.objects.filter(organisation=organisation)
    found = rows.aggregate(
        open=Count("pk", filter=still),
        overdue=Count("pk", filter=still & Q(due_on__lt=today)),
        urgent=Count("pk", filter=still & Q(priority="p1")),
        unowned=Count("pk", filter=still & (Q(owner=None) | Q(owner__is_active=False))),
        reopened=Count("pk", filter=still & Q(reopened__gt=0)),
    )
    late = rows.filter(still, due_on__lt=today).values_list("due_on", flat=True) if found["overdue"] else ()
    return Debt(**found, days=sum((today - due).days for due in late))


def since_days(days: int, now: datetime) -> datetime:
    """So many days ago."""
    return now - timedelta(days=days)
