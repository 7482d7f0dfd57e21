"""Workers and deployments in the command palette."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.urls import reverse

from apps.accounts.rules import roles_for
from apps.fleet.models import Deployment, Worker
from apps.ui.palette import Hit


def fleet_for_palette(user: Any, query: str, limit: int) -> Sequence[Hit]:
    """Deployments and workers of the person's organisations whose name holds the query, the shortest name first: two queries."""
    roles = [role.value for role in roles_for("worker.view")]
    mine = {"organisation__memberships__user": user, "organisation__memberships__role__in": roles, "name__icontains": query}
    found: list[tuple[str, str, str]] = []
    for label, page, rows in (
        ("deployment", "fleet:deployment", Deployment.objects.filter(**mine)),
        ("worker", "fleet:worker", Worker.objects.filter(**mine, revoked_at=None)),
    ):
        for pk, name, organisation, slug in rows.values_list("pk", "name", "organisation__name", "organisation__slug")[: limit * 20]:
            found.append((name, f"{label}, {organisation}", f"{reverse(page, args=[pk])}?org={slug}"))
    return [Hit(name, about, url, "fleet") for name, about, url in sorted(found, key=lambda hit: (len(hit[0]), hit))[:limit]]
