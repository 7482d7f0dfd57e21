"""Routes in the command palette."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import Q
from django.urls import reverse

from apps.accounts.rules import roles_for
from apps.routes.models import Route
from apps.ui.palette import Hit


def routes_for_palette(user: Any, query: str, limit: int) -> Sequence[Hit]:
    """Routes of the person's organisations whose name or alias holds the query, the shortest name first: one query."""
    roles = [role.value for role in roles_for("route.view")]
    rows = (
        Route.objects.filter(organisation__memberships__user=user, organisation__memberships__role__in=roles)
        .filter(Q(name__icontains=query) | Q(alias_rows__name__icontains=query))
        .distinct()
        .values_list("pk", "name", "organisation__name", "organisation__slug", "enabled")
    )
    found = sorted(rows[: limit * 20], key=lambda row: (len(row[1]), row[1]))[:limit]
    return [
        Hit(name, f"{organisation}{'' if enabled else ', disabled'}", f"{reverse('routes:detail', args=[pk])}?org={slug}", "routes")
        for pk, name, organisation, slug, enabled in found
    ]
