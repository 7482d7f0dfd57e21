"""What else follows an alert's event, told by apps above this one: incidents, for one.

A follower is called in the transaction that changes the alert, after whoever tells people, for each event once or, where something failed,
once more: what it does must be safe to do twice. Register in ``ready()``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from apps.alerts.models import Alert, AlertEvent

Follower = Callable[["Alert", "AlertEvent"], None]

_followers: dict[str, Follower] = {}


def register_follower(name: str, follower: Follower) -> None:
    """Name a follower; the same name again replaces it."""
    _followers[name] = follower


def follow(alert: Alert, event: AlertEvent) -> None:
    """Tell all of them, in the order of their names."""
    for name in sorted(_followers):
        _followers[name](alert, event)
