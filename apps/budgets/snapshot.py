"""Rows -> the section ``budgets``, and back when a version is rolled back."""

from __future__ import annotations

from typing import Any, cast

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.budgets import rules
from apps.budgets.models import Budget
from apps.budgets.scoping import slugs_of
from apps.budgets.services import budget_delete, budget_restore
from apps.contracts.snapshot import BudgetFragment, Fragment
from apps.ownership.selectors import service_get, team_get
from apps.publishing.registry import Section


def _build(ids: set[str] | None) -> dict[str, Fragment]:
    rows = Budget.objects.filter(deleted_at=None)
    if ids is not None:
        rows = rows.filter(pk__in=ids)
    rows = list(rows)
    slugs = slugs_of(rows)
    return {
        str(row.pk): BudgetFragment(
            id=str(row.pk),
            name=row.name,
            organisation=str(row.organisation_id),
            scope=cast(Any, row.scope),
            scope_id=slugs.get(row.scope_ref, "") if row.scope in ("team", "service") else row.scope_id,
            window=cast(Any, row.window),
            timezone=row.timezone,
            limit_nano=row.limit_nano,
            hard=row.kind == "hard",
            open_when_away=row.open_when_away,
            actions=rules.actions_of(row.actions),
        )
        for row in rows
    }


def _restore(*, actor: Actor, object_id: str, fragment: Fragment | None, reason: str) -> None:
    if fragment is None:
        row = Budget.objects.filter(pk=object_id).first()
        if row is not None:
            budget_delete(actor=actor, budget=row, reason=reason)
        return
    then = cast(BudgetFragment, fragment)
    organisation = Organisation.objects.get(pk=then.organisation)
    scope_id: object = then.scope_id
    if then.scope in ("team", "service"):
        scope_id = _owner_id(organisation, then)
    budget_restore(
        actor=actor,
        budget_id=object_id,
        organisation=organisation,
        name=then.name,
        scope=then.scope,
        scope_id=scope_id,
        window=then.window,
        timezone=then.timezone,
        limit_nano=then.limit_nano,
        kind="hard" if then.hard else "throttle" if then.actions else "soft",
        open_when_away=then.open_when_away,
        actions=", ".join(f"{action.at_percent}: {action.do}" for action in then.actions),
        reason=reason,
    )


def _owner_id(organisation: Organisation, then: BudgetFragment) -> object:
    """Of the team or service that a fragment names by slugs. Raises ServiceError where it is gone."""
    team, _, service = then.scope_id.partition("/")
    found = (
        service_get(organisation=organisation, team_slug=team, slug=service) if service else team_get(organisation=organisation, slug=team)
    )
    if found is None:
        raise ServiceError(f"the budget {then.name!r} was for the {then.scope} {then.scope_id!r}, which is gone", "scope_id")
    return found.pk


budgets = Section(build=_build, restore=_restore)
