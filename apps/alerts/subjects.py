"""What an alert is about: the thing itself, its page, and the team that answers for it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django.db.models import Q
from django.urls import reverse

from apps.alerts.models import Alert
from apps.keys.models import VirtualKey
from apps.ownership.models import Service, Team
from apps.ownership.owned import owned_kinds


@dataclass(frozen=True, slots=True)
class Subject:
    """kind: of ``choices.SCOPES``. id: text, empty where the subject has no row (everything, a model, a feature). url: empty likewise."""

    kind: str
    name: str
    id: str = ""
    url: str = ""
    team: Team | None = None


def subject_of(alert: Alert) -> Subject:
    """One query, two where a team owns the thing and the rule names none, none where the subject has no row. team: of the rule, else of the
    thing."""
    kind, name = alert.by, alert.subject
    if not name:
        return Subject(kind, name)
    if kind == "team":
        team = Team.objects.filter(_named(name, "slug"), organisation_id=alert.organisation_id).first()
        return Subject(kind, team.name, str(team.pk), reverse("ownership:team", args=[team.pk]), team) if team else Subject(kind, name)
    if kind == "service":
        rows = Service.objects.select_related("team").filter(team__organisation_id=alert.organisation_id)
        service = rows.filter(_named(name, "slug")).first()
        if service is None:
            return Subject(kind, name)
        return Subject(kind, service.name, str(service.pk), reverse("ownership:service", args=[service.pk]), service.team)
    owned = owned_kinds().get(kind)
    if owned is None:
        return Subject(kind, name)
    row = owned.rows(alert.organisation).filter(_named(name, "name")).values("pk", "name", "held_by", owned.argument).first()
    if row is None:
        return Subject(kind, name)
    team = alert.rule.owner
    if team is None and row["held_by"]:
        team = Team.objects.filter(pk=row["held_by"]).first()
    return Subject(kind, row["name"], str(row["pk"]), reverse(owned.url, args=[row[owned.argument]]), team)


def names_of_subjects(alerts: Iterable[Alert]) -> dict[str, str]:
    """Id -> name of the keys among what alerts are about, which figures know by id only; one query where there is any."""
    ids = {alert.subject for alert in alerts if alert.by == "key" and _uuid(alert.subject)}
    return {str(pk): name for pk, name in VirtualKey.objects.filter(pk__in=ids).values_list("pk", "name")} if ids else {}


def _uuid(text: str) -> bool:
    try:
        return bool(UUID(text))
    except ValueError:
        return False


def owner_of_alert(alert: Alert, subject: Subject | None = None) -> Team | None:
    """Who is told: the rule's team, else the team that owns the thing; None: nobody owns either."""
    if alert.rule.owner_id is not None:
        return alert.rule.owner
    return (subject or subject_of(alert)).team


def _named(reference: str, column: str) -> Q:
    """By the id or the name that a figure carries."""
    return Q(pk=reference) | Q(**{column: reference}) if _uuid(reference) else Q(**{column: reference})
