"""Reading teams and services."""

from __future__ import annotations

from django.db.models import QuerySet

from apps.accounts.models import Organisation
from apps.accounts.teams import KnownTeam
from apps.ownership.models import Service, Team


def teams(*, organisation: Organisation | None = None) -> QuerySet[Team]:
    """Teams with their organisation, by name; of one organisation where given."""
    rows = Team.objects.select_related("organisation").order_by("name")
    return rows if organisation is None else rows.filter(organisation=organisation)


def teams_for_roles() -> list[KnownTeam]:
    """Every team as ``apps.accounts.teams`` asks for it: one query."""
    rows = teams().order_by("organisation__name", "name")
    return [KnownTeam(id=str(row.pk), slug=row.slug, name=row.name, organisation=row.organisation) for row in rows]


def team_get(*, organisation: Organisation, slug: str) -> Team | None:
    """The organisation's team with this slug, or None."""
    return Team.objects.select_related("organisation").filter(organisation=organisation, slug=slug).first()


def services(*, organisation: Organisation | None = None, team: Team | None = None) -> QuerySet[Service]:
    """Services with team and organisation, by name; narrowed where given."""
    rows = Service.objects.select_related("team__organisation").order_by("name")
    if organisation is not None:
        rows = rows.filter(team__organisation=organisation)
    return rows if team is None else rows.filter(team=team)


def service_get(*, organisation: Organisation, team_slug: str, slug: str) -> Service | None:
    """The service with this slug of the team with that slug, or None."""
    return (
        Service.objects.select_related("team__organisation")
        .filter(team__organisation=organisation, team__slug=team_slug, slug=slug)
        .first()
    )
