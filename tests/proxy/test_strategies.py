"""Shares, quickness and price: what the strategies promise."""

from __future__ import annotations

import random
from collections import Counter
from typing import Any

import pytest
from msgspec.structs import replace

from apps.contracts.snapshot import PriceTier, Resilience, Target
from apps.proxy.strategies import STRATEGIES
from tests.proxy.choosing import EAST, SOUTH, WEST, World, price

WEIGHTED = Resilience(strategy="weighted", sticky="user")


@pytest.fixture(autouse=True)
def _same_chances() -> None:
    random.seed(7)


def firsts(world: World, count: int = 2_000, **fields: Any) -> Counter[str]:
    return Counter(world.plan(user=f"user-{n}", **fields)[0] for n in range(count))


def test_users_are_split_by_weight_and_each_stays_where_it_is() -> None:
    world = World(replace(EAST, weight=90), replace(WEST, weight=10), resilience=WEIGHTED)
    shares = firsts(world)
    assert 150 < shares["west"] < 250
    for n in range(50):
        assert len({tuple(world.plan(user=f"user-{n}")) for _ in range(3)}) == 1


def test_raising_a_weight_moves_users_to_that_target_and_to_no_other() -> None:
    before = World(replace(EAST, weight=45), replace(WEST, weight=10), replace(SOUTH, weight=45), resilience=WEIGHTED)
    after = World(replace(EAST, weight=45), replace(WEST, weight=40), replace(SOUTH, weight=45), resilience=WEIGHTED)
    moves = Counter()
    for n in range(1_000):
        moves[(before.plan(user=f"user-{n}")[0], after.plan(user=f"user-{n}")[0])] += 1
    changed = {pair for pair in moves if pair[0] != pair[1]}
    assert changed == {("east", "west"), ("south", "west")}


def test_when_one_is_out_its_users_spread_by_weight_and_the_others_stay() -> None:
    world = World(replace(EAST, weight=50), replace(WEST, weight=10), replace(SOUTH, weight=40), resilience=WEIGHTED)
    home = {n: world.plan(user=f"user-{n}")[0] for n in range(1_500)}
    world.open("east")
    spread: Counter[str] = Counter()
    for n, was in home.items():
        now = world.plan(user=f"user-{n}")[0]
        if was != "east":
            assert now == was
        else:
            spread[now] += 1
    assert 0.12 < spread["west"] / sum(spread.values()) < 0.28


def test_without_a_sticky_value_chance_splits() -> None:
    world = World(replace(EAST, weight=75), replace(WEST, weight=25), resilience=Resilience(strategy="weighted", sticky="session"))
    shares = firsts(world)
    assert 400 < shares["west"] < 600
    assert len({world.plan(user="same")[0] for _ in range(60)}) == 2, "a user is no session"
    session = {b"x-bulkhead-session": b"s-1"}
    assert len({tuple(world.plan(session)) for _ in range(20)}) == 1


def test_sticky_by_key() -> None:
    world = World(EAST, WEST, SOUTH, resilience=Resilience(strategy="weighted", sticky="key"))
    assert len({tuple(world.plan(user=str(n))) for n in range(20)}) == 1


def test_two_variants_of_one_model_and_one_variant_at_two_providers() -> None:
    targets = [replace(EAST, weight=50, variant="a"), replace(WEST, weight=25, variant="b"), replace(SOUTH, weight=25, variant="b")]
    shares = firsts(World(*targets, resilience=WEIGHTED))
    assert all(abs(shares[name] / 2_000 - share) < 0.05 for name, share in (("east", 0.5), ("west", 0.25), ("south", 0.25)))


def test_weight_zero_only_when_all_others_are_out() -> None:
    world = World(replace(EAST, weight=0), WEST, replace(SOUTH, priority=5), resilience=Resilience(strategy="weighted"))
    assert all(world.plan() == ["west", "south", "east"] for _ in range(20))
    world.open("west")
    world.open("south")
    assert world.plan() == ["east"]


def test_priorities_bind_under_weights() -> None:
    world = World(EAST, WEST, replace(SOUTH, priority=1, weight=10_000), resilience=Resilience(strategy="weighted"))
    plans = [world.plan() for _ in range(40)]
    assert all(plan[2] == "south" for plan in plans) and {plan[0] for plan in plans} == {"east", "west"}


def test_the_quicker_of_two_goes_first() -> None:
    world = World(EAST, WEST, resilience=Resilience(strategy="least_latency"))
    world.target("east").state.health.first_token(0.4, world.now)
    world.target("west").state.health.first_token(0.1, world.now)
    assert all(world.plan() == ["west", "east"] for _ in range(20))
    for _ in range(7):
        world.target("west").state.health.started()
    assert world.plan() == ["east", "west"], "what is in flight counts"


def test_two_random_choices_never_start_with_the_slowest_and_spread_the_rest() -> None:
    world = World(EAST, WEST, SOUTH, resilience=Resilience(strategy="least_latency"))
    for name, seconds in (("east", 0.1), ("west", 0.2), ("south", 0.9)):
        world.target(name).state.health.first_token(seconds, world.now)
    plans = [world.plan() for _ in range(200)]
    first = Counter(plan[0] for plan in plans)
    assert first["south"] == 0 and first["east"] > first["west"] > 30
    assert all(plan[1:] in (["west", "south"], ["east", "south"]) for plan in plans), "the others by expected wait"


def test_nothing_known_means_both_are_tried() -> None:
    world = World(EAST, WEST, resilience=Resilience(strategy="least_latency"))
    assert {world.plan()[0] for _ in range(40)} == {"east", "west"}


def test_the_cheapest_for_this_size_goes_first() -> None:
    tier = [PriceTier(from_input_tokens=1_000, input=9_000_000_000)]
    prices = [
        price("east", "m", input=1_000_000_000, output=4_000_000_000, tiers=tier),
        price("west", "m", input=2_000_000_000, output=4_000_000_000),
    ]
    world = World(WEST, EAST, SOUTH, resilience=Resilience(strategy="least_cost"), more=prices)
    assert world.plan(max_tokens=10) == ["east", "west", "south"], "without a price last"
    long = [{"role": "user", "content": "word " * 4_000}]
    assert world.plan(max_tokens=10, messages=long) == ["west", "east", "south"], "beyond the tier it is the dearer one"
    free = World(WEST, EAST, SOUTH, resilience=Resilience(strategy="least_cost"), more=prices, unpriced="zero")
    assert free.plan(max_tokens=10)[0] == "south"


def test_output_counts_as_much_as_it_may_be() -> None:
    prices = [price("east", "m", input=1_000_000_000, output=9_000_000_000), price("west", "m", input=3_000_000_000, output=1_000_000_000)]
    world = World(EAST, WEST, resilience=Resilience(strategy="least_cost"), more=prices)
    assert world.plan(max_tokens=1)[0] == "east" and world.plan(max_tokens=1_000)[0] == "west"


def test_one_target_needs_no_strategy() -> None:
    for strategy in STRATEGIES:
        world = World(EAST, resilience=Resilience(strategy=strategy, region="eu"))  # type: ignore[arg-type]
        assert world.plan() == ["east"] and world.time_asked == 0


def test_a_targets_variant_is_in_the_record() -> None:
    from apps.proxy.records import Templates

    world = World(replace(EAST, variant="canary"), Target(provider="west", model="m"), resilience=WEIGHTED)
    key = next(iter(world.runtime.keys.values()))
    for name, flags in (("east", ["variant:canary"]), ("west", [])):
        assert Templates("chat", key, world.route, world.target(name), world.runtime, "p").new_usage().flags == flags
