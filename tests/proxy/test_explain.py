"""A dry run: the plan and its reasons, and never a call."""

from __future__ import annotations

import json
from typing import Any

import pytest
from msgspec.structs import replace

from apps.contracts.errors import CODES
from apps.contracts.snapshot import KeyFragment, Mirror, Resilience
from apps.proxy.errors import Refusal
from apps.proxy.explain import asked, explain
from tests.proxy.choosing import EAST, SOUTH, WEST, World, budget, price
from tests.proxy.fragments import ORG

DRY = {b"x-bulkhead-explain": b"dry-run"}


def explained(world: World, headers: dict[bytes, bytes] | None = None, **fields: Any) -> dict[str, Any]:
    exchange = world.exchange(headers or DRY, **fields)
    assert asked(exchange)
    found = explain(exchange, world.choose(exchange), world.now)
    assert isinstance(found, bytes), found
    return json.loads(found)  # type: ignore[no-any-return]


def test_the_plan_of_an_ordinary_request() -> None:
    world = World(EAST, WEST, more=[price("east", "m", input=150_000_000, output=600_000_000), budget()])
    plan = explained(world, max_tokens=100)
    assert plan["would"] == {"call": "east/main/m"} and plan["config_version"] == 7
    assert (plan["route"], plan["level"], plan["strategy"], plan["flags"]) == ("chat", "full", "priority", [])
    first, second = plan["candidates"]
    exchange = world.exchange(max_tokens=100)
    target = world.target("east")
    assert target.prices is not None and (known := target.prices.at(0)) is not None
    assert first["cost_bound_nano"] == known.bound(exchange.input_bound, 100, 1)
    assert first["price_version"] == "east-1" and first["breaker"] == "closed" and first["estimated_input_tokens"] > 5
    assert second["cost_bound_nano"] is None and second["refused"] == "unpriced_model"
    assert plan["budgets"] == [{"name": "monthly", "window": "month", "limit_nano": 1_000_000_000, "scope": "key", "hard": True}]
    assert plan["deadlines_ms"]["total"] == 120_000 and plan["deadlines_ms"]["first_token"] == 6_000
    assert plan["dropped"] == [] and plan["notes"] == []


def test_what_was_dropped_is_named_with_its_reason() -> None:
    world = World(replace(EAST, window=1_000), WEST, replace(SOUTH, capabilities=()), resilience=Resilience(context="trim"))
    world.open("west")
    plan = explained(world, max_tokens=100, tools=[{"type": "function", "function": {"name": "f"}}])
    reasons = {drop["target"].partition("/")[0]: drop["reason"] for drop in plan["dropped"]}
    assert set(reasons) == {"west", "south"} and "breaker" in reasons["west"] and "function calling" in reasons["south"]
    assert [candidate["target"] for candidate in plan["candidates"]] == ["east/main/m"]


def test_a_refusal_is_explained_too() -> None:
    world = World(replace(EAST, window=1_000), resilience=Resilience(context="refuse"))
    plan = explained(world, messages=[{"role": "user", "content": "word " * 5_000}])
    assert plan["would"]["refuse"] == "context_length_exceeded" and plan["would"]["detail"]["window_tokens"] == 1_000
    assert plan["candidates"] == []


def test_a_hard_budget_and_no_price_would_be_refused() -> None:
    plan = explained(World(EAST, more=[budget()]))
    assert plan["would"]["refuse"] == "unpriced_model"


def test_trimming_and_mirrors_are_told() -> None:
    mirrored = Resilience(context="trim", mirror=Mirror(target=SOUTH, percent=25))
    world = World(replace(EAST, window=2_000), resilience=mirrored)
    old = [{"role": "user", "content": "word " * 3_000}, {"role": "assistant", "content": "so"}]
    plan = explained(world, messages=[*old, {"role": "user", "content": "and?"}], max_tokens=10)
    assert plan["trimmed_messages"] == 2 and plan["mirror"] == {"target": "south/main/m", "percent": 25}


def test_a_key_needs_the_permission() -> None:
    more: Any = [KeyFragment(id="k-1", name="app", public_id="pk", organisation=ORG, digests=["aa"])]
    world = World(EAST, more=more)
    exchange = world.exchange(DRY)
    refusal = explain(exchange, world.choose(exchange), world.now)
    assert isinstance(refusal, Refusal) and refusal.code == "explain_not_allowed" and CODES[refusal.code].status == 403
    assert "Ask its owner" in refusal.message


@pytest.mark.parametrize("value", [b"yes", b"", b"dry"])
def test_another_value_is_refused(value: bytes) -> None:
    world = World(EAST)
    exchange = world.exchange({b"x-bulkhead-explain": value})
    refusal = explain(exchange, world.choose(exchange), world.now)
    assert isinstance(refusal, Refusal) and refusal.code == "invalid_field" and "dry-run" in refusal.message


def test_without_a_route_the_refusal_is_the_answer() -> None:
    world = World(EAST)
    exchange = world.exchange(DRY)
    exchange.route = None
    missing = Refusal("model_not_found", "plan", "There is no model.")
    assert explain(exchange, missing, world.now) is missing
    exchange.key = None
    unknown = Refusal("invalid_api_key", "authenticate", "No.")
    assert explain(exchange, unknown, world.now) is unknown


def test_requests_without_the_header_do_not_ask() -> None:
    assert not asked(World(EAST).exchange())
