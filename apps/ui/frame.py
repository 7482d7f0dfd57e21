"""What is the same on page after page, drawn once: the rail's links and what opens over the page. Pure templates of few facts.

Nothing here may follow from the request, the person or the database beyond what the functions are given: they are kept for as long as the
process runs.
"""

from __future__ import annotations

from functools import lru_cache

from django.conf import settings
from django.template.loader import render_to_string
from django.urls import get_script_prefix, get_urlconf
from django.utils.safestring import SafeString

from apps.ui.navigation import Job

Jobs = tuple[Job, ...]


def rail_drawn(jobs: Jobs, view_name: str) -> SafeString:
    """The links of the rail for who may see ``jobs``, on a page of ``view_name``."""
    return _rail(jobs, view_name, *_addresses())


def overlays_drawn(jobs: Jobs) -> SafeString:
    """The command palette and the help of the keyboard, which names the keys of ``jobs``."""
    return _overlays(jobs, *_addresses())


def _addresses() -> tuple[str, str]:
    """What the addresses of places follow from."""
    return get_urlconf() or settings.ROOT_URLCONF, get_script_prefix()


@lru_cache(maxsize=500)
def _rail(jobs: Jobs, view_name: str, urlconf: str, prefix: str) -> SafeString:
    return render_to_string("ui/rail.html", {"rail": jobs, "current_place": view_name})


@lru_cache(maxsize=50)
def _overlays(jobs: Jobs, urlconf: str, prefix: str) -> SafeString:
    return render_to_string("ui/overlays.html", {"rail": jobs})
