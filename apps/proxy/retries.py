"""A retry budget: what is tried again may be a share of what is asked, so that a provider in trouble is not buried in retries.

Invariant: over any stretch of requests, retries granted <= RESERVE + share x requests. Failover to another target is not a retry of
this kind: it is bounded by the route's attempts and its deadline, and by the breaker, which soon makes the other target the first.
"""

from __future__ import annotations

RESERVE = 10.0
"""Retries that a quiet route may make before any share has been earned, and the most that can be saved up beyond it."""


class RetryBudget:
    """One per route and process. share: retries per request, 0..1."""

    __slots__ = ("_left", "share", "spent", "turned_down")

    def __init__(self, share: float) -> None:
        self.share = share
        self._left = RESERVE
        self.spent = 0
        self.turned_down = 0

    def request(self) -> None:
        """A request came: earns its share."""
        left = self._left + self.share
        self._left = left if left < RESERVE else RESERVE

    def take(self) -> bool:
        """Whether one more retry may be made; it is spent then."""
        if self._left >= 1.0:
            self._left -= 1.0
            self.spent += 1
            return True
        self.turned_down += 1
        return False


class RetryBudgets:
    """By route; they outlive config versions."""

    __slots__ = ("_by_route",)

    def __init__(self) -> None:
        self._by_route: dict[str, RetryBudget] = {}

    def of(self, route_id: str, percent: int) -> RetryBudget:
        found = self._by_route.get(route_id)
        if found is None:
            found = self._by_route[route_id] = RetryBudget(percent / 100)
        elif found.share != percent / 100:
            found.share = percent / 100
        return found
