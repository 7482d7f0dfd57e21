"""Keys in the command palette, by name or public id; never by anything of their secret."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db.models import Q
from django.urls import reverse

from apps.accounts.rules import roles_for
from apps.keys.models import VirtualKey
from apps.ui.palette import Hit


def keys_for_palette(user: Any, query: str, limit: int) -> Sequence[Hit]:
    """Keys of the person's organisations, those that are not revoked, the shortest name first: one query."""
    roles = [role.value for role in roles_for("key.view")]
    wanted = query.removeprefix("bk-").partition("-")[0] or query  # whoever pastes a whole token finds its key by the public part
    rows = (
        VirtualKey.objects.filter(organisation__memberships__user=user, organisation__memberships__role__in=roles, state="active")
        .filter(Q(name__icontains=query) | Q(public_id__istartswith=wanted))
        .values_list("pk", "name", "public_id", "organisation__name", "organisation__slug")
    )
    found = sorted(rows[: limit * 20], key=lambda row: (len(row[1]), row[1]))[:limit]
    return [
        Hit(name, f"{public_id}, {organisation}", f"{reverse('keys:detail', args=[pk])}?org={slug}", "keys")
        for pk, name, public_id, organisation, slug in found
    ]
