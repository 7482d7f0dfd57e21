"""How often one token may call, by the generic cell rate algorithm: a steady rate, and bursts up to a bound.

Kept in this process's memory: the bound holds while Redis and Postgres are away, and with several web processes it is that of each.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from threading import Lock
from typing import Any

from rest_framework.request import Request
from rest_framework.throttling import BaseThrottle

EXACT = 1e-6
"""Seconds that a float's rounding may take or give."""
REMEMBERED = 10_000
"""Names that are told apart; beyond it the one that was not heard of for longest is forgotten, and starts anew."""


class Rate:
    """``per_minute`` on average and ``burst`` at once, for each name.

    Invariant: in any span of t seconds a name takes at most ``burst + t * per_minute / 60``.
    """

    def __init__(self, *, per_minute: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.interval = 60 / per_minute
        self.slack = (burst - 1) * self.interval
        self.clock = clock
        self._next: OrderedDict[str, float] = OrderedDict()
        self._lock = Lock()

    def wait(self, name: str) -> float:
        """Seconds until ``take`` would succeed; 0: now. Takes nothing."""
        with self._lock:
            return max(0.0, self._next.get(name, 0.0) - self.slack - self.clock())

    def take(self, name: str) -> float:
        """Take one; returns 0, or the seconds to wait, and then nothing was taken."""
        with self._lock:
            now = self.clock()
            due = max(self._next.get(name, now), now)
            if due - self.slack > now + EXACT:
                return due - self.slack - now
            self._next[name] = due + self.interval
            self._next.move_to_end(name)
            if len(self._next) > REMEMBERED:
                self._next.popitem(last=False)
            return 0.0


CALLS = Rate(per_minute=600, burst=120)
"""Of one token, or of one person's sessions."""
REFUSALS = Rate(per_minute=10, burst=30)
"""Of wrong tokens from one address."""


class CallerThrottle(BaseThrottle):
    """``CALLS`` of whoever calls."""

    def __init__(self) -> None:
        self.waiting = 0.0

    def allow_request(self, request: Request, view: Any) -> bool:
        caller = request.auth or request.user
        self.waiting = CALLS.take(str(caller.pk)) if getattr(caller, "pk", None) else 0.0
        return not self.waiting

    def wait(self) -> float:
        return self.waiting
