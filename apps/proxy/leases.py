"""Slices of budgets, held in memory, so that a request costs no round trip (see ``apps.contracts.leases``).

``reserve`` is the hot path: it takes the amount from every budget's slice at once or from none. What does not
fit goes through ``reserve_wait``: all short requests of this proxy share one batched grant call, one in flight at a
time, and wait for grants, settlements and other proxies' returns, 250 ms at most.

Queueing. Waiters are served in order of arrival. For its first ``PATIENCE_SECONDS`` a waiter holds the line of the budgets
it is short of: nobody passes it, so small requests cannot starve a big one. After that it still waits but may be
passed, so a request that does not fit delays others by no more than that; one that can never fit (more than
limit - spent) is refused with the first answer.

Sizes. A slice aims at two seconds of the recent spend rate, and at a few of the largest recent reservations. It is
refilled in the background at half of that, given back when unused for two seconds or when recalled; a grant that was
cut short stops refills ahead for a while, so that near the limit money lies in Postgres rather than in slices.

Outages. While the store fails, slices are spent to the end, then requests are refused as ``unavailable``; the
first thing after an outage is ``lease_sync``. All amounts are nano-dollars and totals, so lost answers are harmless.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, NamedTuple, Protocol

from apps.contracts.leases import GONE_SQLSTATE, WAIT_SECONDS, BootGone, LeaseReturn, LeaseState, LeaseWant
from apps.contracts.money import MAX_NANO
from apps.contracts.usage import Charge

PATIENCE_SECONDS = 0.1
"""How long a waiter may keep later ones from passing it."""
RETRY_SECONDS = 0.02
"""Between two grant calls for a budget that could not give enough."""
IDLE_SECONDS = 2.0
"""After this long without a reservation a slice is given back."""
AHEAD_SECONDS = 2.0
"""How much of the recent spend rate a slice should cover."""
AHEAD_RESERVATIONS = 8
"""How many of the largest recent reservations a slice should cover."""
TICK_SECONDS = 0.5
LINGER_MS = 5_000
"""An ended slice is remembered so long, because the database's clock, which decides, may still be in its window."""
COOL_SECONDS = 1.0
"""No refill ahead for so long after a recall or a grant that was cut short."""
CALL_SECONDS = 5.0
"""A store call that takes longer counts as an outage."""

_NEVER = 2**62
log = logging.getLogger("bulkhead.leases")


class LeaseStore(Protocol):
    """The database's side. Every method is one round trip and returns the rows' states after the call.

    Raises BootGone where this process was declared dead, anything else where the database is away; a call that failed
    may or may not have happened. A budget that the database does not know has no row in the answer.
    """

    async def lease_grant(self, wants: Sequence[LeaseWant]) -> list[LeaseState]: ...

    async def lease_return(self, returns: Sequence[LeaseReturn]) -> list[LeaseState]: ...

    async def lease_sync(self) -> list[LeaseState]: ...


class Shortage(NamedTuple):
    """Why a reservation was refused, with the window's numbers as last told by the database (nano-dollars).

    exceeded: it does not fit. unavailable: the database did not answer in time, so nobody knows; retry.
    available: what could still be reserved here without anybody giving back.
    """

    kind: Literal["exceeded", "unavailable"]
    budget: str
    limit: int
    spent: int
    leased: int
    available: int


class SettleError(RuntimeError):
    """Charges settled twice, never reserved, or at a negative cost: a programming error in the caller."""


class _Lease:
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
        self.uses = self.seen_uses = 0
        self.idle_since = self.cool_until = now

    @property
    def target(self) -> int:
        return max(int(self.rate * AHEAD_SECONDS), self.peak * AHEAD_RESERVATIONS)


class _Waiter:
    __slots__ = ("amount", "budgets", "future", "joined", "patient_until")

    def __init__(self, budgets: tuple[str, ...], amount: int, future: asyncio.Future[list[Charge] | Shortage], joined: float) -> None:
        self.budgets = budgets
        self.amount = amount
        self.future = future
        self.joined = joined
        self.patient_until = joined + PATIENCE_SECONDS


