"""How a route keeps answering, compiled: units, refusals that say what to do, wildcards."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from apps.contracts.snapshot import BreakerPolicy, Deadlines, KeyFragment, Mirror, Resilience, RouteFragment
from apps.proxy.compiler import CompileError
from apps.proxy.errors import Refusal
from apps.proxy.steps.plan import plan
from tests.proxy.choosing import EAST, SOUTH, WEST, World
from tests.proxy.fragments import ORG


@pytest.mark.parametrize(
    ("targets", "resilience", "field"),
    [
        ([replace(EAST, weight=-1)], Resilience(), "targets[0].weight"),
        ([EAST, replace(WEST, window=-1)], Resilience(), "targets[1].window"),
        ([replace(EAST, max_concurrency=-1)], Resilience(), "targets[0].max_concurrency"),
        ([replace(EAST, capabilities=("telepathy",))], Resilience(), "targets[0].capabilities"),
        ([replace(EAST, weight=0), replace(WEST, weight=0)], Resilience(strategy="weighted"), "targets"),
        ([EAST, EAST], Resilience(strategy="weighted"), "targets[1]"),
        ([EAST], Resilience(strategy="region"), "resilience.region"),
        ([EAST], Resilience(strategy="region", region="mars"), "resilience.region"),
        ([EAST], Resilience(strategy="luck"), "resilience.strategy"),  # type: ignore[arg-type]
        ([EAST], Resilience(sticky="shoe"), "resilience.sticky"),  # type: ignore[arg-type]
        ([EAST], Resilience(context="pray"), "resilience.context"),  # type: ignore[arg-type]
        ([EAST], Resilience(rescue="all"), "resilience.rescue"),  # type: ignore[arg-type]
        ([EAST], Resilience(level="half"), "resilience.level"),  # type: ignore[arg-type]
        ([EAST], Resilience(mirror=Mirror(target=EAST)), "resilience.mirror.target"),
        ([EAST], Resilience(mirror=Mirror(target=replace(EAST, provider="nowhere"))), "resilience.mirror.target"),
        ([EAST], Resilience(mirror=Mirror(target=WEST, percent=101)), "resilience.mirror.percent"),
        ([EAST], Resilience(hedge_percent=-1), "resilience.hedge_percent"),
        ([EAST], Resilience(retry_budget_percent=101), "resilience.retry_budget_percent"),
        ([EAST], Resilience(breaker=BreakerPolicy(failure_percent=120)), "resilience.breaker.failure_percent"),
        ([EAST], Resilience(breaker=BreakerPolicy(window_ms=0)), "resilience.breaker.window_ms"),
        ([EAST], Resilience(breaker=BreakerPolicy(consecutive=-1)), "resilience.breaker.consecutive"),
        ([EAST], Resilience(queue_size=-1), "resilience.queue_size"),
        ([EAST], Resilience(hedge_after_ms=-1), "resilience.hedge_after_ms"),
        ([EAST], Resilience(reasoning_first_byte_ms=0), "resilience.reasoning_first_byte_ms"),
        ([EAST], Resilience(limited_max_output=0), "resilience.limited_max_output"),
    ],
)
def test_what_cannot_be_served_is_refused_with_what_to_do(targets: list[Any], resilience: Resilience, field: str) -> None:
    with pytest.raises(CompileError) as caught:
        World(*targets, resilience=resilience)
    assert (caught.value.section, caught.value.field) == ("routes", field) and len(caught.value.message) > 20


def test_seconds_and_shares() -> None:
    given = Resilience(
        first_token_ms=1_500, queue_ms=250, hedge_percent=5, hedge_after_ms=700, mirror=Mirror(target=SOUTH, percent=10), canned="Sorry."
    )
    world = World(EAST, resilience=given, deadlines=Deadlines(first_byte_ms=3_000))
    found = world.route.resilience
    assert (found.first_token, found.queue, found.hedge_share, found.hedge_after, found.mirror_share) == (1.5, 0.25, 0.05, 0.7, 0.1)
    assert found.mirror is not None and found.mirror.label == "south/main/m" and world.route.every_target[-1] is found.mirror
    assert found.mirror not in world.route.targets and found.canned == "Sorry." and found.breaker == BreakerPolicy()
    assert World(EAST, deadlines=Deadlines(first_byte_ms=3_000)).route.resilience.first_token == 3.0


def test_a_targets_own_deadlines_come_before_its_routes() -> None:
    own = replace(WEST, connect_ms=100, first_byte_ms=200, first_token_ms=300, idle_ms=400, total_ms=500)
    thinks = replace(SOUTH, reasoning=True, first_token_ms=1)
    route = Deadlines(connect_ms=1_000, first_byte_ms=2_000, idle_ms=3_000, total_ms=4_000)
    world = World(EAST, own, thinks, resilience=Resilience(reasoning_first_byte_ms=9_000, first_token_ms=2_500), deadlines=route)
    found = {t.provider: (t.connect, t.first_byte, t.first_token, t.idle, t.total) for t in world.route.targets}
    assert found == {
        "east": (1.0, 2.0, 2.5, 3.0, 4.0),
        "west": (0.1, 0.2, 0.3, 0.4, 0.5),
        "south": (1.0, 9.0, 9.0, 3.0, 4.0),
    }
    with pytest.raises(CompileError, match="0: as the route"):
        World(replace(EAST, idle_ms=-1))


def test_routes_share_what_is_heavy_and_keep_their_own_options() -> None:
    other = RouteFragment(
        id="r-2", name="other", organisation=ORG, targets=[replace(EAST, weight=7, window=9, prefill=True, reasoning=True, variant="b")]
    )
    world = World(EAST, more=[other])
    one, two = world.route.targets[0], world.runtime.tables[ORG]["other"].targets[0]
    assert one is not two and one.request_heads is two.request_heads and one.origin is two.origin
    assert (one.weight, one.window, one.prefill, one.reasoning, one.variant) == (100, 0, False, False, "")
    assert (two.weight, two.window, two.prefill, two.reasoning, two.variant) == (7, 9, True, True, "b")


def wild(name: str, id: str, *aliases: str) -> RouteFragment:
    return RouteFragment(id=id, name=name, organisation=ORG, targets=[WEST], aliases=list(aliases))


def routed(world: World, model: str) -> str | None:
    exchange = world.exchange(model=model)
    exchange.route = None
    refusal = plan(exchange, world.runtime)
    if isinstance(refusal, Refusal):
        assert refusal.code == "model_not_found"
        return None
    assert exchange.route is not None
    return exchange.route.name


def test_the_apps_own_fallbacks_are_planned_as_carefully_as_a_routes_targets() -> None:
    narrow = replace(SOUTH, window=5, capabilities=())
    world = World(EAST, more=[RouteFragment(id="r-2", name="more", organisation=ORG, targets=[narrow, WEST])])
    named = {b"x-bulkhead-fallbacks": b"more"}

    def planned(**fields: Any) -> tuple[list[str], list[str]]:
        exchange = world.exchange(named, **fields)
        assert plan(exchange, world.runtime) is None
        dropped = exchange.choice.dropped if exchange.choice is not None else ()
        return [target.provider for target in exchange.plan], [drop.target.provider for drop in dropped]

    assert planned(tools=[{"type": "function"}]) == (["east", "west"], ["south"]), "it cannot call functions"
    assert planned(messages=[{"role": "user", "content": "word " * 500}]) == (["east", "west"], ["south"]), "its window is too small"
    world.breakers.force("west/main/m", "open", world.now)
    assert planned(messages=[{"role": "user", "content": "word " * 500}]) == (["east"], ["south", "west"]), "it is forced open"


def test_wildcards_longest_prefix_wins_and_exact_names_first() -> None:
    world = World(EAST, more=[wild("gpt*", "r-2"), wild("big", "r-3", "gpt-4*"), wild("gpt-4o", "r-4")])
    assert routed(world, "chat") == "chat"
    assert routed(world, "gpt-4o") == "gpt-4o"
    assert routed(world, "gpt-4o-mini") == "big"
    assert routed(world, "gpt-4") == "big"
    assert routed(world, "gpt-5") == "gpt*"
    assert routed(world, "claude") is None
    assert routed(World(EAST, more=[wild("*", "r-2")]), "anything") == "*"


def test_a_key_may_be_allowed_a_wildcard_alone() -> None:
    key = KeyFragment(id="k-1", name="app", public_id="pk", organisation=ORG, digests=["aa"], routes=["gpt-4*"])
    world = World(EAST, more=[key, wild("big", "r-3", "gpt-4*"), wild("gpt-4o", "r-4")])
    assert routed(world, "gpt-4-turbo") == "big"
    assert routed(world, "gpt-4o") is None, "a name of its own is allowed by itself"
    assert routed(world, "chat") is None


@pytest.mark.parametrize("name", ["g*t", "*x", "gpt**"])
def test_a_star_in_the_middle_is_refused(name: str) -> None:
    with pytest.raises(CompileError, match="one \\* at the end"):
        World(EAST, more=[wild(name, "r-2")])


def test_two_routes_cannot_have_the_same_wildcard() -> None:
    with pytest.raises(CompileError, match="already the name or alias"):
        World(EAST, more=[wild("a", "r-2", "gpt-*"), wild("b", "r-3", "gpt-*")])
