"""What every page's frame needs and no database knows: theme, time zone, where in the rail the page stands, the policy's nonce."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest

from apps.ui.views import THEME_COOKIE, THEMES
from apps.ui.zone import zone_label


def frame(request: HttpRequest) -> dict[str, Any]:
    """``theme``, ``zone`` (empty for UTC), ``current_place``, ``environment_name`` and ``csp_nonce``, made when a script asks for it."""
    match = request.resolver_match
    theme = request.COOKIES.get(THEME_COOKIE, "")
    return {
        "theme": theme if theme in THEMES else "",
        "zone": "" if (label := zone_label()) == "UTC" else label,
        "csp_nonce": getattr(request, "csp_nonce", ""),
        "environment_name": settings.ENVIRONMENT_NAME,
        "current_place": match.view_name if match else "",
    }
