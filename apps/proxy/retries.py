"""A retry budget: what is tried again may be a share of what is asked, so that a provider in trouble is not buried in retries.

Invariant: over any stretch of requests, retries granted <= RESERVE + share x requests. Failover to another target is not a retry of
this kind: it is bounded by the route's attempts and its deadline, and by the breaker, which soon makes the other target the first.
"""

from __future__ import annotations

RESERVE = 10.0
"""Retries that a quiet route may make before any share has been earned, and the most that can be saved up beyond it."""


class RetryBudget:
    """One per route and process. share: retries per request, 0..1. requests: counted up by each request as it comes."""

    __slots__ = ("_left", "_seen", "requests", "share", "spent", "turned_down")

    def __init__(self, share: float) -> None:
        self.share = share
        self._left = RESERVE
        self._seen = 0
        self.requests = 0
        self.spent = 0
        self.turned_down = 0

    def take(self) -> bool:
        """Whether one more retry may be made; it is spent then."""
        self._left = min(RESERVE, self._left + (self.requests - self._seen) * self.share)
        self._seen = self.requests
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
