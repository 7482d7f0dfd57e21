"""Slices in memory: each promise on its own, on a clock that jumps (the model test mixes them at random)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from apps.contracts.leases import WAIT_SECONDS, LeaseReturn, LeaseState, LeaseWant
from apps.contracts.usage import Charge
from apps.proxy.errors import SettleError
from apps.proxy.leases import PATIENCE_SECONDS, Leases, Shortage
from apps.proxy.leases_fake import FakeLeaseBook
from apps.proxy.slices import AHEAD_SECONDS, IDLE_SECONDS
from tests.proxy.virtual_time import VirtualLoop

EPOCH_MS = 1_700_000_000_000 // 86_400_000 * 86_400_000


class World:
    """A book, proxies, and a clock."""

    def __init__(self, loop: VirtualLoop, limits: dict[str, int], window_ms: int) -> None:
        self.loop = loop
        self.skew_ms = 0
        self.book = FakeLeaseBook(limits, self.database_ms, window_ms=window_ms)
        self.running: list[asyncio.Task[None]] = []

    def database_ms(self) -> int:
        return EPOCH_MS + int((self.loop.time() - 1_000.0) * 1_000)

    def proxy(self, boot: str = "one") -> Leases:
        leases = Leases(self.book.store(boot), now_ms=lambda: self.database_ms() + self.skew_ms, strict=True)
        self.book.on_recall.append(leases.recall)
        self.running.append(asyncio.ensure_future(leases.run()))
        return leases

    def store(self, leases: Leases) -> Any:
        return leases._store


def play(scene: Callable[[World], Coroutine[Any, Any, None]], *, window_ms: int = 86_400_000, **limits: int) -> None:
    loop = VirtualLoop()
    asyncio.set_event_loop(loop)
    try:
        loop.run_until_complete(scene(World(loop, limits, window_ms)))
    finally:
        for task in asyncio.all_tasks(loop):
            task.cancel()
        loop.run_until_complete(asyncio.sleep(0))
        loop.close()
        asyncio.set_event_loop(None)


async def taken(leases: Leases, amount: int, *budgets: str) -> list[Charge]:
    answer = await leases.reserve_wait(budgets, amount)
    assert isinstance(answer, list), answer
    return answer


async def refused(leases: Leases, amount: int, *budgets: str) -> Shortage:
    answer = await leases.reserve_wait(budgets, amount)
    assert isinstance(answer, Shortage), answer
    return answer


def test_the_first_reservation_fetches_a_slice_and_the_next_ones_need_no_call() -> None:
    async def scene(world: World) -> None:
        leases = world.proxy()
        assert leases.reserve(("org", "key"), 10) is None
        charges = await taken(leases, 10, "org", "key")
        assert [charge.reserved_nano for charge in charges] == [10, 10]
        calls = list(world.store(leases).calls)
        for _ in range(5):
            more = leases.reserve(("org", "key"), 10)
            assert more is not None
            leases.settle(more, 3)
        assert world.store(leases).calls == calls == ["grant"]

    play(scene, org=1_000_000, key=1_000_000)


def test_all_or_nothing_over_several_budgets() -> None:
    async def scene(world: World) -> None:
        leases = world.proxy()
        answer = await refused(leases, 50, "org", "key")
        assert (answer.kind, answer.budget, answer.limit) == ("exceeded", "key", 20)
        await leases.close()
        assert [window.leased for window in world.book.windows] == [0, 0]

    play(scene, org=1_000, key=20)


def test_a_hundred_callers_at_once_share_one_grant() -> None:
    async def scene(world: World) -> None:
        leases = world.proxy()
        held = await asyncio.gather(*(taken(leases, 7, "org") for _ in range(100)))
        assert world.store(leases).calls.count("grant") <= 2
        assert sum(charge.reserved_nano for charges in held for charge in charges) == 700

    play(scene, org=100_000)


def test_what_can_never_fit_is_refused_with_the_first_answer_and_its_numbers() -> None:
    async def scene(world: World) -> None:
        leases = world.proxy()
        leases.settle(held := await taken(leases, 60, "org"), 60)
        world.book.settle({held[0].lease_id: 60})
        began = world.loop.time()
        answer = await refused(leases, 41, "org")
        assert world.loop.time() - began < PATIENCE_SECONDS
        assert (answer.kind, answer.limit, answer.spent) == ("exceeded", 100, 60)
        await taken(leases, 40, "org")

    play(scene, org=100)


def test_what_does_not_fit_now_waits_a_quarter_of_a_second_and_no_longer() -> None:
    async def scene(world: World) -> None:
        leases = world.proxy()
        await taken(leases, 100, "org")
        began = world.loop.time()
        answer = await refused(leases, 1, "org")
        assert answer.kind == "exceeded" and answer.available == 0
        assert world.loop.time() - began == pytest.approx(WAIT_SECONDS, abs=1e-3)

    play(scene, org=100)


def test_a_settlement_lets_a_waiter_in_at_once() -> None:
    async def scene(world: World) -> None:
        leases = world.proxy()
        held = await taken(leases, 100, "org")
        waiting = asyncio.ensure_future(taken(leases, 30, "org"))
        await asyncio.sleep(0.2)
        assert not waiting.done()
        leases.settle(held, 70)
        await asyncio.sleep(0.001)
        assert waiting.done()

    play(scene, org=100)


def test_another_proxys_slice_is_recalled() -> None:
    async def scene(world: World) -> None:
        one, two = world.proxy("one"), world.proxy("two")
        one.settle(await taken(one, 10, "org"), 10)
        two.settle(await taken(two, 10, "org"), 10)
        assert world.book.windows[0].leased > 20
        held = await taken(one, 80, "org")  # limit - settled and in flight: all that is left
        assert (await refused(two, 1, "org")).kind == "exceeded"
        one.settle(held, 0)
        await taken(two, 80, "org")

    play(scene, org=100)


def test_two_proxies_that_each_hold_half_do_not_starve_each_other() -> None:
    async def scene(world: World) -> None:
        one, two = world.proxy("one"), world.proxy("two")
        for leases in (one, two):
            leases.settle(await taken(leases, 50, "org"), 0)
        answers = await asyncio.gather(one.reserve_wait(("org",), 100), two.reserve_wait(("org",), 100))
        assert sum(isinstance(answer, list) for answer in answers) == 1

    play(scene, org=100)


def test_small_requests_do_not_starve_a_big_one() -> None:
    async def scene(world: World) -> None:
        leases = world.proxy()
        small = [await taken(leases, 10, "org") for _ in range(10)]
        big = asyncio.ensure_future(taken(leases, 60, "org"))
        await asyncio.sleep(0.001)
        for _ in range(6):  # each freed slot would be taken again at once, were the line not held
            leases.settle(small.pop(), 0)
            assert leases.reserve(("org",), 10) is None
            await asyncio.sleep(0.01)
        assert big.done()

    play(scene, org=100)


def test_a_big_one_that_does_not_fit_holds_small_ones_up_for_its_patience_only() -> None:
    async def scene(world: World) -> None:
        leases = world.proxy()
        await taken(leases, 60, "org")
        big = asyncio.ensure_future(refused(leases, 50, "org"))
        await asyncio.sleep(0.001)
        began = world.loop.time()
        await taken(leases, 30, "org")
        assert world.loop.time() - began <= PATIENCE_SECONDS + 0.03
        assert (await big).kind == "exceeded"

    play(scene, org=100)


def test_a_small_one_that_fits_gets_in_although_bigger_ones_keep_coming() -> None:
    async def scene(world: World) -> None:
        other = world.proxy("other")
        held = await taken(other, 900, "org")
        leases = world.proxy()
        big = [asyncio.ensure_future(leases.reserve_wait(("org",), 200))]  # might fit one day: the limit is not spent
        small = asyncio.ensure_future(leases.reserve_wait(("org",), 50))
        for _ in range(8):  # there is always one that may still hold the line
            await asyncio.sleep(WAIT_SECONDS / 10)
            big.append(asyncio.ensure_future(leases.reserve_wait(("org",), 200)))
        assert isinstance(await small, list)
        assert all(isinstance(answer, Shortage) and answer.kind == "exceeded" for answer in await asyncio.gather(*big))
        other.settle(held, 0)

    play(scene, org=1_000)


def test_an_exhausted_key_does_not_hold_up_its_organisations_other_keys() -> None:
    async def scene(world: World) -> None:
        leases = world.proxy()
        await taken(leases, 100, "org", "key")
        leases.settle(await taken(leases, 10, "org"), 0)
        stuck = asyncio.ensure_future(refused(leases, 50, "org", "key"))
        await asyncio.sleep(0.01)
        assert leases.reserve(("org",), 10) is not None
        assert (await stuck).budget == "key"

    play(scene, org=100_000, key=100)


def test_a_steady_flow_refills_ahead_and_never_waits() -> None:
    async def scene(world: World) -> None:
        leases = world.proxy()
        leases.settle(await taken(leases, 100, "org"), 100)
        waits = 0
        for _ in range(2_000):
            charges = leases.reserve(("org",), 100)
            if charges is None:
                waits += 1
                charges = await taken(leases, 100, "org")
            leases.settle(charges, 100)
            await asyncio.sleep(0.002)
        assert waits <= 3
        assert world.store(leases).calls.count("grant") <= 60
        lease = leases._current["org"]
        assert lease.available <= 100 * 500 * AHEAD_SECONDS * 2  # a slice of seconds, not of hours

    play(scene, org=10**9)


def test_a_burst_after_a_quiet_time_takes_a_few_calls() -> None:
    async def scene(world: World) -> None:
        leases = world.proxy()
        leases.settle(await taken(leases, 10, "org"), 1)
        await asyncio.sleep(IDLE_SECONDS * 3)
        calls = world.store(leases).calls
        calls.clear()
        asked = 0
        for _ in range(400):  # 10,000 requests a second, before the first tick could tell the rate
            for _ in range(10):
                charges = leases.reserve(("org",), 10)
                if charges is None:
                    asked += 1
                    charges = await taken(leases, 10, "org")
                leases.settle(charges, 10)
            await asyncio.sleep(0.001)
        assert asked <= 12 and calls.count("grant") <= 20, (asked, calls)
        held = sum(lease.outstanding for lease in world.book.leases)
        assert held <= 10 * 10_000 * (AHEAD_SECONDS + 1) * 2, "no more than a few seconds of what it spends"
        await leases.close()

    play(scene, org=1_000_000_000)


def test_a_quiet_proxy_gives_its_slice_back() -> None:
    async def scene(world: World) -> None:
        leases = world.proxy()
        leases.settle(held := await taken(leases, 10, "org"), 4)
        world.book.settle({held[0].lease_id: 4})
        await asyncio.sleep(IDLE_SECONDS + 1.1)
        assert (world.book.windows[0].spent, world.book.windows[0].leased) == (4, 0)

    play(scene, org=1_000)


@pytest.mark.parametrize("skew_ms", [-500, 0, 500])
def test_a_new_window_is_a_new_slice_and_charges_stay_where_they_were_reserved(skew_ms: int) -> None:
    async def scene(world: World) -> None:
        world.skew_ms = skew_ms
        leases = world.proxy()
        held = await taken(leases, 60, "org")
        await asyncio.sleep(10.6)
        later = await taken(leases, 90, "org")  # would not fit yesterday's window
        assert later[0].lease_id != held[0].lease_id
        leases.settle(held, 50)
        leases.settle(later, 90)
        await asyncio.sleep(1.5)
        yesterday, today = world.book.windows
        assert yesterday.leased == 50  # consumed, not settled yet; the rest went back
        assert today.leased >= 90

    play(scene, window_ms=10_000, org=100)


def test_a_clock_that_runs_ahead_does_not_lose_the_running_window() -> None:
    async def scene(world: World) -> None:
        leases = world.proxy()
        leases.settle(await taken(leases, 10, "org"), 0)
        await asyncio.sleep(8.5)
        leases.settle(await taken(leases, 10, "org"), 0)
        world.skew_ms = 1_400  # by its own clock the window is over, by the database's it is not
        await asyncio.sleep(0.8)
        leases.settle(await taken(leases, 60, "org"), 0)
        await leases.close()
        assert [window.leased for window in world.book.windows] == [0]

    play(scene, window_ms=10_000, org=100)


def test_a_reservation_of_nothing_outlives_its_window() -> None:
    async def scene(world: World) -> None:
        leases = world.proxy()
        leases.settle(await taken(leases, 10, "org"), 0)
        held = await taken(leases, 0, "org")
        await asyncio.sleep(25)
        leases.settle(held, 0)

    play(scene, window_ms=10_000, org=100)


def test_without_the_database_what_is_held_is_spent_and_then_the_answer_is_unavailable() -> None:
    async def scene(world: World) -> None:
        leases = world.proxy()
        leases.settle(await taken(leases, 10, "org"), 0)
        world.store(leases).away = True
        spent = 0
        while (charges := leases.reserve(("org",), 10)) is not None:
            leases.settle(charges, 10)
            spent += 10
        assert spent >= 80
        assert (await refused(leases, 10, "org")).kind == "unavailable"
        world.store(leases).away = False
        world.store(leases).calls.clear()
        await asyncio.sleep(1.5)
        await taken(leases, 10, "org")
        assert world.store(leases).calls[0] == "sync"

    play(scene, org=1_000)


def test_a_database_that_hangs_is_unavailable_too() -> None:
    async def scene(world: World) -> None:
        leases = world.proxy()

        async def hang(wants: list[LeaseWant]) -> list[LeaseState]:
            await asyncio.sleep(3_600)
            return []

        world.store(leases).lease_grant = hang
        began = world.loop.time()
        assert (await refused(leases, 10, "org")).kind == "unavailable"
        assert world.loop.time() - began == pytest.approx(WAIT_SECONDS, abs=1e-3)

    play(scene, org=1_000)


def test_lost_answers_cost_nothing() -> None:
    async def scene(world: World) -> None:
        leases = world.proxy()
        fate = iter([True, False, True, True])
        world.store(leases).lose = lambda: next(fate, False)
        await asyncio.gather(leases.reserve_wait(("org",), 10), asyncio.sleep(2))
        leases.settle(await taken(leases, 100 - 10, "org"), 0)
        await leases.close()
        assert world.book.windows[0].leased == 10

    play(scene, org=100)


def test_a_return_that_names_an_old_generation_is_said_again_with_the_new_one() -> None:
    async def scene(world: World) -> None:
        leases = world.proxy()
        held = await taken(leases, 40, "org")
        lease = world.book.leases[0]
        lease.generation += 1  # as an overrun would
        leases.settle(held, 0)
        leases.recall(1)
        await asyncio.sleep(0.1)
        assert world.book.windows[0].leased == 0

    play(scene, org=100)


def test_an_overrun_is_booked_and_the_slice_comes_out_even() -> None:
    async def scene(world: World) -> None:
        leases = world.proxy()
        held = await taken(leases, 100, "org")
        leases.settle(held, 130)
        world.book.settle({held[0].lease_id: 130})
        window = world.book.windows[0]
        assert (window.spent, window.leased, window.overrun) == (100, 0, 30)
        assert (await refused(leases, 1, "org")).kind == "exceeded"
        world.book.set_limit("org", 150)
        await taken(leases, 20, "org")
        assert (await refused(leases, 1, "org")).kind == "exceeded"

    play(scene, org=100)


def test_a_lowered_limit_stops_grants_and_calls_slices_back() -> None:
    async def scene(world: World) -> None:
        leases = world.proxy()
        held = await taken(leases, 50, "org")
        world.book.set_limit("org", 40)
        await asyncio.sleep(0.05)
        assert world.book.windows[0].leased == 50
        assert (await refused(leases, 1, "org")).limit == 40
        leases.settle(held, 10)
        await taken(leases, 30, "org")

    play(scene, org=100)


def test_a_proxy_declared_gone_by_mistake_spends_nothing_more() -> None:
    async def scene(world: World) -> None:
        leases = world.proxy()
        leases.settle(await taken(leases, 10, "org"), 0)
        world.book.release("one")
        leases.recall(1)
        await asyncio.sleep(0.1)
        assert leases.reserve(("org",), 1) is None
        assert (await refused(leases, 1, "org")).kind == "unavailable"

    play(scene, org=100)


def test_a_caller_that_leaves_while_waiting_takes_nothing() -> None:
    async def scene(world: World) -> None:
        leases = world.proxy()
        held = await taken(leases, 100, "org")
        waiting = asyncio.ensure_future(leases.reserve_wait(("org",), 50))
        await asyncio.sleep(0.01)
        leases.settle(held, 0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        await asyncio.sleep(0.01)
        await taken(leases, 100, "org")

    play(scene, org=100)


def test_settling_twice_or_below_zero_is_an_error_that_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def scene(world: World) -> None:
        leases = world.proxy()
        held = await taken(leases, 10, "org")
        leases.settle(held, 4)
        available = leases._current["org"].available
        for charges in (held, list(held), [Charge(1, 10)]):
            with pytest.raises(SettleError):
                leases.settle(charges, 4)
        leases._strict = False
        leases.settle(held, 4)
        assert "not open" in caplog.text
        assert leases._current["org"].available == available

    play(scene, org=1_000)


def test_closing_gives_back_what_is_free_and_refuses_who_waits() -> None:
    async def scene(world: World) -> None:
        leases = world.proxy()
        await taken(leases, 30, "org")
        waiting = asyncio.ensure_future(leases.reserve_wait(("org",), 90))
        await asyncio.sleep(0.01)
        await leases.close()
        assert (await waiting).kind == "unavailable"  # type: ignore[union-attr]
        assert world.book.windows[0].leased == 30
        assert leases.reserve(("org",), 1) is None

    play(scene, org=100)


def test_a_budget_that_the_database_does_not_know_is_unavailable_not_free() -> None:
    async def scene(world: World) -> None:
        assert (await refused(world.proxy(), 1, "ghost")).kind == "unavailable"

    play(scene, org=100)


def test_the_fake_refuses_to_take_back_more_than_a_lease_holds() -> None:
    async def scene(world: World) -> None:
        store = world.book.store("one")
        (state,) = await store.lease_grant([LeaseWant(budget="org", need=40, want=40)])
        world.book.settle({state.lease: 15})
        (state,) = await store.lease_return([LeaseReturn(lease=state.lease, generation=state.generation, returned=99)])
        assert (state.returned, state.spent, state.leased) == (25, 15, 0)

    play(scene, org=100)
