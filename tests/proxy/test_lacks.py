"""What a model is known not to do keeps requests that need it away from it, before anybody is called; what is not known does not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from apps.contracts.model_facts import CAPABILITIES, ModelFacts, facts_of
from apps.contracts.snapshot import ModelFragment
from apps.proxy.choose import order
from apps.proxy.compiler import CompileError, compile_config
from apps.proxy.dialects.openai import OpenAIDialect
from apps.proxy.lacks import needs_of
from tests.proxy.choosing import EAST, WEST, World
from tests.proxy.fragments import provider, route, table
from tests.scale import examples

USER = {"role": "user", "content": "hello"}


def part(kind: str) -> list[dict[str, Any]]:
    return [{"role": "user", "content": [{"type": "text", "text": "look"}, {"type": kind, kind: {"url": "data:,x"}}]}]


ASKED: dict[str, dict[str, Any]] = {
    "tools": {"tools": [{"type": "function", "function": {"name": "f"}}]},
    "json_schema": {"response_format": {"type": "json_schema", "json_schema": {"name": "a", "schema": {}}}},
    "images": {"messages": part("image_url")},
    "parallel_tools": {"tools": [{"type": "function", "function": {"name": "f"}}], "parallel_tool_calls": True},
    "documents": {"messages": part("file")},
    "audio": {"messages": part("input_audio")},
    "reasoning": {"reasoning_effort": "low"},
    "logprobs": {"logprobs": True},
    "seed": {"seed": 0},
    "n": {"n": 2},
    "prefill": {"messages": [USER, {"role": "assistant", "content": "It is"}]},
    "streaming": {"stream": True},
}
HARMLESS: tuple[dict[str, Any], ...] = (
    {},
    {"tools": []},
    {"response_format": {"type": "text"}},
    {"reasoning_effort": "none"},
    {"logprobs": False},
    {"n": 1},
    {"stream": False},
    {"temperature": 0.3, "user": "ada"},
    {"messages": [USER, {"role": "assistant", "content": None, "tool_calls": [{"id": "1"}]}]},
)
FIELD = {"images": "messages", "documents": "messages", "audio": "messages", "prefill": "messages", "json_schema": "response_format"}


def known(name: str, own: ModelFacts | None = None, /, **facts: Any) -> ModelFragment:
    return ModelFragment(
        id=f"p-{name}/m",
        provider=f"p-{name}",
        model="m",
        known=ModelFacts(**facts),
        own=own or ModelFacts(),
    )


def test_every_capability_but_caching_is_asked_for_by_something() -> None:
    assert set(ASKED) == set(CAPABILITIES) - {"caching"}


@pytest.mark.parametrize("capability", ASKED)
def test_another_target_is_chosen_or_the_refusal_names_the_field(capability: str) -> None:
    world = World(EAST, WEST, more=[known("east", cannot=(capability,))])
    exchange = world.exchange(**ASKED[capability])
    assert capability in needs_of(exchange) and world.choose(exchange) is None and exchange.choice is not None
    assert [target.provider for target in exchange.plan] == ["west"] and "does not take" in exchange.choice.dropped[0].reason
    both = World(EAST, WEST, more=[known("east", cannot=(capability,)), known("west", cannot=(capability,))])
    refusal = both.choose(both.exchange(**ASKED[capability]))
    assert refusal is not None and refusal.code == "unsupported_operation"
    assert refusal.param == FIELD.get(capability, next(iter(reversed(ASKED[capability]))))
    assert "east" in refusal.message and "west" in refusal.message


@pytest.mark.parametrize("fields", HARMLESS)
def test_who_asks_for_nothing_special_goes_the_quick_way(fields: dict[str, Any]) -> None:
    world = World(EAST, WEST, more=[known("east", cannot=tuple(sorted(set(CAPABILITIES))), max_output=10_000)])
    exchange = world.exchange(**fields)
    assert world.choose(exchange) is None and [target.provider for target in exchange.plan] == ["east", "west"]
    if not fields or "temperature" in fields:
        assert exchange.plan is world.route.live and exchange.choice is None and world.time_asked == 0


@given(
    st.dictionaries(st.sampled_from(CAPABILITIES), st.one_of(st.none(), st.booleans())),
    st.dictionaries(st.sampled_from(CAPABILITIES), st.one_of(st.none(), st.booleans())),
    st.sampled_from([*ASKED.values(), *HARMLESS]),
    st.sampled_from([0, 64, 10_000]),
    st.sampled_from([{}, {"max_tokens": 100}]),
)
@settings(max_examples=examples(60))
def test_the_quick_way_and_the_exact_one_agree(
    east: dict[str, bool | None], west: dict[str, bool | None], fields: dict[str, Any], most: int, cap: dict[str, Any]
) -> None:
    """Invariant: a target is out of the plan exactly where it is known to lack what is asked for."""
    more = [
        ModelFragment(id=f"p-{name}/m", provider=f"p-{name}", model="m", known=facts_of(able, max_output=most))
        for name, able in (("east", east), ("west", west))
    ]
    world = World(EAST, WEST, more=list(more))
    exchange = world.exchange(**fields, **cap)
    needs = needs_of(exchange)
    too_much = bool(cap) and 0 < most < 100
    wanted = [
        name for name, able in (("east", east), ("west", west)) if not too_much and all(able.get(need) is not False for need in needs)
    ]
    refusal = world.choose(exchange)
    assert (refusal is None) == bool(wanted)
    if refusal is None:
        assert [target.provider for target in exchange.plan] == wanted
    again = world.exchange(**fields, **cap)
    assert [target.provider for target in order(world.route, world.route.targets, again, world.now)[0]] == wanted


def test_a_person_wins_over_what_packages_say_and_a_routes_target_over_both() -> None:
    said = ModelFacts(can=("tools",), window=32_000)
    world = World(EAST, more=[known("east", said, cannot=("tools", "images"), window=8_000, max_output=500)])
    target = world.target("east")
    assert (target.window, target.max_output, sorted(target.cannot)) == (32_000, 500, ["images"])
    own = World(replace(EAST, window=64_000, capabilities=("images",)), more=[known("east", said, cannot=("images", "seed"))])
    target = own.target("east")
    assert target.window == 64_000 and target.cannot == {"tools", "json_schema", "seed"} and target.can == {"images"}


def test_more_output_than_a_model_gives_goes_elsewhere_or_is_refused_with_its_field() -> None:
    world = World(EAST, WEST, more=[known("east", max_output=500)])
    assert world.plan(max_tokens=501) == ["west"] and world.plan(max_completion_tokens=500) == ["east", "west"]
    one = World(EAST, more=[known("east", max_output=500)])
    refusal = one.choose(one.exchange(max_completion_tokens=501))
    assert refusal is not None and refusal.param == "max_completion_tokens" and "up to 500 tokens" in refusal.message


def test_a_cap_that_the_app_did_not_set_is_lowered_to_what_the_model_gives() -> None:
    world = World(EAST, WEST, more=[known("east", max_output=500)])
    exchange = world.exchange()
    assert world.choose(exchange) is None and [target.provider for target in exchange.plan] == ["east", "west"]
    bodies = [OpenAIDialect().body(exchange, target) for target in exchange.plan]
    assert b'"max_tokens":500,' in bodies[0] and b'"max_tokens":4096,' in bodies[1]


def test_the_window_of_a_models_facts_guards_as_a_targets_own_does() -> None:
    world = World(EAST, WEST, more=[known("east", window=5_000)])
    exchange = world.exchange(messages=[{"role": "user", "content": "x" * 20_000}])
    assert world.choose(exchange) is None and exchange.choice is not None
    assert [target.provider for target in exchange.plan] == ["west"] and "window of 5000" in exchange.choice.dropped[0].reason


def test_several_inputs_of_an_embedding_have_the_window_each_for_itself() -> None:
    world = World(EAST, more=[known("east", window=1_000)])
    exchange = world.exchange(messages=[{"role": "user", "content": "x" * 200_000}])
    exchange.kind, exchange.payload = "embeddings", {"model": "chat", "input": ["x" * 500] * 400}
    assert world.choose(exchange) is None
    exchange.payload = {"model": "chat", "input": "x" * 200_000}
    refusal = world.choose(exchange)
    assert refusal is not None and refusal.code == "context_length_exceeded"


def test_new_facts_of_a_model_reach_its_routes_and_nonsense_is_not_published() -> None:
    before = compile_config(table(provider(), route()), version=1)
    fragment = ModelFragment(id="p-1/m", provider="p-1", model="m", own=ModelFacts(cannot=("tools",)))
    after = compile_config(table(provider(), route(), fragment), version=2, previous=before, changed={"models": {"p-1/m"}})
    [target] = after.tables["o-1"]["chat"].targets
    assert target.cannot == {"tools"} and not before.tables["o-1"]["chat"].targets[0].cannot
    for wrong in (ModelFacts(can=("telepathy",)), ModelFacts(window=-1)):
        with pytest.raises(CompileError, match=r"models p-1/m: known\."):
            compile_config(table(provider(), route(), replace(fragment, known=wrong)), version=3)
