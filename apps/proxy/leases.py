"""Slices of budgets, held in memory, so that a request costs no round trip (see ``apps.contracts.leases``).

``reserve`` (of ``apps.proxy.slices``) is the hot path: it takes the amount from every budget's slice at once or from none. What does not
fit goes through ``reserve_wait``: all short requests of this proxy share one batched grant call, one in flight at a
time, and wait for grants, settlements and other proxies' returns, 250 ms at most.

Queueing. Waiters are served in order of arrival. For its first ``PATIENCE_SECONDS`` a waiter holds the line of the budgets
it is short of: nobody passes it, so small requests cannot starve a big one. After that it still waits but may be
passed, so a request that does not fit delays others by no more than that; one that can never fit (more than
limit - spent) is refused with the first answer.

Outages. While the store fails, slices are spent to the end, then requests are refused as ``unavailable``; the
first thing after an outage is ``lease_sync``. All amounts are nano-dollars.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Literal, NamedTuple, Protocol

from apps.contracts.leases import GONE_SQLSTATE, WAIT_SECONDS, BootGone, LeaseReturn, LeaseState, LeaseWant
from apps.contracts.money import MAX_NANO
from apps.contracts.usage import Charge
from apps.proxy.slices import AHEAD_RESERVATIONS, LINGER_MS, NEVER, TICK_SECONDS, Slices

PATIENCE_SECONDS = 0.1
"""How long a waiter may keep later ones from passing it."""
RETRY_SECONDS = 0.02
"""Between two grant calls for a budget that could not give enough."""
PRUNE_SECONDS = 60.0
"""Between two times that what was told of windows that ended since is forgotten: users' own windows are many."""
LOOK_SECONDS = 1.0
"""How old the word of the database may be by which a threshold acts."""
COOL_SECONDS = 1.0
"""No refill ahead for so long after a recall or a grant that was cut short."""
CALL_SECONDS = 5.0
"""A store call that takes longer counts as an outage."""

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


class _Waiter:
    __slots__ = ("amount", "budgets", "future", "joined", "passing", "patient_until", "soft")

    def __init__(
        self,
        budgets: tuple[str, ...],
        amount: int,
        future: asyncio.Future[list[Charge] | Shortage],
        joined: float,
        soft: frozenset[str],
        passing: frozenset[str],
    ) -> None:
        self.budgets = budgets
        self.amount = amount
        self.soft = soft
        self.passing = passing
        self.future = future
        self.joined = joined
        self.patient_until = joined + PATIENCE_SECONDS


class _Told:
    """What the database last said of a budget, and when we may ask again (event loop time)."""

    __slots__ = ("asked_at", "leased", "limit", "next_ask", "spent", "until_ms")

    def __init__(self) -> None:
        self.limit = self.spent = self.leased = self.until_ms = 0
        self.asked_at = -1.0
        self.next_ask = 0.0


