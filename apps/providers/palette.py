"""Providers in the command palette."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.urls import reverse

from apps.accounts.rules import roles_for
from apps.providers.choices import KINDS
from apps.providers.models import Provider
from apps.ui.palette import Hit


def providers_for_palette(user: Any, query: str, limit: int) -> Sequence[Hit]:
    """Providers of the person's organisations whose name contains the query: one query."""
    roles = [role.value for role in roles_for("provider.view")]
    found = Provider.objects.filter(organisation__memberships__user=user, organisation__memberships__role__in=roles)
    found = found.filter(name__icontains=query).select_related("organisation").order_by("name")[:limit]
    return [
        Hit(
            title=row.name,
            subtitle=f"{KINDS[row.kind].label if row.kind in KINDS else row.kind} · {row.organisation.name}",
            url=reverse("providers:detail", args=[row.pk]) + f"?org={row.organisation.slug}",
            icon="providers",
        )
        for row in found
    ]
