"""What every page's frame needs and no database knows: the chosen theme and where in the rail the page stands."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.http import HttpRequest

from apps.ui.views import THEME_COOKIE, THEMES


def frame(request: HttpRequest) -> dict[str, Any]:
    """``theme``, ``current_place`` and ``environment_name``."""
    match = request.resolver_match
    theme = request.COOKIES.get(THEME_COOKIE, "")
    return {
        "theme": theme if theme in THEMES else "",
        "environment_name": settings.ENVIRONMENT_NAME,
        "current_place": match.view_name if match else "",
    }
