"""What every page's frame needs and no database knows: the rail, the chosen theme."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from apps.ui.navigation import rail_for
from apps.ui.views import THEME_COOKIE, THEMES


def frame(request: HttpRequest) -> dict[str, Any]:
    """``rail`` (evaluated only where a template draws it), ``theme`` and ``current_place``."""
    match = request.resolver_match
    theme = request.COOKIES.get(THEME_COOKIE, "")
    return {
        "rail": SimpleLazyObject(lambda: rail_for(request.user)),
        "theme": theme if theme in THEMES else "",
        "current_place": match.view_name if match else "",
    }
