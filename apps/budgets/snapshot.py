"""Rows -> the section ``budgets``, and back when a version is rolled back."""

from __future__ import annotations

from typing import Any, cast

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.budgets.models import Budget
from apps.budgets.services import budget_delete, budget_restore
from apps.contracts.snapshot import BudgetFragment, Fragment
from apps.publishing.registry import Section


def _build(ids: set[str] | None) -> dict[str, Fragment]:
    rows = Budget.objects.filter(deleted_at=None)
    if ids is not None:
        rows = rows.filter(pk__in=ids)
    return {
        str(row.pk): BudgetFragment(
            id=str(row.pk),
            name=row.name,
            organisation=str(row.organisation_id),
            scope=cast(Any, row.scope),
            scope_id=row.scope_id,
            window=cast(Any, row.window),
            timezone=row.timezone,
            limit_nano=row.limit_nano,
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
    budget_restore(
        actor=actor,
        budget_id=object_id,
        organisation=Organisation.objects.get(pk=then.organisation),
        name=then.name,
        scope=then.scope,
        scope_id=then.scope_id,
        window=then.window,
        timezone=then.timezone,
        limit_nano=then.limit_nano,
        reason=reason,
    )


budgets = Section(build=_build, restore=_restore)
