"""Rows -> the section ``limits``, and back when a version is rolled back."""

from __future__ import annotations

from typing import Any, cast

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.budgets.limit_services import limit_delete, limit_restore
from apps.budgets.models import Limit
from apps.contracts.snapshot import Fragment, LimitFragment
from apps.ownership.models import Team
from apps.publishing.registry import Section


def _build(ids: set[str] | None) -> dict[str, Fragment]:
    rows = list(Limit.objects.filter(deleted_at=None) if ids is None else Limit.objects.filter(deleted_at=None, pk__in=ids))
    slugs = {str(team.pk): team.slug for team in Team.objects.filter(pk__in=[row.scope_id for row in rows if row.scope == "team"])}
    return {
        str(row.pk): LimitFragment(
            id=str(row.pk),
            name=row.name,
            organisation=str(row.organisation_id),
            scope=cast(Any, row.scope),
            scope_id=slugs.get(row.scope_id, "") if row.scope == "team" else row.scope_id,
            kind=cast(Any, row.kind),
            amount=row.amount,
        )
        for row in rows
    }


def _restore(*, actor: Actor, object_id: str, fragment: Fragment | None, reason: str) -> None:
    if fragment is None:
        row = Limit.objects.filter(pk=object_id).first()
        if row is not None:
            limit_delete(actor=actor, limit=row, reason=reason)
        return
    then = cast(LimitFragment, fragment)
    scope_id = then.scope_id
    if then.scope == "team":
        team = Team.objects.filter(organisation_id=then.organisation, slug=then.scope_id).first()
        if team is None:
            raise ServiceError(f"the limit {then.name!r} was for the team {then.scope_id!r}, which is gone", "scope_id")
        scope_id = str(team.pk)
    limit_restore(
        actor=actor,
        limit_id=object_id,
        organisation=Organisation.objects.get(pk=then.organisation),
        name=then.name,
        scope=then.scope,
        scope_id=scope_id,
        kind=then.kind,
        amount=then.amount,
        reason=reason,
    )


limits = Section(build=_build, restore=_restore)
