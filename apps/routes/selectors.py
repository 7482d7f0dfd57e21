"""Reads of routes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

import msgspec
from django.contrib.postgres.aggregates import ArrayAgg
from django.db.models import Exists, OuterRef, Prefetch, Q, QuerySet, Subquery, Value

from apps.audit.errors import ServiceError
from apps.contracts.snapshot import Deadlines, Resilience
from apps.keys.neighbours import KnownRoute
from apps.providers.models import Provider
from apps.routes import choices
from apps.routes.choices import Place
from apps.routes.models import Route, RouteAlias, RouteSwitch, RouteTarget
from apps.routes.resilience import stored_options
from apps.routes.rules import TargetSpec

if TYPE_CHECKING:
    from apps.accounts.models import Organisation


def with_parts(routes: QuerySet[Route]) -> QuerySet[Route]:
    """Routes with aliases and targets, in two more queries however many they are."""
    targets = RouteTarget.objects.select_related("provider", "endpoint").order_by("chain", "position")
    routes = routes.select_related("owner", "switch", "switch__provider", "switch__endpoint")
    return routes.prefetch_related("alias_rows", Prefetch("target_rows", queryset=targets))


def routes_of(organisation: Organisation) -> QuerySet[Route]:
    """An organisation's routes by name, with aliases and targets."""
    return with_parts(Route.objects.filter(organisation=organisation))


Line = tuple[UUID, str, str | None, bool, str | None, datetime | None]
"""id, name, owner's name, enabled, provider that traffic is switched to, until when."""


def route_lines(organisation: Organisation, *, asked: str = "") -> QuerySet[Any, Line]:
    """All routes of an organisation in a few columns, by name. asked: a part of a name, alias, owner, provider or model."""
    rows = Route.objects.filter(organisation=organisation)
    if asked:
        targets = RouteTarget.objects.filter(route=OuterRef("pk")).filter(Q(provider__name__icontains=asked) | Q(model__icontains=asked))
        aliases = RouteAlias.objects.filter(route=OuterRef("pk"), name__icontains=asked)
        rows = rows.filter(Q(name__icontains=asked) | Q(owner__name__icontains=asked) | Exists(targets) | Exists(aliases))
    return rows.order_by("name").values_list("pk", "name", "owner__name", "enabled", "switch__provider__name", "switch__until")


def targets_of(route_ids: Sequence[UUID]) -> dict[UUID, list[RouteTarget]]:
    """The primary targets of some routes in order, with providers and endpoints: one query, none without routes."""
    found: dict[UUID, list[RouteTarget]] = {}
    if route_ids:
        rows = RouteTarget.objects.filter(route__in=route_ids, chain=choices.PRIMARY).select_related("provider", "endpoint")
        for row in rows.order_by("route_id", "position"):
            found.setdefault(row.route_id, []).append(row)
    return found


def places_of(organisation: Organisation) -> list[Place]:
    """Where an organisation's targets can be, by name; at most ``MOST_PLACES`` and one more, which says that there are others. One query.

    An endpoint is a place of its own where its provider has several.
    """
    rows = Provider.objects.filter(organisation=organisation).order_by("name", "endpoints__position")
    endpoints: dict[tuple[str, bool], list[str]] = {}
    for name, enabled, endpoint in rows.values_list("name", "enabled", "endpoints__name")[: choices.MOST_PLACES + 1]:
        endpoints.setdefault((name, enabled), []).append(endpoint)
    places = []
    for (name, enabled), own in endpoints.items():
        places.append(Place(name, name, enabled))
        places += [Place(f"{name}/{endpoint}", f"{name} / {endpoint}", enabled) for endpoint in own if len(own) > 1]
    return places[: choices.MOST_PLACES + 1]


def route_get(organisation: Organisation, route_id: UUID) -> Route | None:
    """One route with everything about it, in two queries: its targets are read with it, its aliases lie in ``alias_names``."""
    targets = RouteTarget.objects.select_related("provider", "endpoint").order_by("chain", "position")
    names = ArrayAgg("alias_rows__name", filter=Q(alias_rows__name__isnull=False), order_by="alias_rows__name", default=Value([]))
    rows = Route.objects.filter(organisation=organisation, pk=route_id).annotate(alias_names=names)
    rows = rows.select_related("organisation", "owner", "switch", "switch__provider", "switch__endpoint")
    return rows.prefetch_related(Prefetch("target_rows", queryset=targets)).first()


