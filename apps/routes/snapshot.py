"""Rows -> the section ``routes``, and back when a version is rolled back."""

from __future__ import annotations

from typing import cast

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.contracts.snapshot import Fragment, RouteFragment, Target
from apps.publishing.registry import Section
from apps.routes import choices, selectors
from apps.routes.models import Route
from apps.routes.rules import TargetSpec
from apps.routes.services import route_delete, route_ensure


def _build(ids: set[str] | None) -> dict[str, Fragment]:
    rows = selectors.with_parts(Route.objects.all() if ids is None else Route.objects.filter(pk__in=ids))
    return {
        str(row.pk): RouteFragment(
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
            enabled=row.enabled,
        )
        for row in rows
    }


def _targets(route: Route, chain: str) -> list[Target]:
    return [Target(provider=spec.provider, model=spec.model, endpoint=spec.endpoint) for spec in selectors.target_specs(route, chain)]


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
    route_ensure(
        actor=actor,
        organisation=Organisation.objects.get(pk=then.organisation),
        name=then.name,
        targets=[TargetSpec(target.provider, target.model, target.endpoint) for target in then.targets],
        fallback=[TargetSpec(target.provider, target.model, target.endpoint) for target in then.fallback],
        aliases=then.aliases,
        deadlines=then.deadlines,
        max_output_tokens=then.max_output_tokens,
        max_attempts=then.max_attempts,
        unpriced=then.unpriced,
        enabled=then.enabled,
        reason=reason,
        id=object_id,
    )


routes = Section(build=_build, restore=_restore)
