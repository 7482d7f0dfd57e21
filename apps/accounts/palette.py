"""People in the command palette."""

from __future__ import annotations

from typing import Any

from django.db.models import Exists, Q
from django.urls import reverse

from apps.accounts.models import MAIN_ORGANISATION, Membership, User
from apps.accounts.rules import roles_for
from apps.ui.palette import Hit


def allowed_in_installation(user: Any, action: str) -> Exists:
    """A condition that holds where the person may do ``action`` on the installation: a part of a query, not one of its own."""
    roles = [role.value for role in roles_for(action)]
    return Exists(Membership.objects.filter(user_id=user.pk, user__is_active=True, organisation__slug=MAIN_ORGANISATION, role__in=roles))


def people_for_palette(user: Any, query: str, limit: int) -> list[Hit]:
    """People whose email or name has every word of the query: one query."""
    rows = User.objects.filter(allowed_in_installation(user, "user.view"))
    for word in query.split()[:8]:
        rows = rows.filter(Q(email__icontains=word) | Q(name__icontains=word))
    return [
        Hit(row.email, row.name if row.is_active else "Disabled", reverse("settings:person", args=[row.pk]), "person")
        for row in rows.order_by("-is_active", "email")[:limit]
    ]
