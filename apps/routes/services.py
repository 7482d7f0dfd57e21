"""Writes of routes: atomic, audited, noted for the next publish."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from django.db import transaction
from django.utils import timezone
from msgspec import UNSET, UnsetType

from apps.accounts.models import Organisation
from apps.accounts.selectors import permission_require
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.registry import event_record
from apps.audit.services import change_record
from apps.contracts.identifiers import uuid7
from apps.contracts.snapshot import Deadlines, Resilience
from apps.ownership.models import Team
from apps.ownership.selectors import runbook_kept
from apps.providers.prices import model_ensure
from apps.providers.selectors import model_named, provider_named
from apps.publishing.services import section_touch
from apps.routes import choices, rules, selectors
from apps.routes.models import Route, RouteAlias, RouteSwitch, RouteTarget
from apps.routes.resilience import (
    TargetSpec,
    check_own_deadlines,
    check_resilience,
    resilience_facts,
    resilience_read,
    resilience_stored,
    spec_of_target,
)

if TYPE_CHECKING:
    from apps.providers.models import Endpoint, Provider


@transaction.atomic
def route_ensure(
    *,
    actor: Actor,
    organisation: Organisation,
    name: str,
    targets: Sequence[TargetSpec],
    fallback: Sequence[TargetSpec] = (),
    aliases: Sequence[str] = (),
    deadlines: Deadlines | None = None,
    max_output_tokens: int = 4096,
    max_attempts: int = 3,
    unpriced: str = "refuse",
    default_price: str = "",
    resilience: Resilience | Mapping[str, Any] | None = None,
    owner: Team | UnsetType | None = UNSET,
    runbook: str | UnsetType = UNSET,
    enabled: bool = True,
    reason: str = "",
    id: str | None = None,
) -> Route:
    """Create a route, or make it as given; the same again changes nothing. An owner and a runbook
    that are not given stay.
    resilience: the contract's struct, or plain values of its fields; None: the defaults.

    Raises ServiceError for unknown providers and endpoints, empty chains, names taken by another route, limits out of range, and
    where a target that all traffic is switched to would go.
    id: the one a new route gets, where an earlier one is brought back.
    """
    rules.check_name(name)
    permission_require(actor=actor, action="route.change", organisation=organisation, team=_held_by(organisation, name, owner))
    wanted_aliases = rules.check_aliases(name, aliases)
    limits = rules.check_deadlines(deadlines or Deadlines())
    rules.check_caps(max_output_tokens=max_output_tokens, max_attempts=max_attempts, unpriced=unpriced)
    rules.check_targets(targets)
    rules.check_targets(fallback, field="fallback", required=False)
    settings = resilience if isinstance(resilience, Resilience) else resilience_read(resilience or {})
    check_resilience(settings, total_ms=limits.total_ms, targets=targets)
    for field, chain in (("targets", targets), ("fallback", fallback)):
        check_own_deadlines(chain, field, total_ms=limits.total_ms)
    if isinstance(owner, Team) and owner.organisation_id != organisation.pk:
        raise ServiceError("the team belongs to another organisation", "owner")
    # Names and aliases share one space that no single constraint spans: writers of one organisation's routes take turns.
    Organisation.objects.select_for_update().get(pk=organisation.pk)
    route = selectors.with_parts(Route.objects.filter(organisation=organisation, name=name)).first()
    created = route is None
    before = {} if route is None else route_facts(route)
    route = route or Route(id=id or uuid7(), organisation=organisation, name=name)
    _check_names(route, [name, *wanted_aliases])
    route.connect_ms, route.first_byte_ms = limits.connect_ms, limits.first_byte_ms
    route.idle_ms, route.total_ms = limits.idle_ms, limits.total_ms
    route.max_output_tokens, route.max_attempts = max_output_tokens, max_attempts
    route.unpriced, route.enabled = unpriced, enabled
    if default_price:
        model_named(organisation, default_price, field="default_price")
    route.default_price = default_price
    _check_mirror(actor, route, settings, reason)
    route.resilience = resilience_stored(settings)
    if not isinstance(owner, UnsetType):
        route.owner = owner
    if not isinstance(runbook, UnsetType):
        route.runbook = runbook_kept(organisation, runbook)
    chains = {choices.PRIMARY: targets, choices.FALLBACK: fallback}
    rows = [row for chain, specs in chains.items() for row in _target_rows(actor, route, chain, specs, reason)]
    after = _facts(route, wanted_aliases, chains)
    if after == before:
        return route
    places = {target.place for target in (*targets, *fallback)}
    _check_switch(route, places)
    route.forced = [held for held in route.forced if TargetSpec(held["provider"], held["model"], held["endpoint"]) in places]
    route.save()
    route.alias_rows.all().delete()
    RouteAlias.objects.bulk_create(RouteAlias(organisation=organisation, route=route, name=alias) for alias in wanted_aliases)
    route.target_rows.all().delete()
    RouteTarget.objects.bulk_create(rows)
    changed = [field for field in after if after[field] != (before if before else _AT_FIRST).get(field)]
    _record(
        actor,
        "route.create" if created else "route.update",
        route,
        {field: before[field] for field in changed if field in before},
        {field: after[field] for field in changed},
        reason,
    )
    section_touch(section="routes", ids=[str(route.id)])
    return route


@transaction.atomic
def route_create(*, actor: Actor, organisation: Organisation, name: str, targets: Sequence[TargetSpec], **facts: Any) -> Route:
    """A new route; the other arguments are those of ``route_ensure``. Raises ServiceError where the name is taken."""
    if Route.objects.filter(organisation=organisation, name=name).exists():
        raise ServiceError(f"a route named {name!r} exists: choose another name, or edit that one", "name")
    return route_ensure(actor=actor, organisation=organisation, name=name, targets=targets, **facts)


@transaction.atomic
def route_update(*, actor: Actor, route: Route, reason: str = "", **changes: Any) -> Route:
    """Change what is given (arguments of ``route_ensure``), leave the rest. A route's name never changes."""
    route = selectors.with_parts(Route.objects.filter(pk=route.pk)).select_related("organisation").get()
    fields: dict[str, Any] = {
        "targets": selectors.target_specs(route),
        "fallback": selectors.target_specs(route, choices.FALLBACK),
        "aliases": selectors.aliases(route),
        "deadlines": selectors.deadlines(route),
        "max_output_tokens": route.max_output_tokens,
        "max_attempts": route.max_attempts,
        "unpriced": route.unpriced,
        "default_price": route.default_price,
        "resilience": selectors.resilience(route),
        "owner": route.owner,
        "runbook": route.runbook,
        "enabled": route.enabled,
    }
    unknown = changes.keys() - fields.keys()
    if unknown:
        raise TypeError(f"route_update has no argument {sorted(unknown)[0]!r}")
    return route_ensure(actor=actor, organisation=route.organisation, name=route.name, reason=reason, **(fields | changes))


