"""Teams, services, rotations and runbooks in the command palette."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from django.db.models import Model, Q
from django.urls import reverse

from apps.accounts.rules import roles_for
from apps.ownership.models import Rotation, Runbook, Service, Team
from apps.ui.palette import Hit

Source = Callable[[Any, str, int], Sequence[Hit]]


def _source(model: type[Model], *, action: str, page: str, icon: str, names: tuple[str, str], owner: str = "") -> Source:
    """Rows of the person's organisations whose title or short name holds the query, the shortest title first: one query.
    names: the columns of the title and of the short name. owner: what leads from a row to its organisation."""
    roles = [role.value for role in roles_for(action)]
    organisation = f"{owner}organisation"

    def found(user: Any, query: str, limit: int) -> list[Hit]:
        belongs = {f"{organisation}__memberships__user": user, f"{organisation}__memberships__role__in": roles}
        named = Q(**{f"{names[0]}__icontains": query}) | Q(**{f"{names[1]}__icontains": query})
        rows = model._default_manager.filter(named, **belongs).values_list("pk", names[0], f"{organisation}__name", f"{organisation}__slug")
        best = sorted(rows[: limit * 20], key=lambda row: (len(row[1]), row[1]))[:limit]
        return [Hit(title, where, f"{reverse(page, args=[pk])}?org={slug}", icon) for pk, title, where, slug in best]

    return found


SOURCES: dict[str, Source] = {
    "Teams": _source(Team, action="team.view", page="ownership:team", icon="person", names=("name", "slug")),
    "Services": _source(Service, action="team.view", page="ownership:service", icon="requests", names=("name", "slug"), owner="team__"),
    "Rotations": _source(Rotation, action="ownership.view", page="ownership:rotation", icon="clock", names=("name", "kind")),
    "Runbooks": _source(Runbook, action="ownership.view", page="ownership:runbook", icon="history", names=("title", "name")),
}
