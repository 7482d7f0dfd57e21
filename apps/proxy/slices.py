"""What this process holds of budgets: a slice each, that requests reserve from and settle against.

Slices know neither who waits nor how to ask the database (``apps.proxy.leases`` does); they tell it when money came free
and when there is something to say. All amounts are nano-dollars and totals, so lost answers are harmless.

A slice aims at two seconds of the recent spend rate, and at a few of the largest recent reservations. The rate is told by
ticks, and between them by whoever asks for more, so that a burst after a quiet time takes a few calls and not hundreds. It is
refilled in the background at half of that, given back when unused for two seconds or when recalled; a grant that was
cut short stops refills ahead for a while, so that near the limit money lies in Postgres rather than in slices.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable

from apps.contracts.leases import LeaseState
from apps.contracts.usage import Charge
from apps.proxy.errors import SettleError

IDLE_SECONDS = 2.0
"""After this long without a reservation a slice is given back."""
AHEAD_SECONDS = 2.0
"""How much of the recent spend rate a slice should cover."""
AHEAD_RESERVATIONS = 8
"""How many of the largest recent reservations a slice should cover."""
TICK_SECONDS = 0.5
LEAST_SECONDS = 0.05
"""A rate is never told from less time than this: a few requests at once are no thousand a second."""
LINGER_MS = 5_000
"""An ended slice is remembered so long, because the database's clock, which decides, may still be in its window."""

NEVER = 2**62
log = logging.getLogger("bulkhead.leases")


class Slice:
    """One slice. available = granted - returned - consumed - reserved; ``consumed`` follows from the others."""

    __slots__ = (
        "available",
        "budget",
        "confirmed",
        "cool_until",
        "generation",
        "granted",
        "id",
        "idle_since",
        "line",
        "low",
        "mark",
        "marked_at",
        "peak",
        "rate",
        "reserved",
        "returned",
        "seen_uses",
        "starts_at_ms",
        "until_ms",
        "uses",
        "watched",
        "window",
    )

    def __init__(self, state: LeaseState, now: float) -> None:
        self.id = state.lease
        self.budget = state.budget
        self.window = state.window
        self.starts_at_ms = state.starts_at_ms
        self.until_ms = state.ends_at_ms
        self.generation = state.generation
        self.granted = state.granted
        self.returned = state.returned
        self.confirmed = state.returned  # what the database knows of ``returned``
        self.available = state.granted - state.returned
        self.reserved = 0
        self.line = False  # a waiter holds the line: the hot path must queue
        self.watched = False  # somebody cares about settlements: waiters, or an ended window
        self.low = -1  # refill below this; -1: do not
        self.peak = 0  # largest recent reservation
        self.rate = 0.0  # recent spend, nano-dollars per second
        self.mark = 0  # commitments at the last tick
        self.marked_at = now
        self.uses = self.seen_uses = 0
        self.idle_since = self.cool_until = now

    @property
    def target(self) -> int:
        return max(int(self.rate * AHEAD_SECONDS), self.peak * AHEAD_RESERVATIONS)

    def hurry(self, now: float) -> None:
        """Somebody asks for more of it before the tick that would tell how fast it is spent: tell by what is known now."""
        committed = self.granted - self.returned - self.available
        self.rate = max(self.rate, (committed - self.mark) / max(now - self.marked_at, LEAST_SECONDS))