def route_disable(*, actor: Actor, route: Route, reason: str = "") -> Route:
    """From the next publish on, apps that name the route get ``route_disabled``; a second time changes nothing."""
    return route_update(actor=actor, route=route, enabled=False, reason=reason)


def route_enable(*, actor: Actor, route: Route, reason: str = "") -> Route:
    """Undo ``route_disable``."""
    return route_update(actor=actor, route=route, enabled=True, reason=reason)


@transaction.atomic
def route_switch(
    *,
    actor: Actor,
    route: Route,
    target: TargetSpec,
    reason: str,
    until: datetime | None = None,
    failover: bool = True,
    restoring: bool = False,
) -> RouteSwitch:
    """Send all traffic of a route to one of its targets; the same again changes nothing. A reason is required.

    until: when it ends by itself; None: when somebody switches back. failover: its other targets follow when this one fails.
    restoring: for a rollback, which brings back what an earlier version said, also a switch that has run out since.
    """
    permission_require(actor=actor, action="route.switch", organisation=route.organisation, team=route.owner_id)
    now = timezone.now()
    rules.check_switch(reason=reason, until=None if restoring else until, now=now)
    Route.objects.select_for_update().get(pk=route.pk)
    route = selectors.with_parts(Route.objects.filter(pk=route.pk)).get()
    row = next((row for row in route.target_rows.all() if selectors.spec_of(row).place == target.place), None)
    if row is None:
        raise ServiceError(f"{choices.target_text(target)} is no target of {route.name!r}: add it to the route first", "target")
    before = selectors.switch_of(route)
    facts = switch_facts(selectors.switch_in_force(route, now=now))
    switch = RouteSwitch(
        route=route,
        provider=row.provider,
        endpoint=row.endpoint,
        model=row.model,
        failover=failover,
        until=until,
        reason=reason.strip(),
        by=actor.name,
        at=now,
    )
    if before is not None and switch_facts(before) == switch_facts(switch):
        return before
    switch.save()
    _record(actor, "route.switch", route, facts, switch_facts(switch), reason)
    _event(actor, route, {"to": choices.target_text(target), "until": until, "reason": reason.strip()})
    section_touch(section="routes", ids=[str(route.pk)])
    return switch


