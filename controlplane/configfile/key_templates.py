"""Teams' templates of keys: document's entries <-> the service and the rows."""

from __future__ import annotations

from typing import Any, cast

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.contracts.limits import MEASURES
from apps.keys.models import KeyTemplate
from apps.keys.template_services import key_template_delete, key_template_set
from apps.ownership.models import Team
from apps.ownership.selectors import team_get
from controlplane.configfile.document import KeyTemplateEntry


def entry_apply(organisation: Organisation, entry: KeyTemplateEntry, *, actor: Actor, reason: str) -> None:
    """Make the team's template what the entry says."""
    key_template_set(
        actor=actor,
        team=_team(organisation, entry.name),
        routes=entry.routes,
        environments=entry.environments,
        most_keys=entry.most_keys,
        longest_days=entry.longest_days,
        limits={kind: amount for kind in MEASURES if (amount := getattr(entry, kind)) is not None},
        budget_nano=entry.budget,
        budget_window=entry.budget_window,
        reason=reason,
    )


def entry_remove(organisation: Organisation, name: str, *, actor: Actor, reason: str) -> None:
    """No template of that team any more."""
    team = team_get(organisation=organisation, slug=name)
    if team is not None:
        key_template_delete(actor=actor, team=team, reason=reason)


def entries_of(organisation: Organisation) -> list[KeyTemplateEntry]:
    """Every template, by its team."""
    rows = KeyTemplate.objects.filter(team__organisation=organisation).select_related("team").order_by("team__slug")
    return [
        KeyTemplateEntry(
            name=row.team.slug,
            routes=list(row.routes),
            environments=cast(Any, list(row.environments)),
            most_keys=row.most_keys,
            longest_days=row.longest_days,
            budget=row.budget_nano,
            budget_window=cast(Any, row.budget_window),
            **row.limits,
        )
        for row in rows
    ]


def _team(organisation: Organisation, slug: str) -> Team:
    team = team_get(organisation=organisation, slug=slug)
    if team is None:
        raise ServiceError(f"there is no team {slug!r}: add it under teams", "name")
    return team
