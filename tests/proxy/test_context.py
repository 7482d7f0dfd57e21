"""Whether a request fits, and what is done where it does not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from apps.contracts.snapshot import Resilience
from apps.contracts.usage import Tokens
from apps.proxy.context import IMAGE_TOKENS, Size, calibrate, family_bytes_per_token, turns_of
from apps.proxy.errors import Refusal
from apps.proxy.exchange import Exchange
from tests.proxy.choosing import EAST, WEST, World
from tests.scale import examples


def say(role: str, words: int = 1, **more: Any) -> dict[str, Any]:
    return {"role": role, "content": "word " * words, **more}


def called(id: str) -> dict[str, Any]:
    return {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": id, "type": "function", "function": {"name": "f", "arguments": "{}"}}],
    }


def result(id: str, words: int = 1) -> dict[str, Any]:
    return {"role": "tool", "tool_call_id": id, "content": "word " * words}


def policy(name: Any) -> Resilience:
    return Resilience(context=name)


def chosen(world: World, exchange: Exchange) -> list[str]:
    refusal = world.choose(exchange)
    assert refusal is None, refusal
    return [target.provider for target in exchange.plan]


LONG = [say("system"), say("user", 1_000), say("assistant", 1_000), say("user", 1_000)]


@pytest.mark.parametrize("name", ["larger", "trim", "refuse"])
def test_a_target_that_is_too_small_is_left_out_while_a_larger_one_is_there(name: str) -> None:
    world = World(replace(EAST, window=4_000), replace(WEST, window=32_000), resilience=policy(name))
    assert world.plan(max_tokens=100) == ["east", "west"] and world.time_asked == 0, "what surely fits is not estimated"
    exchange = world.exchange(messages=LONG, max_tokens=100)
    assert chosen(world, exchange) == ["west"] and exchange.body is exchange.request.body
    assert exchange.choice is not None and "a window of 4000" in exchange.choice.dropped[0].reason


def test_the_guard_can_be_off_and_an_unknown_window_takes_everything() -> None:
    assert World(replace(EAST, window=100), WEST, resilience=policy("off")).plan(messages=LONG) == ["east", "west"]
    assert World(replace(EAST, window=100), WEST, resilience=policy("refuse")).plan(messages=LONG) == ["west"]


def test_refuse_says_the_numbers() -> None:
    world = World(replace(EAST, window=4_000), replace(WEST, window=2_000), resilience=policy("refuse"))
    exchange = world.exchange(messages=LONG, max_tokens=100)
    refusal = world.choose(exchange)
    assert isinstance(refusal, Refusal) and refusal.code == "context_length_exceeded" and refusal.param == "messages"
    assert refusal.detail is not None and refusal.detail["window_tokens"] == 4_000 and refusal.detail["target"] == "east/main/m"
    assert refusal.detail["estimated_input_tokens"] == Size.of(exchange).tokens(world.target("east"))
    assert str(refusal.detail["estimated_input_tokens"]) in refusal.message and "4000" in refusal.message


def test_an_output_cap_that_the_app_did_not_set_gives_way() -> None:
    world = World(replace(EAST, window=8_000), resilience=policy("refuse"))
    exchange = world.exchange(messages=LONG)
    assert exchange.cap_injected and chosen(world, exchange) == ["east"]
    assert exchange.max_output == 8_000 - Size.of(exchange).tokens(world.target("east")) < 4_096
    asked = world.exchange(messages=LONG, max_tokens=4_096)
    assert isinstance(world.choose(asked), Refusal), "what the app asked for is not changed"


def test_larger_lets_the_largest_decide_unless_it_is_far_too_large() -> None:
    world = World(replace(EAST, window=1_000), replace(WEST, window=4_000), resilience=policy("larger"))
    exchange = world.exchange(messages=LONG, max_tokens=100)
    assert chosen(world, exchange) == ["west"] and exchange.choice is not None and "decides" in exchange.choice.notes[0]
    refusal = world.choose(world.exchange(messages=LONG * 5, max_tokens=100))
    assert isinstance(refusal, Refusal) and refusal.code == "context_length_exceeded"


def test_embeddings_are_guarded_too() -> None:
    world = World(replace(EAST, window=1_000), resilience=policy("trim"))
    refusal = world.choose(world.exchange(kind="embeddings", input="word " * 4_000))
    assert isinstance(refusal, Refusal) and refusal.param == "input"


def test_trim_leaves_out_the_oldest_turns_and_says_so() -> None:
    world = World(replace(EAST, window=4_000), resilience=policy("trim"))
    messages = [say("system"), say("user", 900), say("assistant", 900), say("user", 900), say("assistant", 300), say("user", 300)]
    exchange = world.exchange(messages=messages, max_tokens=100)
    assert chosen(world, exchange) == ["east"] and exchange.choice is not None
    assert json.loads(exchange.body)["messages"] == [messages[0], *messages[3:]] == exchange.payload["messages"]
    assert exchange.choice.trimmed == 2 and exchange.choice.head == b"x-bulkhead-trimmed: 2 messages\r\n"
    assert exchange.input_bound == len(exchange.body) < len(exchange.request.body)
    assert Size.of(exchange).tokens(world.target("east")) + 100 <= 4_000


def test_trim_keeps_calls_and_results_together_and_refuses_when_the_last_turn_is_too_long() -> None:
    world = World(replace(EAST, window=2_000), resilience=policy("trim"))
    messages = [say("system"), say("user"), called("a"), result("a", 2_000), say("assistant"), say("user"), called("b"), result("b")]
    exchange = world.exchange(messages=messages, max_tokens=100)
    assert chosen(world, exchange) == ["east"]
    assert exchange.payload["messages"] == [messages[0], *messages[5:]]
    last = world.exchange(messages=[say("system"), say("user"), called("a"), result("a", 2_000)], max_tokens=100)
    refusal = world.choose(last)
    assert isinstance(refusal, Refusal) and "last turn alone" in refusal.message and last.body is last.request.body


def test_images_count_as_images_and_not_as_their_bytes() -> None:
    world = World(replace(EAST, window=20_000), resilience=policy("refuse"))
    picture = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * 400_000}}
    exchange = world.exchange(messages=[{"role": "user", "content": [{"type": "text", "text": "what is this?"}, picture]}], max_tokens=100)
    assert chosen(world, exchange) == ["east"]
    assert IMAGE_TOKENS < Size.of(exchange).tokens(world.target("east")) < IMAGE_TOKENS + 100


def test_the_estimate_is_calibrated_by_what_providers_count() -> None:
    world = World(replace(EAST, window=4_000), resilience=policy("refuse"))
    assert isinstance(world.choose(world.exchange(messages=LONG, max_tokens=100)), Refusal)
    for _ in range(40):
        exchange = world.exchange(messages=LONG, max_tokens=100)
        calibrate(exchange, world.target("east"), Tokens(input=len(exchange.body) // 5))
    again = world.exchange(messages=LONG, max_tokens=100)
    assert chosen(world, again) == ["east"]
    estimated, counted = Size.of(again).tokens(world.target("east")), len(again.body) // 5
    assert counted <= estimated < counted * 1.2, "on the safe side, and not by much"


def test_requests_that_say_nothing_of_text_do_not_calibrate() -> None:
    world = World(EAST)
    picture = [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}]}]
    calibrate(world.exchange(messages=picture), world.target("east"), Tokens(input=900))
    calibrate(world.exchange(), world.target("east"), Tokens(input=9))
    assert world.target("east").state.health.bytes_per_token == 0.0


def test_families_begin_cautiously() -> None:
    assert family_bytes_per_token("openai/gpt-4o-mini") == family_bytes_per_token("gpt-5") > family_bytes_per_token("claude-sonnet-4")
    assert family_bytes_per_token("something-new") == 3.0


_ROLES = st.sampled_from(["system", "developer", "user", "assistant", "call", "result", "old result", "tool"])


@settings(max_examples=examples(200), deadline=None)
@given(
    roles=st.lists(st.tuples(_ROLES, st.integers(0, 3), st.integers(1, 400)), min_size=1, max_size=14),
    window=st.integers(300, 3_000),
    cap=st.sampled_from([None, 100]),
)
def test_trimming_never_parts_what_belongs_together(roles: list[tuple[str, int, int]], window: int, cap: int | None) -> None:
    messages: list[dict[str, Any]] = []
    for role, number, words in roles:
        if role == "call":
            messages.append(called(f"c{number}"))
        elif role in ("result", "old result", "tool"):
            messages.append(result(f"c{number}", words))
        else:
            messages.append(say(role, words))
    turns = turns_of(messages)
    spoken = [at for at, message in enumerate(messages) if message["role"] not in ("system", "developer")]
    assert [at for turn in turns for at in turn] == spoken and all(turns)
    world = World(replace(EAST, window=window), resilience=policy("trim"))
    fields = {} if cap is None else {"max_tokens": cap}
    exchange = world.exchange(messages=messages, **fields)
    refusal = world.choose(exchange)
    if refusal is not None:
        assert refusal.code == "context_length_exceeded" and exchange.body is exchange.request.body
        return
    kept = exchange.payload["messages"]
    assert exchange.max_output >= 1 and json.loads(exchange.body) == exchange.payload
    assert [m for m in kept if m["role"] in ("system", "developer")] == [m for m in messages if m["role"] in ("system", "developer")]
    if turns:
        assert messages[turns[-1][-1]] in kept
    gone = len(messages) - len(kept)
    assert exchange.choice is None or exchange.choice.trimmed == gone
    if gone:
        # the messages are kept as they are, so positions are found by identity of the decoded objects
        places, at = [], 0
        for message in kept:
            while exchange_message(exchange, at) != message:
                at += 1
            places.append(at)
            at += 1
        left_out = set(range(len(messages))) - set(places)
        for at in left_out:
            for name in [call["id"] for call in messages[at].get("tool_calls") or []]:
                answers = [other for other in range(at + 1, len(messages)) if messages[other].get("tool_call_id") == name]
                again = [
                    other for other in range(at + 1, len(messages)) if any(c["id"] == name for c in messages[other].get("tool_calls") or [])
                ]
                answers = [other for other in answers if not again or other < again[0]]
                assert set(answers) <= left_out, "a result without its call"
        assert Size.of(exchange).tokens(world.target("east")) + exchange.max_output <= window


def exchange_message(exchange: Exchange, at: int) -> Any:
    return json.loads(exchange.request.body)["messages"][at]
