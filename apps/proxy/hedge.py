"""Hedging: when the first attempt is late, a second one elsewhere; the first to produce is the answer, the other is cancelled.

Invariants: at most one attempt of a race claims the answer; a loser is closed (its slot, reservation and connection given back, what it may
have cost accounted) before the winner's answer is finished; hedges are at most the route's share of its recent requests, and each
reserves its own bound first: without room for it there is no hedge.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any

from apps.proxy.driver import Driver, Waiter
from apps.proxy.errors import AttemptFailed, Beaten, ProxyError

if TYPE_CHECKING:
    from apps.proxy.attempt import Attempt

RESERVE = 3.0


class HedgeBudget:
    """One per route and process: hedges per request, 0..1."""

    __slots__ = ("_left", "share")

    def __init__(self, share: float) -> None:
        self.share = share
        self._left = 1.0

    def request(self) -> None:
        self._left = min(RESERVE, self._left + self.share)

    def take(self) -> bool:
        if self._left >= 1.0:
            self._left -= 1.0
            return True
        return False


class Race(Waiter):
    """Resolves with None when one attempt has given the whole answer; fails with the failure of the first one started when none has."""

    __slots__ = ("_attempts", "_drivers", "_first_error", "_running", "winner")

    def __init__(self) -> None:
        super().__init__()
        self._drivers: list[Driver] = []
        self._attempts: dict[int, Attempt] = {}
        self._running = 0
        self._first_error: BaseException | None = None
        self.winner: Attempt | None = None

    def start(self, flight: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Runs one attempt; its end is the race's business."""
        number = len(self._drivers)
        self._running += 1
        driver = Driver(self._follow(number, flight), self._crashed)
        self._drivers.append(driver)
        driver.start()

    def enter(self, attempt: Attempt) -> None:
        """Called by the flight when its attempt exists: it must claim before it commits."""
        attempt.race = self

    def claim(self, attempt: Attempt) -> bool:
        """True for the first to produce; the others end at once."""
        if self.winner is None:
            self.winner = attempt
            attempt.exchange.templates = attempt.templates  # the record is the winner's
            for driver in self._drivers:
                if driver is not attempt._driver:  # the winner's own: waiting for its end, or the one that runs this
                    driver.throw(Beaten())
        return self.winner is attempt

    def stop(self, error: ProxyError) -> None:
        """Ends every attempt: the app left."""
        for driver in self._drivers:
            driver.throw(error)

    @property
    def alone(self) -> bool:
        """Whether a second attempt may be started: one runs, and nothing is decided."""
        return not self.done and self.winner is None and self._running == 1

    async def _follow(self, number: int, flight: Callable[[], Coroutine[Any, Any, None]]) -> None:
        try:
            await flight()
        except (AttemptFailed, ProxyError) as error:
            self._ended(error, first=number == 0)
        else:
            self._ended(None)

    def _ended(self, error: ProxyError | None, *, first: bool = False) -> None:
        self._running -= 1
        if error is None:
            self.resolve()
            return
        if self.winner is not None and not isinstance(error, Beaten):
            self.fail(error)  # the winner itself broke off, after its beginning was given
            return
        if not isinstance(error, Beaten) and (first or self._first_error is None):
            self._first_error = error
        if self._running == 0 and self.winner is None:
            self.fail(self._first_error or error)

    def _crashed(self, error: BaseException) -> None:
        self._running -= 1
        self._first_error = error
        self.stop(Beaten())  # the other attempt is closed before anybody hears of it
        self.fail(error)
