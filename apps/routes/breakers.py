"""Forcing circuit breakers: a person holds a target's breaker open or closed in every proxy, for a reason, until a moment or for good.

It lies in the route it was forced from, is published and rolled back with it, and acts on every route that uses the target.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.db import transaction
from django.utils import timezone

from apps.accounts.selectors import permission_require
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.registry import event_record
from apps.audit.services import change_record
from apps.publishing.services import section_touch
from apps.routes import choices, rules, selectors
from apps.routes.models import Route
from apps.routes.resilience import TargetSpec


@transaction.atomic
def breaker_force(
    *, actor: Actor, route: Route, target: TargetSpec, state: str, reason: str, until: datetime | None = None
) -> selectors.HeldBreaker:
    """Hold the breaker of one of the route's targets ``open`` (nothing goes there) or ``closed`` (everything does).

    until: when it decides by itself again; None: when somebody lets it go. A reason is required; the same again changes nothing.
    """
    permission_require(actor=actor, action="breaker.force", organisation=route.organisation, team=route.owner_id)
    now = timezone.now()
    rules.check_force(state=state, reason=reason, until=until, now=now)
    route = _locked(route)
    place = target.place
    if all(spec.place != place for chain in (choices.PRIMARY, choices.FALLBACK) for spec in selectors.target_specs(route, chain)):
        raise ServiceError(f"{choices.target_text(place)} is no target of {route.name!r}: add it to the route first", "target")
    before = _facts(_held(route, place))
    after = {"state": state, "until": until, "force_reason": reason.strip()}
    if before == after:
        return next(held for held in selectors.held_breakers(route) if held.target == place)
    _write(route, place, _row(place, state=state, until=until, reason=reason, actor=actor, at=now))
    _record(actor, "route.breaker_force", route, place, before, after, reason)
    event_record(
        kind=choices.BREAKER_EVENT,
        subject_kind="route",
        subject_id=str(route.pk),
        subject_name=route.name,
        data={
            "organisation": str(route.organisation_id),
            "target": choices.target_text(place),
            "forced": state,
            "until": until,
            "reason": reason.strip(),
            "by": actor.name,
        },
    )
    return next(held for held in selectors.held_breakers(route) if held.target == place)


@transaction.atomic
def breaker_release(*, actor: Actor, route: Route, target: TargetSpec, reason: str = "") -> Route:
    """Let the breaker decide by itself again; a second time changes nothing."""
    permission_require(actor=actor, action="breaker.force", organisation=route.organisation, team=route.owner_id)
    route = _locked(route)
    place = target.place
    held = _held(route, place)
    if held is None:
        return route
    _write(route, place, None)
    _record(actor, "route.breaker_release", route, place, _facts(held), {}, reason)
    event_record(
        kind=choices.BREAKER_EVENT,
        subject_kind="route",
        subject_id=str(route.pk),
        subject_name=route.name,
        data={"organisation": str(route.organisation_id), "target": choices.target_text(place), "forced": "", "by": actor.name},
    )
    return route


@transaction.atomic
def breakers_restore(*, actor: Actor, route: Route, wanted: Sequence[tuple[TargetSpec, str, datetime | None]], reason: str) -> None:
    """For a rollback: exactly the forced breakers (target, state, until) of an earlier version, also those whose time is over."""
    permission_require(actor=actor, action="route.change", organisation=route.organisation, team=route.owner_id)
    route = _locked(route)
    now = {held.target: (held.state, held.until) for held in selectors.held_breakers(route)}
    then = {target.place: (state, until) for target, state, until in wanted}
    for place in sorted(now.keys() | then.keys()):
        if now.get(place) == then.get(place):
            continue
        before, row = _facts(_held(route, place)), None
        if place in then:
            state, until = then[place]
            row = _row(place, state=state, until=until, reason=reason, actor=actor, at=timezone.now())
        _write(route, place, row)
        after = {"state": row["state"], "until": then[place][1], "force_reason": row["reason"]} if row else {}
        _record(actor, "route.breaker_force" if row else "route.breaker_release", route, place, before, after, reason)


def _locked(route: Route) -> Route:
    Route.objects.select_for_update().get(pk=route.pk)
    return selectors.with_parts(Route.objects.filter(pk=route.pk)).get()


def _held(route: Route, place: TargetSpec) -> selectors.HeldBreaker | None:
    return next((held for held in selectors.held_breakers(route) if held.target == place), None)


def _row(place: TargetSpec, *, state: str, until: datetime | None, reason: str, actor: Actor, at: datetime) -> dict[str, Any]:
    return {
        "provider": place.provider,
        "model": place.model,
        "endpoint": place.endpoint,
        "state": state,
        "until": None if until is None else until.isoformat(),
        "reason": reason.strip()[:300],
        "by": actor.name[:500],
        "at": at.isoformat(),
    }


def _write(route: Route, place: TargetSpec, row: dict[str, Any] | None) -> None:
    others = [each for each in route.forced if (each["provider"], each["model"], each["endpoint"]) != place[:3]]
    route.forced = sorted([*others, row] if row else others, key=lambda each: (each["provider"], each["endpoint"], each["model"]))
    route.save(update_fields=["forced", "changed_at"])
    section_touch(section="routes", ids=[str(route.pk)])


def _facts(held: selectors.HeldBreaker | None) -> dict[str, Any]:
    return {} if held is None else {"state": held.state, "until": held.until, "force_reason": held.reason}


def _record(actor: Actor, action: str, route: Route, place: TargetSpec, before: dict[str, Any], after: dict[str, Any], reason: str) -> None:
    """The audit's fields name the target: a route may have several forced breakers."""
    name = f"breaker of {choices.target_text(place)}: "
    change_record(actor, action, route, {name + k: v for k, v in before.items()}, {name + k: v for k, v in after.items()}, reason)