@transaction.atomic
def route_switch_back(*, actor: Actor, route: Route, reason: str = "") -> Route:
    """Let the route's chains decide again; a second time changes nothing."""
    permission_require(actor=actor, action="route.switch", organisation=route.organisation, team=route.owner_id)
    Route.objects.select_for_update().get(pk=route.pk)
    route = selectors.with_parts(Route.objects.filter(pk=route.pk)).get()
    switch = selectors.switch_of(route)
    if switch is None:
        return route
    RouteSwitch.objects.filter(route=route).delete()
    _record(actor, "route.switch_back", route, switch_facts(switch), {}, reason)
    _event(actor, route, {"to": "", "until": None, "reason": reason})
    section_touch(section="routes", ids=[str(route.pk)])
    return Route.objects.get(pk=route.pk)


def switch_facts(switch: RouteSwitch | None) -> dict[str, Any]:
    """What the audit keeps of a switch."""
    if switch is None:
        return {}
    target = choices.target_text(selectors.spec_of(switch))
    return {"switched_to": target, "failover": switch.failover, "until": switch.until, "switch_reason": switch.reason}


@transaction.atomic
def route_delete(*, actor: Actor, route: Route, reason: str = "") -> None:
    """Delete a route; apps that name it get ``model_not_found`` from the next publish on."""
    permission_require(actor=actor, action="route.change", organisation=route.organisation, team=route.owner_id)
    facts, route_id = route_facts(route), str(route.id)
    _record(actor, "route.delete", route, facts, {}, reason)
    route.delete()
    section_touch(section="routes", ids=[route_id])


def _held_by(organisation: Organisation, name: str, owner: Team | UnsetType | None) -> UUID | None:
    """The team whose roles count: that of the route as it is; of a new one, the team it is made for."""
    now = list(Route.objects.filter(organisation=organisation, name=name).values_list("owner_id", flat=True))
    return now[0] if now else owner.pk if isinstance(owner, Team) else None


def route_facts(route: Route) -> dict[str, Any]:
    """What the audit keeps of a route: every field."""
    chains = {chain: selectors.target_specs(route, chain) for chain in (choices.PRIMARY, choices.FALLBACK)}
    return _facts(route, selectors.aliases(route), chains)


def _facts(route: Route, aliases: Sequence[str], chains: dict[str, Any]) -> dict[str, Any]:
    return {
        "aliases": list(aliases),
        "targets": [choices.target_line(target) for target in chains[choices.PRIMARY]],
        "fallback": [choices.target_line(target) for target in chains[choices.FALLBACK]],
        "connect_ms": route.connect_ms,
        "first_byte_ms": route.first_byte_ms,
        "idle_ms": route.idle_ms,
        "total_ms": route.total_ms,
        "max_output_tokens": route.max_output_tokens,
        "max_attempts": route.max_attempts,
        "unpriced": route.unpriced,
        "default_price": route.default_price,
        "owner": route.owner.slug if route.owner else "",
        "runbook": route.runbook,
        "enabled": route.enabled,
        **resilience_facts(selectors.resilience(route)),
    }


