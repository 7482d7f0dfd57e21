"""Rows -> the section ``routes``, and back when a version is rolled back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import cast

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.contracts.snapshot import ForcedBreaker, Fragment, RouteFragment, Switch, Target
from apps.publishing.registry import Section
from apps.routes import choices, selectors
from apps.routes.breakers import breakers_restore
from apps.routes.models import Route
from apps.routes.resilience import spec_of_target
from apps.routes.selectors import HeldBreaker
from apps.routes.services import route_delete, route_ensure, route_switch, route_switch_back

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def _build(ids: set[str] | None) -> dict[str, Fragment]:
    rows = selectors.with_parts(Route.objects.all() if ids is None else Route.objects.filter(pk__in=ids))
    return {str(row.pk): fragment_of(row) for row in rows}


def fragment_of(row: Route) -> RouteFragment:
    """What proxies get of a route that was read with its parts."""
    return RouteFragment(
        id=str(row.pk),
        name=row.name,
        organisation=str(row.organisation_id),
        aliases=selectors.aliases(row),
        targets=_targets(row, choices.PRIMARY),
        fallback=_targets(row, choices.FALLBACK),
        deadlines=selectors.deadlines(row),
        max_output_tokens=row.max_output_tokens,
        max_attempts=row.max_attempts,
        unpriced="zero" if row.unpriced == "zero" else "refuse",
        default_price=row.default_price,
        enabled=row.enabled,
        switch=_switch(row),
        **({"resilience": selectors.resilience(row)} if row.resilience else {}),
        forced=[_forced(held) for held in selectors.held_breakers(row)],
    )


def _targets(route: Route, chain: str) -> list[Target]:
    return [spec.target for spec in selectors.target_specs(route, chain)]


def _switch(route: Route) -> Switch | None:
    """As it is stored: the proxy knows when it has run out, so equal rows give equal fragments."""
    row = selectors.switch_of(route)
    if row is None:
        return None
    return Switch(target=selectors.spec_of(row).target, failover=row.failover, until_ms=_ms(row.until))


def _forced(held: HeldBreaker) -> ForcedBreaker:
    """As it is stored, also one whose time is over."""
    return ForcedBreaker(target=held.target.target, state=held.state, until_ms=_ms(held.until))


def _ms(at: datetime | None) -> int | None:
    return None if at is None else (at - _EPOCH) // _MILLISECOND


def _moment(ms: int | None) -> datetime | None:
    return None if ms is None else _EPOCH + _MILLISECOND * ms


def _restore(*, actor: Actor, object_id: str, fragment: Fragment | None, reason: str) -> None:
    if fragment is None:
        route = Route.objects.filter(pk=object_id).first()
        if route is not None:
            route_delete(actor=actor, route=route, reason=reason)
        return
    then = cast(RouteFragment, fragment)
    now = Route.objects.filter(organisation_id=then.organisation, name=then.name).first()
    if now is not None and str(now.pk) != object_id:
        # The name was given to a new route since: that one did not exist in the version we return to.
        route_delete(actor=actor, route=now, reason=reason)
    same = selectors.with_parts(Route.objects.filter(pk=object_id)).first()
    if same is not None and _switch(same) != then.switch:
        route_switch_back(actor=actor, route=same, reason=reason)
    route = route_ensure(
        actor=actor,
        organisation=Organisation.objects.get(pk=then.organisation),
        name=then.name,
        targets=[spec_of_target(target) for target in then.targets],
        fallback=[spec_of_target(target) for target in then.fallback],
        aliases=then.aliases,
        deadlines=then.deadlines,
        max_output_tokens=then.max_output_tokens,
        max_attempts=then.max_attempts,
        unpriced=then.unpriced,
        default_price=then.default_price,
        resilience=then.resilience,
        enabled=then.enabled,
        reason=reason,
        id=object_id,
    )
    why = reason or f"as in an earlier version of {then.name}"
    if then.switch is not None:
        route_switch(
            actor=actor,
            route=route,
            target=spec_of_target(then.switch.target),
            reason=why,
            until=_moment(then.switch.until_ms),
            failover=then.switch.failover,
            restoring=True,
        )
    wanted = [(spec_of_target(held.target), held.state, _moment(held.until_ms)) for held in then.forced]
    breakers_restore(actor=actor, route=route, wanted=wanted, reason=why)


routes = Section(build=_build, restore=_restore)
