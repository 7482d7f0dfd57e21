"""Thresholds that act: the severest of those reached, only for the scope, only while they are reached."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.contracts.snapshot import RELIEFS, BudgetAction, BudgetFragment, Resilience
from apps.proxy.errors import Refusal
from apps.proxy.exchange import Exchange
from apps.proxy.resilience import CompileError
from apps.proxy.steps.plan import plan
from tests.proxy.choosing import EAST, SOUTH, WEST, World, price
from tests.proxy.fragments import ORG
from tests.proxy.test_leases import World as LeaseWorld
from tests.proxy.test_leases import play, taken
from tests.scale import examples

DEAR, CHEAP = {"input": 10_000_000_000, "output": 30_000_000_000}, {"input": 100_000_000, "output": 400_000_000}


class Spent(World):
    """A world in which the database told what budgets have used, in percent of their limits."""

    def __init__(self, *targets: Any, used: dict[str, int | None], **more: Any) -> None:
        self.used = used
        super().__init__(*targets, **more)
        self.route.retries, self.route.slots = cast(Any, None), None

    @property
    def engine(self) -> Any:
        def told(budget: str) -> tuple[int, int] | None:
            percent = self.used.get(budget)
            return None if percent is None else (percent * 10, 1_000)

        return SimpleNamespace(loop=SimpleNamespace(time=self.time), leases=SimpleNamespace(used=told))

    def ask(self, headers: dict[bytes, bytes] | None = None, **fields: Any) -> tuple[Exchange, Refusal | None]:
        exchange = self.exchange(headers, **fields)
        exchange.requested_model = "chat"
        return exchange, plan(exchange, self.runtime)


def acting(*actions: tuple[int, str], id: str = "b-1", scope: str = "key", scope_id: str = "k-1", hard: bool = False) -> BudgetFragment:
    does = tuple(msgspec.convert({"at_percent": at, "do": do}, BudgetAction) for at, do in actions)
    return msgspec.convert(
        {
            "id": id, "name": f"budget {id}", "organisation": ORG, "scope": scope, "scope_id": scope_id, "window": "day",
            "limit_nano": 1_000, "hard": hard, "actions": does,
        },
        BudgetFragment,
    )  # fmt: skip


def prices() -> list[Any]:
    return [price("east", "m", **DEAR), price("west", "m", **CHEAP), price("south", "m", input=1, output=1)]


def test_from_its_threshold_on_a_scope_goes_to_the_cheapest_target_and_back_below_it() -> None:
    world = Spent(EAST, WEST, used={"b-1": 79}, more=[acting((80, "cheaper")), *prices()])
    exchange, refusal = world.ask()
    assert ([target.provider for target in exchange.plan], refusal) == (["east", "west"], None)
    assert exchange.route is world.route
    world.used["b-1"] = 80
    exchange, refusal = world.ask()
    assert ([target.provider for target in exchange.plan], refusal) == (["west", "east"], None)
    assert exchange.route is not None
    assert exchange.route.flags == ("budget:cheaper",)
    assert exchange.choice is not None
    assert exchange.choice.notes == ["the budget 'budget b-1' is at 80 percent of its limit or beyond: cheaper"]
    world.used["b-1"] = 10
    assert [target.provider for target in world.ask()[0].plan] == ["east", "west"]


def test_cheaper_goes_past_priorities_and_leaves_dead_targets_alone() -> None:
    first, second = msgspec.structs.replace(EAST, priority=0), msgspec.structs.replace(WEST, priority=5)
    world = Spent(first, second, SOUTH, used={"b-1": 90}, more=[acting((80, "cheaper")), *prices()])
    world.open("south")
    assert [target.provider for target in world.ask()[0].plan] == ["west", "east"]


def test_limited_caps_output_and_leaves_expensive_targets_out() -> None:
    dear = msgspec.structs.replace(EAST, expensive=True)
    settings = Resilience(limited_max_output=100)
    world = Spent(dear, WEST, used={"b-1": 95}, more=[acting((80, "cheaper"), (95, "limited")), *prices()], resilience=settings)
    exchange, refusal = world.ask()
    assert ([target.provider for target in exchange.plan], refusal, exchange.max_output) == (["west"], None, 100)
    exchange, _ = world.ask(max_tokens=2_000)
    assert exchange.max_output == 100


@pytest.mark.parametrize("level", ["cached", "minimal"])
def test_the_last_levels_call_nobody_and_give_the_routes_canned_answer(level: str) -> None:
    world = Spent(EAST, used={"b-1": 100}, more=[acting((100, level))], resilience=Resilience(canned="Come back tomorrow."))
    exchange, refusal = world.ask()
    assert refusal is not None
    assert refusal.code == "degraded"
    assert "the budget 'budget b-1' is at 100 percent" in refusal.message
    assert exchange.route is not None
    assert exchange.route.resilience.canned == "Come back tomorrow."


def test_other_scopes_on_the_same_route_are_not_touched() -> None:
    world = Spent(EAST, WEST, used={"b-1": 100}, more=[acting((50, "cheaper"), scope="tag", scope_id="batch"), *prices()])
    assert [target.provider for target in world.ask()[0].plan] == ["east", "west"]
    assert [target.provider for target in world.ask({b"x-bulkhead-tags": b"batch"})[0].plan] == ["west", "east"]


def test_a_budget_of_a_provider_moves_what_would_go_there() -> None:
    world = Spent(EAST, WEST, used={"b-1": 60}, more=[acting((50, "cheaper"), scope="provider", scope_id="p-east"), *prices()])
    assert [target.provider for target in world.ask()[0].plan] == ["west", "east"]


def test_without_a_threshold_nothing_is_asked() -> None:
    world = Spent(EAST, used={}, more=[acting()])
    assert world.runtime.relief is None


def test_what_nobody_told_yet_acts_not() -> None:
    world = Spent(EAST, WEST, used={"b-1": None}, more=[acting((1, "minimal"))])
    assert world.ask()[1] is None


def test_a_route_that_people_degraded_further_stays_there() -> None:
    world = Spent(EAST, WEST, used={"b-1": 100}, more=[acting((50, "limited"))], resilience=Resilience(level="limited"))
    assert world.ask()[0].route is world.route


THRESHOLDS = st.lists(st.tuples(st.integers(1, 200), st.sampled_from(RELIEFS)), max_size=3)


@settings(max_examples=examples(150), deadline=None)
@given(budgets=st.lists(st.tuples(st.integers(0, 200), THRESHOLDS), min_size=1, max_size=4))
def test_the_severest_of_the_thresholds_reached_acts(budgets: list[tuple[int, list[tuple[int, str]]]]) -> None:
    used = {f"b-{n}": percent for n, (percent, _) in enumerate(budgets)}
    more = [acting(*does, id=f"b-{n}") for n, (_, does) in enumerate(budgets)]
    world = Spent(EAST, WEST, used=dict(used), more=[*more, *prices()])
    exchange, _ = world.ask()
    reached = [RELIEFS.index(do) for percent, does in budgets for at, do in does if percent >= at]  # type: ignore[arg-type]
    assert exchange.route is not None
    assert exchange.route.flags == ((f"budget:{RELIEFS[max(reached)]}",) if reached else ())


def test_a_threshold_beyond_all_sense_does_not_compile() -> None:
    with pytest.raises(CompileError, match="a threshold is 1 to 1000 percent"):
        Spent(EAST, used={}, more=[acting((0, "cheaper"))])


# --- what the database told ------------------------------------------------------------------------------------------


def test_what_is_used_is_what_was_told_less_what_lies_here_unspent_and_is_asked_for_again() -> None:
    async def scene(world: LeaseWorld) -> None:
        leases = world.proxy()
        assert leases.used("b") is None
        await asyncio.sleep(0.01)
        assert leases.used("b") == (0, 1_000), "asked without taking anything"
        assert world.book.window("b").leased == 0
        charges = await taken(leases, 100, "b")
        assert leases.used("b") == (100, 1_000)
        leases.settle(charges, 100)
        other = world.proxy("two")
        await taken(other, 300, "b")
        held = sum(lease.outstanding for lease in world.book.leases if lease.boot == "two")
        await asyncio.sleep(1.1)
        leases.used("b")
        await asyncio.sleep(0.01)
        used = leases.used("b")
        assert used is not None
        assert used[0] == 100 + held

    play(scene, b=1_000)


def test_a_raised_limit_is_heard_of_even_where_no_request_reserves_any_more() -> None:
    async def scene(world: LeaseWorld) -> None:
        leases = world.proxy()
        await taken(leases, 1_000, "b")
        assert leases.used("b") == (1_000, 1_000)
        world.book.set_limit("b", 5_000)
        await asyncio.sleep(1.1)
        leases.used("b")
        await asyncio.sleep(0.01)
        assert leases.used("b") == (1_000, 5_000)

    play(scene, b=1_000)


def test_what_was_told_of_windows_that_ended_is_forgotten() -> None:
    async def scene(world: LeaseWorld) -> None:
        leases = world.proxy()
        for name in ("a", "b"):
            leases.settle(await taken(leases, 10, name), 10)
        await asyncio.sleep(130)
        await taken(leases, 10, "b")
        assert set(leases._told) == {"b"}

    play(scene, a=1_000, b=1_000, window_ms=10_000)


def test_a_new_window_begins_unused() -> None:
    async def scene(world: LeaseWorld) -> None:
        leases = world.proxy()
        await taken(leases, 1_000, "b")
        await asyncio.sleep(11)
        assert leases.used("b") is None
        await asyncio.sleep(0.01)
        assert leases.used("b") == (0, 1_000)

    play(scene, b=1_000, window_ms=10_000)