_AT_FIRST = {**resilience_facts(Resilience()), "default_price": "", "runbook": ""}
"""Of a new route the audit keeps what somebody chose."""


def _check_mirror(actor: Actor, route: Route, settings: Resilience, reason: str) -> None:
    """Where copies go exists; its model enters its provider's price book."""
    if settings.mirror is None:
        return
    spec = spec_of_target(settings.mirror.target)
    provider, _ = _place(route, spec, "resilience.mirror.target")
    rules.check_targets([spec], field="resilience.mirror.target")
    model_ensure(actor=actor, provider=provider, name=spec.model, reason=reason)


def _check_switch(route: Route, places: Set[TargetSpec]) -> None:
    """Where traffic is switched to stays among the targets; a switch that has run out goes instead."""
    switch = None if route._state.adding else selectors.switch_of(route)
    if switch is None or selectors.spec_of(switch) in places:
        return
    if selectors.switch_in_force(route, now=timezone.now()) is not None:
        gone = choices.target_text(selectors.spec_of(switch))
        raise ServiceError(f"all traffic is switched to {gone}: switch it back before this target goes", "targets")
    RouteSwitch.objects.filter(route=route).delete()


def _event(actor: Actor, route: Route, data: dict[str, Any]) -> None:
    event_record(
        kind=choices.SWITCH_EVENT,
        subject_kind="route",
        subject_id=str(route.pk),
        subject_name=route.name,
        data={**data, "by": actor.name},
    )


def _check_names(route: Route, names: Sequence[str]) -> None:
    """No other route of the organisation has one of these names or aliases."""
    others = Route.objects.filter(organisation=route.organisation).exclude(pk=route.pk)
    for at, name in enumerate(names):
        field = "name" if at == 0 else f"aliases[{at - 1}]"
        if others.filter(name=name).exists():
            raise ServiceError(f"{name!r} is the name of another route", field)
        taken = (
            RouteAlias.objects.filter(organisation=route.organisation, name=name).exclude(route_id=route.pk).select_related("route").first()
        )
        if taken is not None:
            raise ServiceError(f"{name!r} is an alias of the route {taken.route.name!r}", field)


def _target_rows(actor: Actor, route: Route, chain: str, specs: Sequence[TargetSpec], reason: str) -> list[RouteTarget]:
    """The chain's rows; each target's model enters its provider's price book."""
    prefix = "targets" if chain == choices.PRIMARY else "fallback"
    rows: list[RouteTarget] = []
    for position, spec in enumerate(specs):
        provider, endpoint = _place(route, spec, f"{prefix}[{position}]")
        model_ensure(actor=actor, provider=provider, name=spec.model, reason=reason)
        rows.append(
            RouteTarget(
                route=route,
                chain=chain,
                position=position,
                provider=provider,
                endpoint=endpoint,
                model=spec.model,
                options=spec.options,
            )
        )
    return rows


def _place(route: Route, spec: TargetSpec, field: str) -> tuple[Provider, Endpoint | None]:
    """The provider and the endpoint that a target names; None: its first."""
    provider: Provider = provider_named(route.organisation, spec.provider, field=f"{field}.provider")
    if not spec.endpoint:
        return provider, None
    endpoint = next((row for row in provider.endpoints.all() if row.name == spec.endpoint), None)
    if endpoint is None:
        names = ", ".join(row.name for row in provider.endpoints.all())
        raise ServiceError(f"the provider {spec.provider!r} has no endpoint {spec.endpoint!r}; it has: {names}", f"{field}.endpoint")
    return provider, endpoint


def _record(actor: Actor, action: str, route: Route, before: dict[str, Any], after: dict[str, Any], reason: str) -> None:
    change_record(actor, action, route, before, after, reason)
