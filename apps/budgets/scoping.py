"""What budgets are for: objects of the organisation by id, and names that apps and providers use. Nothing here writes."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db.models import Case, OuterRef, QuerySet, Subquery, TextField, UUIDField, Value, When
from django.db.models.functions import Cast, Concat

from apps.audit.errors import ServiceError
from apps.budgets import choices, rules
from apps.contracts.snapshot import EACH
from apps.keys.models import VirtualKey
from apps.keys.neighbours import route_name_expression, routes_known
from apps.ownership.models import Service, Team
from apps.ownership.selectors import services, teams
from apps.providers.models import Provider

if TYPE_CHECKING:
    from apps.accounts.models import Organisation
    from apps.budgets.models import Budget


def scope_resolve(organisation: Organisation, scope: str, scope_id: object, *, revoked: bool = False) -> dict[str, Any]:
    """The columns ``key`` and ``scope_ref`` of a budget. revoked: a revoked key will do. Raises ServiceError for what does not exist."""
    if scope == "organisation":
        if str(scope_id) != str(organisation.pk):
            raise ServiceError("a budget of an organisation is for the one that it is set in: give that one's id", "scope_id")
        return {"key": None, "scope_ref": ""}
    if scope in rules.TEXT_SCOPES:
        return {"key": None, "scope_ref": rules.check_text(scope, scope_id)}
    try:
        wanted = UUID(str(scope_id))
    except ValueError:
        wanted = None
    if wanted is not None and scope == "key":
        key = VirtualKey.objects.filter(pk=wanted, organisation=organisation).first()
        if key is not None and key.state != "active" and not revoked:
            raise ServiceError(f"the key {key.name!r} is revoked and spends nothing any more: choose an active one", "scope_id")
        if key is not None:
            return {"key": key, "scope_ref": ""}
    elif wanted is not None and _exists(organisation, scope, wanted):
        return {"key": None, "scope_ref": str(wanted)}
    raise ServiceError(
        f"the organisation {organisation.name} has no {scope} {scope_id}: choose one that it has, or create it first", "scope_id"
    )


def _exists(organisation: Organisation, scope: str, wanted: UUID) -> bool:
    if scope == "team":
        return teams(organisation=organisation).filter(pk=wanted).exists()
    if scope == "service":
        return services(organisation=organisation).filter(pk=wanted).exists()
    if scope == "provider":
        return Provider.objects.filter(pk=wanted, organisation=organisation).exists()
    return any(route.id == str(wanted) for route in routes_known(organisation))


def slugs_of(budgets: Iterable[Budget]) -> dict[str, str]:
    """Ids of the teams and services that budgets are for -> ``team`` and ``team/service``, as proxies know them: two queries at most."""
    found: dict[str, str] = {}
    of_teams = [row.scope_ref for row in budgets if row.scope == "team"]
    of_services = [row.scope_ref for row in budgets if row.scope == "service"]
    if of_teams:
        found |= {str(row.pk): row.slug for row in teams().filter(pk__in=of_teams)}
    if of_services:
        found |= {str(row.pk): f"{row.team.slug}/{row.slug}" for row in services().filter(pk__in=of_services)}
    return found


def scope_named(budgets: QuerySet[Budget]) -> QuerySet[Budget]:
    """Budgets that know what they are for (``scope_name``) from the query that reads them; empty where ``_name`` knows without."""
    return budgets.annotate(scope_name=_scope_name())


@cache
def _scope_name() -> Case:
    """Made once: a page of budgets spends more on making this expression than Postgres on reading by it."""
    team_and_own = Concat("team__slug", Value("/"), "slug", output_field=TextField())
    wanted = Cast(OuterRef("scope_ref"), UUIDField())  # asked only in the branches whose scopes refer by id
    return Case(
        When(scope="team", then=Subquery(Team.objects.filter(pk=wanted).order_by().values("slug"))),
        When(scope="service", then=Subquery(Service.objects.filter(pk=wanted).order_by().values(text=team_and_own))),
        When(scope="provider", then=Subquery(Provider.objects.filter(pk=wanted).order_by().values("name"))),
        When(scope="route", then=route_name_expression(wanted)),
        default=Value(""),
        output_field=TextField(),
    )


def scope_names(organisation: Organisation, budgets: Iterable[Budget]) -> dict[UUID, str]:
    """What each budget is for, by the names that people use. ``key`` must be selected. No query for rows of ``scope_named``; for
    others one for each kind of object that occurs."""
    rows = list(budgets)
    if all(hasattr(row, "scope_name") for row in rows):
        return {row.pk: _name(row, {row.scope_ref: row.scope_name} if row.scope_name else {}, organisation) for row in rows}
    names = slugs_of(rows)
    if any(row.scope == "route" for row in rows):
        names |= {route.id: route.name for route in routes_known(organisation)}
    providers = [row.scope_ref for row in rows if row.scope == "provider"]
    if providers:
        names |= {str(pk): name for pk, name in Provider.objects.filter(pk__in=providers).values_list("pk", "name")}
    return {row.pk: _name(row, names, organisation) for row in rows}


def _name(budget: Budget, names: dict[str, str], organisation: Organisation) -> str:
    if budget.scope == "organisation":
        return organisation.name
    if budget.scope == "key":
        return budget.key.name if budget.key else ""
    if budget.scope == "user" and budget.scope_ref == EACH:
        return EACH
    return names.get(budget.scope_ref, budget.scope_ref)


def scope_text(scope: str, name: str) -> str:
    """``team search``, ``each user``, ``whole organisation``."""
    if scope == "organisation":
        return "whole organisation"
    return "each user" if scope == "user" and name == EACH else f"{choices.SCOPES[scope].lower()} {name}"
