"""How a flag stands, apart from what it is: a document that does not say ``on`` leaves that to people."""

from __future__ import annotations

from typing import Any

from django.utils import timezone

from apps.flags.models import Flag

FLAG_STANDING = ("on", "reason", "until", "share", "simulated_only", "acknowledge")
"""Fields of an entry."""


def flag_standing(flag: Flag) -> dict[str, Any]:
    """Those fields as the flag has them. One whose time is over is off."""
    over = flag.until is not None and flag.until <= timezone.now()
    return {
        "on": flag.on and not over,
        "reason": flag.reason,
        "until": None if over else flag.until,
        "share": flag.share,
        "simulated_only": flag.simulated_only,
        "acknowledge": flag.acknowledged,
    }
