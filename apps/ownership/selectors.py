"""Reading teams, services, cells and runbooks; who is on call is ``rotation_selectors``."""

from __future__ import annotations

from uuid import UUID

from django.db.models import Exists, Expression, OuterRef, Q, QuerySet, TextField
from django.db.models.functions import Cast
from django.urls import reverse

from apps.accounts.models import Organisation
from apps.accounts.teams import KnownTeam
from apps.ownership.checks import check_runbook
from apps.ownership.models import Cell, Runbook, Service, Team
from apps.ownership.rotation_selectors import OnCall, on_call_now

__all__ = [
    "OnCall",
    "cell_owner",
    "on_call_now",
    "runbook_get",
    "runbook_kept",
    "runbook_link",
    "runbooks_referred",
    "same_slug",
    "service_get",
    "services",
    "team_get",
    "teams",
    "teams_for_roles",
]


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


def same_slug(service: Service) -> Exists:
    """For a filter: whether another team of the organisation has a service that is called the same, as records and rules call it."""
    others = Service.objects.filter(team__organisation_id=service.team.organisation_id, slug=service.slug)
    return Exists(others.exclude(pk=service.pk))


def cell_owner(*, organisation: Organisation, region: str, layer: str) -> Team | None:
    """The team that answers for a layer in a region, by their names; None: nobody."""
    cell = Cell.objects.select_related("team").filter(region__organisation=organisation, region__name=region, layer__name=layer).first()
    return cell.team if cell else None


def runbook_link(organisation: Organisation, reference: str) -> tuple[str, str] | None:
    """Title and address of what a thing names as its runbook: an address as it is, one of ours by its page; without an address where it is
    gone. None: it names none. At most one query."""
    if not reference:
        return None
    if reference.startswith(("http://", "https://")):
        return reference, reference
    found = runbook_get(organisation=organisation, reference=reference)
    return (found.title, reverse("ownership:runbook", args=[found.pk])) if found is not None else (f"{reference}, which is gone", "")


def runbook_kept(organisation: Organisation, written: str) -> str:
    """What a thing keeps of a runbook as somebody writes it: an address, an id, or the short name of one of ours. Raises ServiceError."""
    text = written.strip()
    found = runbook_get(organisation=organisation, reference=text) if text and "/" not in text else None
    return str(found.pk) if found is not None else check_runbook(text)


def runbooks_referred(organisation: Expression | OuterRef, reference: Expression | OuterRef) -> QuerySet[Runbook]:
    """``runbook_get`` as a part of another query: organisation and reference are fields of its rows."""
    return Runbook.objects.annotate(key=Cast("pk", TextField())).filter(Q(name=reference) | Q(key=reference), organisation=organisation)


def runbook_get(*, organisation: Organisation, reference: str) -> Runbook | None:
    """The runbook with this id or name, or None; a flag keeps either, or an address."""
    rows = Runbook.objects.select_related("owner").filter(organisation=organisation)
    try:
        return rows.filter(pk=UUID(reference)).first()
    except ValueError:
        return rows.filter(name=reference).first()
