"""Flags in the command palette."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import Q
from django.urls import reverse

from apps.accounts.rules import roles_for
from apps.flags.models import Flag
from apps.ui.palette import Hit


def flags_for_palette(user: Any, query: str, limit: int) -> Sequence[Hit]:
    """Flags of the person's organisations whose name or purpose holds the query, the shortest name first: one query."""
    roles = [role.value for role in roles_for("flag.view")]
    rows = (
        Flag.objects.filter(organisation__memberships__user=user, organisation__memberships__role__in=roles)
        .filter(Q(name__icontains=query) | Q(purpose__icontains=query))
        .select_related("organisation")
    )
    found = sorted(rows[: limit * 20], key=lambda row: (len(row.name), row.name))[:limit]
    return [
        Hit(
            row.name,
            f"{row.organisation.name}, {row.get_kind_display().lower()}{', on' if row.in_force() else ''}",
            f"{reverse('flags:detail', args=[row.name])}?org={row.organisation.slug}",
            "flags",
        )
        for row in found
    ]
