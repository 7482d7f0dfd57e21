"""Budgets and limits as things that teams own: whoever owns a budget may set it. A budget of a team's spend, or a limit of its requests, is
not the team's own until it is given."""

from __future__ import annotations

from uuid import UUID

from django.db.models import CharField, Q, QuerySet
from django.db.models.functions import Cast

from apps.accounts.models import Organisation
from apps.budgets.models import Budget, Limit
from apps.ownership.models import Service, Team
from apps.ownership.owned import About, Owned, held_by, holding_assign, owner_of


def _rows(organisation: Organisation) -> QuerySet[Budget]:
    rows = Budget.objects.filter(organisation=organisation, deleted_at=None).select_related("organisation")
    return rows.annotate(held_by=held_by("budget"))


def budget_owner(budget: Budget) -> UUID | None:
    """The team that a budget was given to, whose managers may set it."""
    return owner_of(kind="budget", object_id=budget.pk)


def _limits(organisation: Organisation) -> QuerySet[Limit]:
    rows = Limit.objects.filter(organisation=organisation, deleted_at=None).select_related("organisation")
    return rows.annotate(held_by=held_by("limit"))


def about_team(team: Team) -> list[About]:
    """Budgets of what the team or one of its services spends, and limits of its requests."""
    services = team.services.values(text=Cast("pk", CharField()))
    of_team = Q(scope="team", scope_ref=str(team.pk)) | Q(scope="service", scope_ref__in=services)
    return [
        About("budget", "budgets:detail", Budget.objects.filter(of_team, organisation_id=team.organisation_id, deleted_at=None)),
        About("limit", "limits:detail", Limit.objects.filter(scope="team", scope_id=str(team.pk), deleted_at=None)),
    ]


def about_service(service: Service) -> list[About]:
    """Budgets of what the service spends."""
    rows = Budget.objects.filter(scope="service", scope_ref=str(service.pk), organisation_id=service.team.organisation_id, deleted_at=None)
    return [About("budget", "budgets:detail", rows)]


BUDGETS = Owned("budget", "Budgets", "spend", "budgets:detail", _rows, holding_assign)
LIMITS = Owned("limit", "Limits", "spend", "limits:detail", _limits, holding_assign)
