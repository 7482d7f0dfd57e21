"""One's own personal tokens in the command palette, by name; never by anything of their secret."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.urls import reverse
from django.utils import timezone

from apps.accounts.token_models import PersonalToken
from apps.ui.palette import Hit


def tokens_for_palette(user: Any, query: str, limit: int) -> Sequence[Hit]:
    """The person's tokens that are not revoked, by name: one query."""
    rows = PersonalToken.objects.filter(user_id=user.pk, revoked_at=None, name__icontains=query).order_by("name")[:limit]
    now, page = timezone.now(), reverse("settings:tokens")
    return [Hit(row.name, "expired" if row.expires_at <= now else f"until {row.expires_at:%Y-%m-%d}", page, "keys") for row in rows]