class Slices(ABC):
    """This process's slices of all budgets. Not thread-safe: one event loop.

    now_ms: database time in milliseconds since the epoch (monotonic clock plus measured offset).
    strict: a misuse of ``settle`` raises SettleError (tests); otherwise it is logged and changes nothing, because the
    caller is about to journal what was spent and must not be stopped from it.
    """

    def __init__(self, *, now_ms: Callable[[], int], strict: bool) -> None:
        self._now_ms = now_ms
        self._strict = strict
        self._current: dict[str, Slice] = {}
        self._by_id: dict[int, Slice] = {}
        self._ended: dict[int, Slice] = {}
        self._retired: set[int] = set()  # finished leases: their unsettled rest in the database is spent, not ours to give
        self._next_end = NEVER
        self._live: dict[int, list[Charge]] = {}
        self._refills: set[str] = set()
        self._unreturned: dict[int, Slice] = {}
        self._watched: set[str] = set()
        self._closed = False

    @abstractmethod
    def _kick(self) -> None:
        """There is something to tell the database: a refill, or money to give back."""

    @abstractmethod
    def _serve_soon(self) -> None:
        """Money came free in a slice that somebody watches."""

    # --- hot ---------------------------------------------------------------------------------------------------------

    def reserve(self, budgets: tuple[str, ...], amount: int) -> list[Charge] | None:
        """Take ``amount`` from every budget's slice, or from none. None: not at once, ``await reserve_wait`` instead.

        ``budgets`` must be distinct (the compiler of routes sees to it). The charges are settled exactly once.
        """
        if self._now_ms() >= self._next_end:
            self._expire()
        current = self._current
        taken = []
        for budget in budgets:
            lease = current.get(budget)
            if lease is None or lease.line or lease.available < amount:
                return None
            taken.append(lease)
        charges = []
        for lease in taken:
            left = lease.available - amount
            lease.available = left
            lease.reserved += amount
            lease.uses += 1
            if amount > lease.peak:
                lease.peak = amount
            if left < lease.low:
                self._refill(lease)
            charges.append(Charge(lease.id, amount))
        self._live[id(charges)] = charges
        return charges

    def settle(self, charges: list[Charge], cost: int) -> None:
        """Replace the reservation by what the attempt cost; 0 releases it. Exactly once per successful reserve.

        ``charges`` is the very list that ``reserve`` gave. A cost above the reservation is taken in full: the slice may go below
        zero, and the database books what its window did not hold as overrun.
        """
        if self._live.pop(id(charges), None) is None or cost < 0:
            if charges or cost < 0:
                self._misuse(charges, cost)
            return
        by_id = self._by_id
        watched = False
        for charge in charges:
            lease = by_id.get(charge.lease_id)
            if lease is None:  # nothing was reserved on it, so its ended window did not wait for this charge
                continue
            lease.reserved -= charge.reserved_nano
            lease.available += charge.reserved_nano - cost
            if lease.watched:
                watched = True
        if watched:
            self._serve_soon()

    # --- for people ---------------------------------------------------------------------------------------------------

    def held(self) -> list[tuple[str, int, int, int]]:
        """(budget, held, of that available, of that reserved by running requests) of each slice in its window, in nano-dollars."""
        return [(lease.budget, lease.available + lease.reserved, lease.available, lease.reserved) for lease in list(self._current.values())]

    # --- what the database says ---------------------------------------------------------------------------------------

    def _learn(self, state: LeaseState, *, overrule: bool = False) -> Slice | None:
        """Take over a newer state of a lease; a lease seen for the first time (its grant's answer was lost) is all ours."""
        if state.lease == 0 or state.lease in self._retired:
            return None
        lease = self._by_id.get(state.lease)
        if lease is None:
            lease = self._by_id[state.lease] = Slice(state, asyncio.get_running_loop().time())
        elif overrule or state.generation > lease.generation:
            lease.available += state.granted - lease.granted
            lease.granted = state.granted
            lease.generation = state.generation
            lease.confirmed = state.returned
            if state.returned > lease.returned:
                lease.available -= state.returned - lease.returned
                lease.returned = state.returned
            elif state.returned < lease.returned:
                self._unreturned[lease.id] = lease
        return lease

    def _adopt(self, lease: Slice, state: LeaseState) -> None:
        """Make it the budget's current slice. The database says that its window is now, even if our clock runs ahead."""
        if self._closed:
            self._give_back(lease)
            return
        old = self._current.get(lease.budget)
        if old is not None and old is not lease:
            self._end(old)
        self._ended.pop(lease.id, None)
        self._current[lease.budget] = lease
        lease.watched = lease.budget in self._watched
        lease.until_ms = max(state.ends_at_ms, self._now_ms() + 50)
        self._next_end = min(self._next_end, lease.until_ms)

    def _end(self, lease: Slice) -> None:
        """Its window is over: reservations stay with it, the rest goes back as it comes free."""
        if self._current.get(lease.budget) is lease:
            del self._current[lease.budget]
        lease.line, lease.watched, lease.low = False, True, -1
        self._ended[lease.id] = lease
        self._give_back(lease)

    def _expire(self) -> None:
        now_ms = self._now_ms()
        for lease in [each for each in self._current.values() if each.until_ms <= now_ms]:
            self._end(lease)
        self._next_end = min((lease.until_ms for lease in self._current.values()), default=NEVER)

    # --- giving back and ageing ---------------------------------------------------------------------------------------

    def _age(self, now: float) -> None:
        """One tick: rates, refills ahead armed again, idle slices given back, ended ones forgotten."""
        if self._now_ms() >= self._next_end:
            self._expire()
        for lease in self._current.values():
            committed = lease.granted - lease.returned - lease.available
            lease.rate += (max(0, committed - lease.mark) / TICK_SECONDS - lease.rate) / 2
            lease.mark, lease.marked_at = committed, now
            if lease.uses != lease.seen_uses:
                lease.seen_uses, lease.idle_since = lease.uses, now
                if lease.low < 0 and now >= lease.cool_until and lease.budget not in self._refills:
                    lease.low = lease.target // 2
                lease.peak -= lease.peak >> 4
            elif now - lease.idle_since >= IDLE_SECONDS:
                lease.low, lease.rate = -1, 0.0
                self._give_back(lease)
        for lease in list(self._ended.values()):
            self._give_back(lease)
            if lease.reserved == 0 and lease.id not in self._unreturned and self._now_ms() > lease.until_ms + LINGER_MS:
                del self._ended[lease.id], self._by_id[lease.id]
                self._retired.add(lease.id)

    def _refill(self, lease: Slice) -> None:
        lease.low = -1  # once; the answer or a tick arms it again
        self._refills.add(lease.budget)
        self._kick()

    def _give_back(self, lease: Slice) -> None:
        """Debit first, tell later: from here on the amount is not ours, whether or not the call arrives."""
        if lease.available > 0:
            lease.returned += lease.available
            lease.available = 0
            self._unreturned[lease.id] = lease
            self._kick()

    def _misuse(self, charges: list[Charge], cost: int) -> None:
        message = f"settle of charges that are not open, or at a negative cost: {charges!r} at {cost} nano-dollars"
        if self._strict:
            raise SettleError(message)
        log.error("leases: %s", message)
