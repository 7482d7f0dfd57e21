"""How often one token, one person, and one address with wrong tokens may call the API."""

from __future__ import annotations

from typing import Any

from rest_framework.exceptions import Throttled
from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

from apps.accounts.api.rates import Rate, SharedRate

__all__ = ["CALLS", "REFUSALS", "CallerThrottle", "Rate", "TooMany"]

CALLS: Rate = SharedRate("api", per_minute=600, burst=120)
"""Of one token, or of one person's sessions."""
REFUSALS: Rate = SharedRate("api-refused", per_minute=10, burst=30)
"""Of wrong tokens from one address."""


class TooMany(Throttled):
    """More calls than are allowed. counted: where they are counted."""

    def __init__(self, wait: float, *, counted: str) -> None:
        super().__init__(wait)
        self.counted = counted


class CallerThrottle(BaseThrottle):
    """``CALLS`` of whoever calls."""

    def allow_request(self, request: Request, view: Any) -> bool:
        caller = request.auth or request.user
        waiting = CALLS.take(str(caller.pk)) if getattr(caller, "pk", None) else 0.0
        if waiting:
            raise TooMany(waiting, counted=CALLS.counted)
        return True
