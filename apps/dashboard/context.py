"""What the bar and the rail of every page show. Lazy: pages without a frame, and fragments, ask the database nothing."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest
from django.utils.functional import SimpleLazyObject

from apps.accounts.scope import scope_choose
from apps.alerts.bar import gaps_shown
from apps.alerts.health import evaluation_health_of
from apps.dashboard.outages import outages
from apps.dashboard.redis_watch import redis_state
from apps.dashboard.selectors import fleet_of
from apps.flags.overrides import in_force_of
from apps.ui.navigation import may_of, rail_for


def bar(request: HttpRequest) -> dict[str, Any]:
    """``bar_choice``, ``bar_fleet``, ``rail``, ``outages``: what is away, and ``in_force``: what is on, for the page's top."""
    return {
        "bar_choice": SimpleLazyObject(lambda: scope_choose(request)),
        "bar_fleet": SimpleLazyObject(lambda: fleet_of(request)),
        "in_force": SimpleLazyObject(lambda: in_force_of(request)),
        "outages": SimpleLazyObject(lambda: outages(fleet_of(request), redis_state(), evaluation_health_of(request), gaps_shown(request))),
        "rail": SimpleLazyObject(lambda: rail_for(may_of(request))),
    }