class Leases(Slices):
    """This process's slices of all budgets, who waits for them, and the talk with the store. Not thread-safe: one event loop."""

    def __init__(self, store: LeaseStore, *, now_ms: Callable[[], int], strict: bool = False) -> None:
        super().__init__(now_ms=now_ms, strict=strict)
        self._store = store
        self._waiters: dict[_Waiter, None] = {}
        self._looks: set[str] = set()
        self._told: dict[str, _Told] = {}
        self._lined: set[str] = set()
        self._serving = False
        self._pump: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._away = False
        self._retry_at = 0.0
        self._backoff = self._prune_at = 0.0
        self._gone = False

    # --- waiting -----------------------------------------------------------------------------------------------------

    async def reserve_wait(
        self, budgets: tuple[str, ...], amount: int, *, soft: frozenset[str] = frozenset(), passing: frozenset[str] = frozenset()
    ) -> list[Charge] | Shortage:
        """Reserve, waiting up to WAIT_SECONDS for grants, settlements and recalls. A cancelled wait takes nothing.

        soft: of the budgets, those that the database grants whatever their limit. passing: of these, those that hold up nothing while the
        database is away: what their slices do not hold is overdrawn, and where there is no slice they are left out.
        """
        charges = self.reserve(budgets, amount)
        if charges is None and passing and (self._away or self._closed or self._gone):
            charges = self._pass(budgets, amount, passing)
        if charges is not None:
            return charges
        if self._closed or self._gone:
            return self._shortage("unavailable", next((one for one in budgets if one not in passing), budgets[0]), amount)
        loop = asyncio.get_running_loop()
        waiter = _Waiter(budgets, amount, loop.create_future(), loop.time(), soft, passing)
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

    def used(self, budget: str) -> tuple[int, int] | None:
        """(spent, or held by anybody but unspent here, limit) of the running window as last told; None where nobody told yet.

        What was told a second ago or earlier is asked for again meanwhile, with whatever else there is to say.
        """
        told = self._told.get(budget)
        now = asyncio.get_running_loop().time()
        if (told is None or now - told.asked_at >= LOOK_SECONDS) and budget not in self._looks and not self._closed:
            self._looks.add(budget)
            self._kick()
        if told is None or told.asked_at < 0 or told.until_ms <= self._now_ms():
            return None
        lease = self._current.get(budget)
        return told.spent + told.leased - (max(0, lease.available) if lease is not None else 0), told.limit

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
        self._refuse_all()
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

    def _pass(self, budgets: tuple[str, ...], amount: int, passing: frozenset[str]) -> list[Charge] | None:
        """Reserve from every budget that must agree; the others give what they have and more, or nothing. None: one that must does not."""
        held = [(budget, self._current.get(budget)) for budget in budgets]
        if any(budget not in passing and (lease is None or lease.line or lease.available < amount) for budget, lease in held):
            return None
        charges = []
        for _, lease in held:
            if lease is not None:
                lease.available -= amount
                lease.reserved += amount
                lease.uses += 1
                charges.append(Charge(lease.id, amount))
        if charges:
            self._live[id(charges)] = charges
        return charges

    def room(self, budgets: Iterable[str]) -> int:
        """The most that could be reserved of all of these without anybody giving back, as far as the database told."""
        rooms = []
        for budget in budgets:
            told, lease = self._told.get(budget), self._current.get(budget)
            if told is not None:
                rooms.append(max(0, told.limit - told.spent - told.leased) + max(0, lease.available if lease is not None else 0))
        return min(rooms, default=NEVER)

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
        if waiter.passing.issuperset(short):
            charges = self._pass(waiter.budgets, waiter.amount, waiter.passing)
            if charges is not None and not self._answer(waiter, charges):
                self.settle(charges, 0)
            if charges is not None:
                return
        short = [budget for budget in short if budget not in waiter.passing] or short
        full = next((budget for budget in short if self._full(budget, waiter)), None)
        self._answer(waiter, self._shortage("exceeded" if full else "unavailable", full or short[0], waiter.amount))
        self._serve_soon()

    def _full(self, budget: str, waiter: _Waiter) -> bool:
        """Whether the database has said, since the waiter came or shortly before, that the amount does not fit. Where it said that it
        does, and the grant was too slow or went to others, the budget is not exceeded."""
        told, lease = self._told.get(budget), self._current.get(budget)
        if told is None or told.asked_at < waiter.joined - LOOK_SECONDS or self._away:
            return False
        held = max(0, lease.available) if lease is not None else 0
        return told.limit - told.spent - told.leased + held < waiter.amount

    def _shortage(self, kind: Literal["exceeded", "unavailable"], budget: str, amount: int) -> Shortage:
        told = self._told.get(budget) or _Told()
        lease = self._current.get(budget)
        held = lease.available if lease is not None else 0
        room = max(0, told.limit - told.spent - told.leased) + max(0, held)
        return Shortage(kind, budget, told.limit, told.spent, told.leased, min(room, max(0, amount - 1)) if kind == "exceeded" else room)

    # --- talking to the store ----------------------------------------------------------------------------------------

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
        if self._refills or self._looks:
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
            room = told.limit - told.spent - told.leased if told is not None else NEVER
            need = next((lack for lack in asked if lack <= room), min(asked))
            lease = self._current.get(budget)
            if lease is not None:
                lease.hurry(now)
            ahead = 0 if lease is not None and lease.cool_until > now else lease.target if lease is not None else need * AHEAD_RESERVATIONS
            lack = totals[budget] - (lease.available if lease is not None else 0)
            wants.append(LeaseWant(budget=budget, need=min(need, MAX_NANO), want=min(max(need, lack) + ahead, MAX_NANO)))
        for budget in self._refills - lacks.keys():
            lease = self._current.get(budget)
            if lease is not None:
                lease.hurry(now)
            if lease is not None and lease.available < lease.target:
                wants.append(LeaseWant(budget=budget, need=0, want=min(lease.target - lease.available, MAX_NANO)))
        self._refills.clear()
        wants += [LeaseWant(budget=budget, need=0, want=0) for budget in self._looks - {want.budget for want in wants}]
        self._looks.clear()
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
            told.limit, told.spent, told.leased, told.until_ms = state.limit, state.spent, state.leased, state.ends_at_ms
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
                if budget in waiter.soft:
                    continue
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

    # --- upkeep ------------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        now = asyncio.get_running_loop().time()
        self._age(now)
        if now >= self._prune_at:
            self._prune_at = now + PRUNE_SECONDS
            ended = self._now_ms() - LINGER_MS
            for name in [name for name, told in self._told.items() if told.until_ms < ended and told.next_ask < now]:
                del self._told[name]
        if self._away:
            self._kick()

    def _fail(self, error: Exception, now: float) -> None:
        if not self._away:
            log.warning("leases: the database is away, spending what is held: %s: %s", type(error).__name__, error)
        self._away = True
        for waiter in list(self._waiters):
            if waiter.passing:
                charges = self._pass(waiter.budgets, waiter.amount, waiter.passing)
                if charges is not None and not self._answer(waiter, charges):
                    self.settle(charges, 0)
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
        self._refuse_all()

    def _refuse_all(self) -> None:
        for waiter in list(self._waiters):
            charges = self._pass(waiter.budgets, waiter.amount, waiter.passing) if waiter.passing else None
            if charges is None:
                self._answer(waiter, self._shortage("unavailable", waiter.budgets[0], waiter.amount))
            elif not self._answer(waiter, charges):
                self.settle(charges, 0)
