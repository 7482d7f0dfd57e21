"""Several proxies, one book, everything that can go wrong in random order: the wall holds, and what fits is not refused.

The truth is kept beside the code under test, from what ``reserve`` handed out and ``settle`` was told.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from apps.contracts.usage import Charge
from apps.proxy.leases import Leases
from apps.proxy.leases_fake import FakeLeaseBook, FakeLeaseStore
from tests.proxy.virtual_time import VirtualLoop
from tests.scale import examples

EPOCH_MS = 1_700_000_000_000 // 20_000 * 20_000
WINDOW_MS = 20_000
BUDGETS = [("org",), ("org", "key"), ("key",)]


class Proxy:
    """One process: its leases, what it has reserved, and what its journal holds that nobody settled yet."""

    def __init__(self, machine: LeasesMachine, boot: str) -> None:
        self.boot = boot
        self.store: FakeLeaseStore = machine.book.store(boot)
        self.leases = Leases(self.store, now_ms=machine.now_ms, strict=True)
        self.open: list[tuple[list[Charge], int]] = []
        self.journal: dict[int, int] = defaultdict(int)
        self.waiting: set[asyncio.Task[Any]] = set()

    def held(self) -> dict[int, int]:
        """By lease: consumed and not settled, and reserved."""
        held: dict[int, int] = defaultdict(int)
        for lease, cost in self.journal.items():
            held[lease] += cost
        for charges, amount in self.open:
            for charge in charges:
                held[charge.lease_id] += amount
        return held


class LeasesMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = VirtualLoop()
        asyncio.set_event_loop(self.loop)
        self.boots = 0
        self.proxies: list[Proxy] = []
        self.dead: list[Proxy] = []
        self.tasks: list[asyncio.Task[Any]] = []
        self.above: dict[int, int] = {}

    def now_ms(self) -> int:
        return EPOCH_MS + int((self.loop.time() - 1_000.0) * 1_000)

    @initialize(org=st.integers(50, 1_000), key=st.integers(50, 1_000))
    def begin(self, org: int, key: int) -> None:
        self.book = FakeLeaseBook({"org": org, "key": key}, self.now_ms, window_ms=WINDOW_MS)
        for _ in range(3):
            self.boot()

    def boot(self) -> None:
        self.boots += 1
        proxy = Proxy(self, f"boot-{self.boots}")
        self.book.on_recall.append(proxy.leases.recall)
        self.proxies.append(proxy)
        proxy.upkeep = self.loop.create_task(proxy.leases.run())  # type: ignore[attr-defined]

    def turn(self, seconds: float = 0.0) -> None:
        self.loop.run_until_complete(asyncio.sleep(seconds))

    def inside(self, act: Callable[..., object], *values: object) -> None:
        """Call on the event loop, as everything in a proxy is."""

        async def run() -> None:
            act(*values)

        self.loop.run_until_complete(run())

    async def call(self, proxy: Proxy, budgets: tuple[str, ...], amount: int) -> object:
        answer = await proxy.leases.reserve_wait(budgets, amount)
        if isinstance(answer, list):
            proxy.open.append((answer, amount))
        return answer

    # --- what happens -------------------------------------------------------------------------------------------------

    @rule(who=st.integers(0, 2), budgets=st.sampled_from(BUDGETS), amount=st.integers(0, 1_100), wait=st.booleans())
    def reserve(self, who: int, budgets: tuple[str, ...], amount: int, wait: bool) -> None:
        proxy = self.proxies[who]
        task = self.loop.create_task(self.call(proxy, budgets, amount))
        proxy.waiting.add(task)
        task.add_done_callback(proxy.waiting.discard)
        if wait:
            self.loop.run_until_complete(task)
        else:
            self.turn()

    @rule(who=st.integers(0, 2), budgets=st.sampled_from(BUDGETS), amount=st.integers(0, 60), times=st.integers(1, 20))
    def burst(self, who: int, budgets: tuple[str, ...], amount: int, times: int) -> None:
        for _ in range(times):
            self.reserve(who, budgets, amount, False)

    @rule(who=st.integers(0, 2), which=st.integers(0, 50), part=st.integers(0, 100))
    def settle(self, who: int, which: int, part: int) -> None:
        proxy = self.proxies[who]
        if proxy.open:
            charges, amount = proxy.open.pop(which % len(proxy.open))
            cost = amount * part // 100
            self.inside(proxy.leases.settle, charges, cost)
            for charge in charges:
                proxy.journal[charge.lease_id] += cost
            self.turn()

    @rule(who=st.integers(0, 2))
    def ship(self, who: int) -> None:
        costs, self.proxies[who].journal = self.proxies[who].journal, defaultdict(int)
        self.book.settle(costs)

    @rule(who=st.integers(0, 2))
    def kill(self, who: int) -> None:
        proxy = self.proxies.pop(who)
        self.book.on_recall.remove(proxy.leases.recall)
        for task in (proxy.upkeep, proxy.leases._pump, *proxy.waiting):  # type: ignore[attr-defined]
            if task is not None:
                task.cancel()
        # reservations that were handed out and the caller never saw are no part of the journal: nothing was sent
        self.dead.append(proxy)
        self.boot()
        self.turn()

    @precondition(lambda self: self.dead)
    @rule()
    def bury(self) -> None:
        """The shipper reads the dead proxy's journal to its end: opens are settled at their reservation."""
        proxy = self.dead.pop()
        self.book.settle(dict(proxy.held()))
        proxy.open, proxy.journal = [], defaultdict(int)
        self.book.release(proxy.boot)

    @rule(who=st.integers(0, 2), away=st.booleans())
    def cut(self, who: int, away: bool) -> None:
        self.proxies[who].store.away = away

    @rule(who=st.integers(0, 2), answers=st.lists(st.booleans(), max_size=6))
    def lose(self, who: int, answers: list[bool]) -> None:
        fate = iter(answers)
        self.proxies[who].store.lose = lambda: next(fate, False)

    @rule(budget=st.sampled_from(["org", "key"]), limit=st.integers(0, 1_200))
    def change_limit(self, budget: str, limit: int) -> None:
        self.inside(self.book.set_limit, budget, limit)
        self.turn()

    @rule(seconds=st.sampled_from([0.005, 0.03, 0.3, 3.0, 21.0]))
    def pass_time(self, seconds: float) -> None:
        self.turn(seconds)

    @precondition(lambda self: not self.dead)
    @rule(who=st.integers(0, 2), budgets=st.sampled_from(BUDGETS), share=st.integers(1, 100))
    def what_fits_is_not_refused(self, who: int, budgets: tuple[str, ...], share: int) -> None:
        for proxy in self.proxies:
            proxy.store.away, proxy.store.lose = False, lambda: False
        self.turn(1.6)  # everybody is back and waiters are answered, but slices are not idle yet: recalls must find them
        if (self.now_ms() + 300) // WINDOW_MS != self.now_ms() // WINDOW_MS:
            self.turn(0.5)
        fits = min(self.book.limits[budget] - self.used(budget) for budget in budgets)
        amount = fits * share // 100
        if amount > 0:
            answer = self.loop.run_until_complete(self.call(self.proxies[who], budgets, amount))
            assert isinstance(answer, list), (answer, fits, self.book.windows, self.book.leases)

    # --- what must hold -----------------------------------------------------------------------------------------------

    def used(self, budget: str) -> int:
        """Settled and in flight in the running window."""
        window = self.book.window(budget)
        used = window.spent + window.overrun
        for proxy in self.proxies + self.dead:
            used += sum(amount for lease, amount in proxy.held().items() if self.book.leases[lease - 1].window is window)
        return used

    @invariant()
    def the_wall_holds(self) -> None:
        if not self.proxies:
            return
        truly: dict[int, int] = defaultdict(int)
        for proxy in self.proxies + self.dead:
            for lease_id, amount in proxy.held().items():
                lease = self.book.leases[lease_id - 1]
                truly[lease.window.id] += amount
                assert lease.outstanding >= amount, "a proxy spent what the book does not hold for it"
        for window in self.book.windows:
            assert window.leased == sum(lease.outstanding for lease in self.book.leases if lease.window is window) >= 0
            assert window.overrun == 0
            total = window.spent + window.leased
            # Lowered below what is held, it may only fall.
            assert total <= max(window.limit, self.above.get(window.id, 0))
            self.above[window.id] = total
            assert window.spent + truly[window.id] <= total

    @invariant()
    def no_slice_is_negative(self) -> None:
        for proxy in self.proxies:
            for lease in proxy.leases._by_id.values():
                assert lease.available >= 0
                assert lease.reserved >= 0

    def teardown(self) -> None:
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
        self.turn()
        self.loop.close()
        asyncio.set_event_loop(None)


LeasesMachine.TestCase.settings = settings(
    max_examples=examples(60), stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestLeasesModel = pytest.mark.slow(LeasesMachine.TestCase)