def known_routes(organisation: Organisation, most: int | None = None) -> list[KnownRoute]:
    """The organisation's routes by name, as keys' pages know them, or the first ``most``: one query."""
    names = ArrayAgg("alias_rows__name", filter=Q(alias_rows__name__isnull=False), order_by="alias_rows__name", default=Value([]))
    rows = Route.objects.filter(organisation=organisation).annotate(alias_names=names).order_by("name")
    return [
        KnownRoute(id=str(pk), name=name, enabled=enabled, names=(name, *aliases))
        for pk, name, enabled, aliases in rows.values_list("pk", "name", "enabled", "alias_names")[:most]
    ]


def route_name_of(route_id: Any) -> Any:
    """An expression of a route's name for a query of another table; ``route_id`` is that query's expression of its id."""
    return Subquery(Route.objects.filter(pk=route_id).order_by().values("name"))


def route_named(organisation: Organisation, name: str, *, field: str = "route") -> Route:
    """The route of that name (not alias). Raises ServiceError that lists the names there are."""
    found = routes_of(organisation).filter(name=name).first()
    if found is None:
        names = ", ".join(Route.objects.filter(organisation=organisation).values_list("name", flat=True)[:20]) or "none yet"
        raise ServiceError(f"there is no route {name!r}; there are: {names}", field)
    return found


def aliases(route: Route) -> list[str]:
    """The route's other names, sorted."""
    known = getattr(route, "alias_names", None)  # as ``route_get`` reads them
    return list(known) if known is not None else sorted(row.name for row in route.alias_rows.all())


def target_specs(route: Route, chain: str = choices.PRIMARY) -> list[TargetSpec]:
    """A chain as a person would write it, in order."""
    rows = sorted((row for row in route.target_rows.all() if row.chain == chain), key=lambda row: row.position)
    return [spec_of(row) for row in rows]


def spec_of(row: RouteTarget | RouteSwitch) -> TargetSpec:
    """A target as a person would write it; a switch's without options."""
    options = stored_options(row.options) if isinstance(row, RouteTarget) else {}
    return TargetSpec(row.provider.name, row.model, row.endpoint.name if row.endpoint else "", **options)


def switch_of(route: Route) -> RouteSwitch | None:
    """The route's switch as it is stored, also one that has run out; None where its chains decide."""
    return getattr(route, "switch", None)


def switch_in_force(route: Route, *, now: datetime) -> RouteSwitch | None:
    """The route's switch, unless it has run out."""
    switch = switch_of(route)
    return None if switch is None or (switch.until is not None and switch.until <= now) else switch


def resilience(route: Route) -> Resilience:
    """How the route keeps answering, in the contract's form."""
    return msgspec.convert(route.resilience, Resilience)


@dataclass(frozen=True, slots=True)
class HeldBreaker:
    """A breaker that a person forced, for every route that uses the target. until None: until somebody lets it go."""

    target: TargetSpec
    state: Literal["open", "closed"]
    until: datetime | None
    reason: str
    by: str
    at: datetime


def held_breakers(route: Route, *, now: datetime | None = None) -> list[HeldBreaker]:
    """The forced breakers of a route's targets in the order of their names; with ``now`` only those in force then."""
    found = [
        HeldBreaker(
            target=TargetSpec(row["provider"], row["model"], row["endpoint"]),
            state=row["state"],
            until=None if row["until"] is None else datetime.fromisoformat(row["until"]),
            reason=row["reason"],
            by=row["by"],
            at=datetime.fromisoformat(row["at"]),
        )
        for row in route.forced
    ]
    return [held for held in found if now is None or held.until is None or held.until > now]


def deadlines(route: Route) -> Deadlines:
    """The route's deadlines in the contract's form."""
    return Deadlines(connect_ms=route.connect_ms, first_byte_ms=route.first_byte_ms, idle_ms=route.idle_ms, total_ms=route.total_ms)
