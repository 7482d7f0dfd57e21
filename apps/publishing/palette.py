"""Config versions in the command palette."""

from __future__ import annotations

from typing import Any

from django.urls import reverse

from apps.accounts.palette import allowed_in_installation
from apps.publishing.selectors import versions
from apps.ui.palette import Hit


def versions_for_palette(user: Any, query: str, limit: int) -> list[Hit]:
    """The version of a number (``v12``, ``12``), or those whose reason has the text: one query, the newest first."""
    rows = versions().filter(allowed_in_installation(user, "config.view"))
    number = query.strip().lower().removeprefix("v")
    plain = number.isascii() and number.isdigit() and len(number) < 19
    rows = rows.filter(number=int(number)) if plain else rows.filter(reason__icontains=query.strip())
    return [
        Hit(
            f"Config v{row.number}",
            f"{row.reason or 'no reason given'} ({row.actor_name})",
            reverse("publishing:version", args=[row.number]),
            "history",
        )
        for row in rows[:limit]
    ]
