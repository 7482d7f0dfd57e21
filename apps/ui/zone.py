"""In which time zone a person reads times: UTC, or their browser's, remembered in a cookie. The database, URLs and CSV stay UTC."""

from __future__ import annotations

import zoneinfo
from collections.abc import Callable
from datetime import UTC, tzinfo
from functools import lru_cache

from django.http import HttpRequest, HttpResponseBase
from django.utils import timezone

ZONE_COOKIE = "zone"


@lru_cache(maxsize=64)
def zone_named(name: str) -> tzinfo | None:
    """The zone of an IANA name such as ``Europe/Berlin``; None for UTC and for what is no zone."""
    if not name or len(name) > 60 or name not in zoneinfo.available_timezones() or name in ("UTC", "Etc/UTC"):
        return None
    return zoneinfo.ZoneInfo(name)


def zone_label() -> str:
    """What stands beside times: ``UTC`` or the zone's name."""
    current = timezone.get_current_timezone()
    return "UTC" if current in (UTC, timezone.get_default_timezone()) else str(current)


class ZoneMiddleware:
    """Draws a page in the zone of the person's cookie. Stands last, so that it surrounds the view and nothing else."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        zone = zone_named(request.COOKIES.get(ZONE_COOKIE, ""))
        if zone is None:
            return self.get_response(request)
        with timezone.override(zone):
            return self.get_response(request)