class _Told:
    """What the database last said of a budget, and when we may ask again (event loop time)."""

    __slots__ = ("asked_at", "leased", "limit", "next_ask", "spent")

    def __init__(self) -> None:
        self.limit = self.spent = self.leased = 0
        self.asked_at = -1.0
        self.next_ask = 0.0


class Leases:
    """This process's slices of all budgets. Not thread-safe: one event loop.

    now_ms: database time in milliseconds since the epoch (monotonic clock plus measured offset).
    strict: a misuse of ``settle`` raises SettleError (tests); otherwise it is logged and changes nothing, because the
    caller is about to journal what was spent and must not be stopped from it.
    """

    def __init__(self, store: LeaseStore, *, now_ms: Callable[[], int], strict: bool = False) -> None:
        self._store = store
        self._now_ms = now_ms
        self._strict = strict
        self._current: dict[str, _Lease] = {}
        self._by_id: dict[int, _Lease] = {}
        self._ended: dict[int, _Lease] = {}
        self._retired: set[int] = set()  # finished leases: their unsettled rest in the database is spent, not ours to give
        self._next_end = _NEVER
        self._live: dict[int, list[Charge]] = {}
        self._waiters: dict[_Waiter, None] = {}
        self._told: dict[str, _Told] = {}
        self._refills: set[str] = set()
        self._unreturned: dict[int, _Lease] = {}
        self._lined: set[str] = set()
        self._watched: set[str] = set()
        self._serving = False
        self._pump: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._away = False
        self._retry_at = 0.0
        self._backoff = 0.0
        self._gone = False
        self._closed = False

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

    # --- waiting -----------------------------------------------------------------------------------------------------

    async def reserve_wait(self, budgets: tuple[str, ...], amount: int) -> list[Charge] | Shortage:
        """Reserve, waiting up to WAIT_SECONDS for grants, settlements and recalls. A cancelled wait takes nothing."""
        charges = self.reserve(budgets, amount)
        if charges is not None:
            return charges
        if self._closed or self._gone:
            return self._shortage("unavailable", budgets[0], amount)
        loop = asyncio.get_running_loop()
        waiter = _Waiter(budgets, amount, loop.create_future(), loop.time())
        self._waiters[waiter] = None
        timers = (loop.call_later(PATIENCE_SECONDS, self._serve), loop.call_later(WAIT_SECONDS, self._give_up, waiter))
        self._serve_soon()
        try:
            return await waiter.future
        except asyncio.CancelledError:
            if waiter.future.done() and not waiter.future.cancelled():
                late = waiter.future.result()
                if isinstance(late, list):
                    self.settle(late, 0)
            raise
        finally:
            for timer in timers:
                timer.cancel()
            if self._waiters.pop(waiter, waiter) is None:
                self._serve_soon()

    def recall(self, window: int) -> None:
        """Others need this window's money: give back at once what is not reserved. Called by the store's listener."""
        now = asyncio.get_running_loop().time()
        for lease in [*self._current.values(), *self._ended.values()]:
            if lease.window == window:
                lease.low, lease.cool_until = -1, now + COOL_SECONDS
                self._give_back(lease)

    async def run(self) -> None:
        """Upkeep until cancelled: rates, refills ahead, idle slices, ended windows, the way back after an outage."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            self._tick()

    async def close(self) -> None:
        """Give back what is available, refuse who waits, stop. Reservations still open are settled by the journal."""
        self._closed = True
        for lease in self._by_id.values():
            self._give_back(lease)
        self._current.clear()
        for waiter in list(self._waiters):
            self._answer(waiter, self._shortage("unavailable", waiter.budgets[0], waiter.amount))
        if self._pump is not None:
            await asyncio.wait([self._pump], timeout=CALL_SECONDS)
            self._pump.cancel()

    # --- serving waiters ---------------------------------------------------------------------------------------------

    def _serve_soon(self) -> None:
        """One pass over the waiters per turn of the event loop, however many settlements it brings."""
        if not self._serving:
            self._serving = True
            asyncio.get_running_loop().call_soon(self._serve)

    def _serve(self) -> None:
        self._serving = False
        if self._now_ms() >= self._next_end:
            self._expire()
        now = asyncio.get_running_loop().time()
        current = self._current
        held: set[str] = set()
        watched: set[str] = set()
        for waiter in list(self._waiters):
            if held.isdisjoint(waiter.budgets):
                short = self._short(waiter)
                if not short:
                    self._take(waiter)
                    continue
                if now < waiter.patient_until:
                    held.update(short)
            watched.update(waiter.budgets)
        for budget in self._lined | held:
            lease = current.get(budget)
            if lease is not None:
                lease.line = budget in held
        for budget in self._watched | watched:
            lease = current.get(budget)
            if lease is not None:
                lease.watched = budget in watched
        self._lined, self._watched = held, watched
        for lease in self._ended.values():
            self._give_back(lease)
        if self._waiters:
            self._kick()

    def _short(self, waiter: _Waiter) -> list[str]:
        """The budgets whose slice does not hold the waiter's amount."""
        short = []
        for budget in waiter.budgets:
            lease = self._current.get(budget)
            if lease is None or lease.available < waiter.amount:
                short.append(budget)
        return short

    def _take(self, waiter: _Waiter) -> None:
        charges = []
        for budget in waiter.budgets:
            lease = self._current[budget]
            lease.available -= waiter.amount
            lease.reserved += waiter.amount
            lease.uses += 1
            lease.peak = max(lease.peak, waiter.amount)
            charges.append(Charge(lease.id, waiter.amount))
        self._live[id(charges)] = charges
        if not self._answer(waiter, charges):
            self.settle(charges, 0)

    def _answer(self, waiter: _Waiter, result: list[Charge] | Shortage) -> bool:
        self._waiters.pop(waiter, None)
        if waiter.future.done():
            return False
        waiter.future.set_result(result)
        return True

    def _give_up(self, waiter: _Waiter) -> None:
        short = self._short(waiter)
        if not short:
            self._take(waiter)
            return
        told = self._told.get(short[0])
        answered = told is not None and told.asked_at >= waiter.joined and not self._away
        self._answer(waiter, self._shortage("exceeded" if answered else "unavailable", short[0], waiter.amount))
        self._serve_soon()

    def _shortage(self, kind: Literal["exceeded", "unavailable"], budget: str, amount: int) -> Shortage:
        told = self._told.get(budget) or _Told()
        lease = self._current.get(budget)
        held = lease.available if lease is not None else 0
        room = max(0, told.limit - told.spent - told.leased) + max(0, held)
        return Shortage(kind, budget, told.limit, told.spent, told.leased, min(room, max(0, amount - 1)) if kind == "exceeded" else room)

    # --- talking to the store ----------------------------------------------------------------------------------------

    def _refill(self, lease: _Lease) -> None:
        lease.low = -1  # once; the answer or a tick arms it again
        self._refills.add(lease.budget)
        self._kick()

    def _give_back(self, lease: _Lease) -> None:
        """Debit first, tell later: from here on the amount is not ours, whether or not the call arrives."""
        if lease.available > 0:
            lease.returned += lease.available
            lease.available = 0
            self._unreturned[lease.id] = lease
            self._kick()

    def _kick(self) -> None:
        if self._gone:
            return
        if self._pump is None or self._pump.done():
            self._pump = asyncio.get_running_loop().create_task(self._talk(), name="leases")
        else:
            self._wake.set()

    async def _talk(self) -> None:
        """One call at a time until there is nothing to say: sync after an outage, then returns, then grants."""
        loop = asyncio.get_running_loop()
        while True:
            self._wake.clear()
            if loop.time() >= self._retry_at:
                try:
                    await self._exchange(loop.time())
                except BootGone:
                    self._drop_everything()
                    return
                except Exception as error:  # the store's border: any failure of the database is an outage to us
                    if getattr(error, "sqlstate", None) == GONE_SQLSTATE:
                        self._drop_everything()
                        return
                    self._fail(error, loop.time())
            delay = self._delay(loop.time())
            if delay is None:
                return
            if delay > 0:
                try:
                    async with asyncio.timeout(delay):
                        await self._wake.wait()
                except TimeoutError:
                    pass

    async def _exchange(self, now: float) -> None:
        if self._away:
            self._synced(await self._call(self._store.lease_sync()))
        if self._unreturned:
            returns = [LeaseReturn(lease=each.id, generation=each.generation, returned=each.returned) for each in self._unreturned.values()]
            self._returned(returns, await self._call(self._store.lease_return(returns)))
        wants = self._wants(now)
        if wants:
            self._granted(wants, await self._call(self._store.lease_grant(wants)), now)
            self._serve()

    async def _call(self, call: Awaitable[list[LeaseState]]) -> list[LeaseState]:
        async with asyncio.timeout(CALL_SECONDS):
            states = await call
        self._backoff = 0.0
        return states

    def _delay(self, now: float) -> float | None:
        """Seconds until there is something to say; None: nothing. A wake-up cuts it short."""
        due = []
        if self._away and not self._closed:
            due.append(now)
        if self._unreturned and not (self._away and self._closed):
            due.append(now)
        if self._refills:
            due.append(now)
        short = {budget for waiter in self._waiters for budget in self._short(waiter)}
        due += [self._told[budget].next_ask if budget in self._told else now for budget in short]
        return max(0.0, max(min(due), self._retry_at) - now) if due else None

    def _wants(self, now: float) -> list[LeaseWant]:
        """One row per budget: a waiter's lack as need, everybody's lack and the slice's target as want.

        Whose lack: of the waiters up to the one that holds the line, the first that fits into what the database told last,
        else the smallest, so that nobody is refused for standing behind somebody who does not fit.
        """
        lacks: dict[str, list[int]] = {}
        lined: set[str] = set()
        totals: dict[str, int] = {}
        for waiter in self._waiters:
            for budget in waiter.budgets:
                totals[budget] = totals.get(budget, 0) + waiter.amount
            for budget in self._short(waiter):
                lease = self._current.get(budget)
                if budget not in lined:
                    lacks.setdefault(budget, []).append(waiter.amount - (lease.available if lease is not None else 0))
                    if now < waiter.patient_until:
                        lined.add(budget)
        wants = []
        for budget, asked in lacks.items():
            told = self._told.get(budget)
            if told is not None and told.next_ask > now:
                continue
            room = told.limit - told.spent - told.leased if told is not None else _NEVER
            need = next((lack for lack in asked if lack <= room), min(asked))
            lease = self._current.get(budget)
            ahead = 0 if lease is not None and lease.cool_until > now else lease.target if lease is not None else need * AHEAD_RESERVATIONS
            lack = totals[budget] - (lease.available if lease is not None else 0)
            wants.append(LeaseWant(budget=budget, need=min(need, MAX_NANO), want=min(max(need, lack) + ahead, MAX_NANO)))
        for budget in self._refills - lacks.keys():
            lease = self._current.get(budget)
            if lease is not None and lease.available < lease.target:
                wants.append(LeaseWant(budget=budget, need=0, want=min(lease.target - lease.available, MAX_NANO)))
        self._refills.clear()
        return wants

    def _granted(self, wants: list[LeaseWant], states: list[LeaseState], now: float) -> None:
        answers = {state.budget: state for state in states}
        for want in wants:
            told = self._told.setdefault(want.budget, _Told())
            told.next_ask = now + RETRY_SECONDS
            state = answers.get(want.budget)
            if state is None:  # unknown to the database: the config here is ahead or behind; answered as unavailable
                continue
            told.asked_at = now
            told.limit, told.spent, told.leased = state.limit, state.spent, state.leased
            before = self._by_id.get(state.lease)
            had = before.granted if before is not None else 0
            lease = self._learn(state)
            if lease is None:
                continue
            self._adopt(lease, state)
            if state.granted - had >= want.want:
                lease.low = lease.target // 2
            else:
                lease.low, lease.cool_until = -1, now + COOL_SECONDS
        for waiter in list(self._waiters):
            for budget in waiter.budgets:
                known = self._told.get(budget)
                if known is not None and known.asked_at >= waiter.joined and waiter.amount > known.limit - known.spent:
                    self._answer(waiter, self._shortage("exceeded", budget, waiter.amount))
                    break

    def _returned(self, returns: list[LeaseReturn], states: list[LeaseState]) -> None:
        answers = {state.lease: state for state in states}
        for each in returns:
            lease = self._by_id.get(each.lease)
            state = answers.get(each.lease)
            if lease is None or state is None:  # closed by the database: there is nobody left to give back to
                self._unreturned.pop(each.lease, None)
                continue
            self._learn(state)
            # Short of our total at a newer generation: more came free meanwhile, or ours was old; say it again with the
            # new one. At the same generation the database has nothing left to take back.
            if lease.confirmed >= lease.returned or (state.generation <= each.generation and lease.returned == each.returned):
                self._unreturned.pop(lease.id, None)

    def _synced(self, states: list[LeaseState]) -> None:
        """After an outage the database's word stands, even where it forgot (a restored backup): then we hold less."""
        log.info("leases: the database is back, %d open", len(states))
        self._away = False
        known = {state.lease for state in states}
        for lease in list(self._by_id.values()):
            if lease.id not in known:
                lease.available = min(lease.available, 0)
                self._unreturned.pop(lease.id, None)
                self._end(lease)
        for state in states:
            synced = self._learn(state, overrule=True)
            if synced is not None and state.starts_at_ms <= self._now_ms() < state.ends_at_ms:
                self._adopt(synced, state)
            elif synced is not None:
                self._end(synced)

    def _learn(self, state: LeaseState, *, overrule: bool = False) -> _Lease | None:
        """Take over a newer state of a lease; a lease seen for the first time (its grant's answer was lost) is all ours."""
        if state.lease == 0 or state.lease in self._retired:
            return None
        lease = self._by_id.get(state.lease)
        if lease is None:
            lease = self._by_id[state.lease] = _Lease(state, asyncio.get_running_loop().time())
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

    def _adopt(self, lease: _Lease, state: LeaseState) -> None:
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

    def _end(self, lease: _Lease) -> None:
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
        self._next_end = min((lease.until_ms for lease in self._current.values()), default=_NEVER)

    # --- upkeep ------------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        now = asyncio.get_running_loop().time()
        if self._now_ms() >= self._next_end:
            self._expire()
        for lease in self._current.values():
            committed = lease.granted - lease.returned - lease.available
            lease.rate += (max(0, committed - lease.mark) / TICK_SECONDS - lease.rate) / 2
            lease.mark = committed
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
        if self._away:
            self._kick()

    def _fail(self, error: Exception, now: float) -> None:
        if not self._away:
            log.warning("leases: the database is away, spending what is held: %s: %s", type(error).__name__, error)
        self._away = True
        self._backoff = min(1.0, self._backoff * 2 or 0.05)
        self._retry_at = now + self._backoff

    def _drop_everything(self) -> None:
        log.critical("leases: this proxy was declared gone and its slices were given away; it can reserve nothing more, restart it")
        self._gone = True
        for lease in self._by_id.values():
            lease.available = min(lease.available, 0)
        self._current.clear()
        self._unreturned.clear()
        self._refills.clear()
        for waiter in list(self._waiters):
            self._answer(waiter, self._shortage("unavailable", waiter.budgets[0], waiter.amount))

    def _misuse(self, charges: list[Charge], cost: int) -> None:
        message = f"settle of charges that are not open, or at a negative cost: {charges!r} at {cost} nano-dollars"
        if self._strict:
            raise SettleError(message)
        log.error("leases: %s", message)
