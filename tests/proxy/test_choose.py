"""Who is asked, in which order, and why others are not."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from apps.contracts.snapshot import Resilience, Switch, Target
from apps.proxy.choose import order
from apps.proxy.errors import Refusal
from tests.proxy.choosing import EAST, SOUTH, WEST, World
from tests.scale import examples

IMAGE = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}]}]


def test_in_ordinary_times_the_plan_is_the_routes_own_and_no_clock_is_read() -> None:
    world = World(EAST, WEST)
    exchange = world.exchange()
    assert world.choose(exchange) is None
    assert exchange.plan is world.route.live and exchange.choice is None and world.time_asked == 0
    assert [target.provider for target in exchange.plan] == ["east", "west"]


def test_priority_orders_and_equal_numbers_stay_as_listed() -> None:
    world = World(replace(EAST, priority=2), replace(WEST, priority=1), replace(SOUTH, priority=1))
    assert world.plan() == ["west", "south", "east"]


def test_an_open_breaker_takes_its_target_out_and_says_until_when() -> None:
    world = World(EAST, WEST)
    world.open("east")
    exchange = world.exchange()
    assert world.choose(exchange) is None and exchange.choice is not None
    assert [target.provider for target in exchange.plan] == ["west"] and not exchange.choice.regardless
    (dropped,) = exchange.choice.dropped
    assert dropped.target.provider == "east" and "open for another" in dropped.reason
    world.now += 600
    assert world.plan() == ["east", "west"], "when its time is over it stands in its own place again, for one probe"


def test_planning_takes_no_probes_place() -> None:
    world = World(EAST, WEST)
    world.open("east")
    world.now += 600
    for _ in range(3):
        world.plan()
    breaker = world.target("east").state.breaker
    assert breaker.allows(world.now) and breaker.state == "half_open"
    assert world.plan() == ["west"], "while the probe is out nobody else goes there"
    breaker.success(world.now)
    assert world.plan() == ["east", "west"]


def test_when_every_breaker_is_open_the_least_bad_is_tried() -> None:
    world = World(EAST, WEST)
    world.open("east")
    world.now += 0.5
    world.open("west")
    exchange = world.exchange()
    assert world.choose(exchange) is None and exchange.choice is not None
    assert [target.provider for target in exchange.plan] == ["east", "west"], "the one whose time comes first"
    assert exchange.choice.regardless and "every breaker is open" in exchange.choice.notes[0]


def test_what_is_forced_open_is_never_asked() -> None:
    world = World(EAST, WEST)
    world.breakers.force("east/main/m", "open", world.now)
    assert world.plan() == ["west"]
    world.breakers.force("west/main/m", "open", world.now)
    refusal = world.choose(world.exchange())
    assert isinstance(refusal, Refusal) and refusal.code == "no_target" and refusal.message.count("forced open") == 2


def test_what_is_forced_closed_is_asked_whatever_happens() -> None:
    world = World(EAST, WEST)
    world.breakers.force("east/main/m", "closed", world.now)
    world.open("east")
    assert world.plan() == ["east", "west"]


def test_killed_targets_are_out() -> None:
    world = World(EAST, WEST, east_enabled=False)
    assert world.plan() == ["west"]
    gone = World(EAST, WEST, east_enabled=False, west_enabled=False)
    refusal = gone.choose(gone.exchange())
    assert isinstance(refusal, Refusal) and refusal.code == "no_target" and "its provider is disabled" in refusal.message


def test_a_target_that_asked_to_be_left_alone_comes_last_until_then() -> None:
    world = World(EAST, WEST, SOUTH)
    world.target("east").state.resting_until = world.now + 5
    assert world.plan() == ["west", "south", "east"]
    world.now += 6
    assert world.plan() == ["east", "west", "south"]
    asked = world.time_asked
    assert world.plan() == ["east", "west", "south"] and world.time_asked == asked, "and then it is forgotten"


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"tools": [{"type": "function", "function": {"name": "f"}}]}, "function calling"),
        ({"response_format": {"type": "json_schema", "json_schema": {}}}, "JSON schema"),
        ({"messages": IMAGE}, "images"),
    ],
)
def test_requests_go_only_where_their_needs_are_met(fields: dict[str, Any], words: str) -> None:
    plain = replace(EAST, capabilities=())
    able = replace(WEST, capabilities=("tools", "json_schema", "images"))
    world = World(plain, able, SOUTH)
    assert world.plan() == ["east", "west", "south"]
    exchange = world.exchange(**fields)
    assert world.choose(exchange) is None and exchange.choice is not None
    assert [target.provider for target in exchange.plan] == ["west", "south"], "what is not known is not assumed away"
    assert words in exchange.choice.dropped[0].reason
    alone = World(plain)
    refusal = alone.choose(alone.exchange(**fields))
    assert isinstance(refusal, Refusal) and refusal.code == "unsupported_operation" and words in refusal.message


def test_home_region_first() -> None:
    world = World(EAST, WEST, SOUTH, resilience=Resilience(strategy="region", region="us"))
    assert world.plan() == ["west", "east", "south"]
    world.open("west")
    assert world.plan() == ["east", "south"]
    passive = World(EAST, replace(WEST, priority=1), SOUTH, resilience=Resilience(strategy="region", region="us"))
    assert passive.plan() == ["east", "south", "west"], "priorities come before regions"


def test_a_switch_overrules_priorities_and_keeps_the_targets_options() -> None:
    switched = Switch(target=Target(provider="west", model="m"))
    world = World(EAST, replace(WEST, priority=9, window=8_000), resilience=Resilience(strategy="weighted"), switch=switched)
    assert all(world.plan() == ["west", "east"] for _ in range(20))
    assert world.route.targets[0].window == 8_000


def test_limited_leaves_expensive_targets_out_and_lowers_the_output_cap() -> None:
    limited = Resilience(level="limited", limited_max_output=100)
    world = World(replace(EAST, expensive=True), WEST, resilience=limited)
    exchange = world.exchange(max_tokens=5_000)
    assert world.choose(exchange) is None and exchange.choice is not None
    assert [target.provider for target in exchange.plan] == ["west"] and exchange.max_output == 100
    assert msgspec.json.decode(exchange.body)["max_tokens"] == 100 and "limited" in exchange.choice.dropped[0].reason
    assert exchange.request.body != exchange.body, "the record keeps what the app sent"
    small = world.exchange(max_tokens=50)
    assert world.choose(small) is None and small.max_output == 50 and small.body is small.request.body
    injected = world.exchange()
    assert world.choose(injected) is None and injected.max_output == 100
    only = World(replace(EAST, expensive=True), resilience=limited)
    assert only.plan() == ["east"], "expensive is better than nothing"


def test_order_changes_nothing() -> None:
    world = World(replace(EAST, window=10), WEST)
    exchange = world.exchange()
    kept, dropped = order(world.route, world.route.targets, exchange, world.now)
    assert [t.provider for t in kept] == ["west"] and "window of 10" in dropped[0].reason
    assert exchange.plan == () and exchange.choice is None and exchange.max_output == 4096


@settings(max_examples=examples(150), deadline=None)
@given(
    strategy=st.sampled_from(["priority", "weighted", "least_latency", "least_cost", "region"]),
    context=st.sampled_from(["off", "larger", "trim", "refuse"]),
    states=st.lists(st.sampled_from(["well", "open", "due", "probing", "forced", "resting", "killed"]), min_size=3, max_size=3),
    windows=st.lists(st.sampled_from([0, 1_000, 100_000]), min_size=3, max_size=3),
    weights=st.lists(st.integers(1, 3), min_size=3, max_size=3),
    words=st.integers(1, 4_000),
)
def test_whatever_happens_the_plan_is_made_of_live_targets_once_each(
    strategy: Any, context: Any, states: list[str], windows: list[int], weights: list[int], words: int
) -> None:
    targets = [replace(t, window=w, weight=g) for t, w, g in zip((EAST, WEST, SOUTH), windows, weights, strict=True)]
    names = ["east", "west", "south"]
    killed = {f"{name}_enabled": False for name, state in zip(names, states, strict=True) if state == "killed"}
    world = World(*targets, resilience=Resilience(strategy=strategy, region="eu", context=context), **killed)
    for name, state in zip(names, states, strict=True):
        target = world.target(name)
        if state in ("open", "due", "probing"):
            for _ in range(5):
                target.state.breaker.failure(world.now - (0 if state == "open" else 100))
        if state == "probing":
            assert target.state.breaker.allows(world.now)
        if state == "forced":
            world.breakers.force(target.label, "open", world.now)
        if state == "resting":
            target.state.resting_until = world.now + 1
    exchange = world.exchange(messages=[{"role": "user", "content": "word " * words}])
    refusal = world.choose(exchange)
    if refusal is not None:
        assert refusal.code in ("no_target", "context_length_exceeded") and not exchange.plan
        if all(window == 0 for window in windows):
            assert set(states) <= {"killed", "forced"}
        return
    plan = list(exchange.plan)
    assert plan and len(set(plan)) == len(plan) and set(plan) <= set(world.route.live)
    assert all(target.state.breaker.forced != "open" for target in plan)
    if exchange.choice is not None:
        assert not set(plan) & {drop.target for drop in exchange.choice.dropped}
        assert set(plan) | {drop.target for drop in exchange.choice.dropped} == set(world.route.targets)
        assert all(drop.reason for drop in exchange.choice.dropped)
        if exchange.choice.regardless:
            assert not any(target.state.breaker.usable(world.now) for target in plan)
