"""Writes of teams' templates: what their members may make for themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from django.db import transaction

from apps.accounts.selectors import permission_require
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.services import change_record
from apps.contracts.money import dollars_text
from apps.keys import rules
from apps.keys.models import KeyTemplate
from apps.keys.wishes import Bounds, check_budget, check_limits
from apps.ownership.models import Team

MOST_KEYS, MOST_DAYS = 10_000, 3_650


@transaction.atomic
def key_template_set(
    *,
    actor: Actor,
    team: Team,
    routes: Sequence[str],
    environments: Sequence[str],
    most_keys: int,
    longest_days: int | None = None,
    limits: Mapping[str, int] | None = None,
    budget_nano: int | None = None,
    budget_window: str = "month",
    reason: str = "",
) -> KeyTemplate:
    """Make the team's template what is asked; the same again changes nothing. Keys that exist stay as they are.

    budget_nano: nano-dollars per ``budget_window`` that one key may have; None: a key needs no budget. Raises ServiceError.
    """
    permission_require(actor=actor, action="key_template.change", organisation=team.organisation)
    if not environments:
        raise ServiceError("choose at least one environment, or delete the template: then members ask for every key", "environments")
    if not 1 <= most_keys <= MOST_KEYS:
        raise ServiceError(f"a team's members make 1 to {MOST_KEYS} keys; delete the template to let them make none", "most_keys")
    if longest_days is not None and not 1 <= longest_days <= MOST_DAYS:
        raise ServiceError(f"a key lives 1 to {MOST_DAYS} days; leave it empty for no end", "longest_days")
    values: dict[str, Any] = {
        "routes": rules.check_routes(routes),
        "environments": [rules.check_environment(environment) for environment in dict.fromkeys(environments)],
        "most_keys": most_keys,
        "longest_days": longest_days,
        "limits": check_limits(limits or {}),
        "budget_nano": check_budget(budget_nano, budget_window) or None,
        "budget_window": budget_window,
    }
    Team.objects.select_for_update().get(pk=team.pk)
    row = KeyTemplate.objects.select_related("team").filter(team=team).first()
    if row is None:
        row = KeyTemplate.objects.create(team=team, **values)
        change_record(actor, "key_template.create", row, {}, template_facts(row), reason)
        return row
    before = template_facts(row)
    for field, value in values.items():
        setattr(row, field, value)
    after = template_facts(row)
    changed = [field for field in after if after[field] != before[field]]
    if changed:
        row.save()
        change_record(actor, "key_template.update", row, {f: before[f] for f in changed}, {f: after[f] for f in changed}, reason)
    return row


@transaction.atomic
def key_template_delete(*, actor: Actor, team: Team, reason: str = "") -> None:
    """From now on the team's members ask for every key. A second time changes nothing."""
    permission_require(actor=actor, action="key_template.change", organisation=team.organisation)
    row = KeyTemplate.objects.select_for_update().filter(team=team).first()
    if row is not None:
        change_record(actor, "key_template.delete", row, template_facts(row), {}, reason)
        row.delete()


def template_facts(row: KeyTemplate) -> dict[str, Any]:
    """What the audit keeps of a template."""
    return {
        "routes": list(row.routes),
        "environments": list(row.environments),
        "most_keys": row.most_keys,
        "longest_days": row.longest_days,
        "limits": dict(row.limits),
        "budget": f"${dollars_text(row.budget_nano)} per {row.budget_window}" if row.budget_nano else "",
    }


def bounds_of(row: KeyTemplate | None) -> Bounds | None:
    """The bounds that a template sets; None: none are set, and members ask."""
    if row is None:
        return None
    return Bounds(
        routes=tuple(row.routes),
        environments=tuple(row.environments),
        most_keys=row.most_keys,
        longest_days=row.longest_days,
        limits=dict(row.limits),
        budget_nano=row.budget_nano,
        budget_window=row.budget_window,
    )
