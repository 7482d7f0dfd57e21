"""Streams that break off are gone on with elsewhere: the stock SDK adds up exactly the whole text, or hears that it is not whole."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from apps.proxy.rescue import _ASKING
from apps.simulator import content
from apps.simulator.openai import LAST_WORDS
from tests.proxy.lab import KEY, Lab

QUESTION: list[Any] = [{"role": "user", "content": "Tell me of the sea."}]
TOKENS = 100
BANK = content.completion_text(8192 * 2, 0)


def sdk(lab: Lab) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{lab.proxy.url}/v1", api_key=KEY, max_retries=0, timeout=60)


def collected(lab: Lab, model: str, **more: Any) -> tuple[str, str | None, Any, str]:
    """(text, finish reason, usage, request id) as the stock SDK gives them."""
    with sdk(lab) as client:
        raw = client.chat.completions.with_raw_response.create(
            model=model,
            messages=QUESTION,
            stream=True,
            stream_options={"include_usage": True},
            extra_body={"bulkhead_sim": {"output_tokens": TOKENS}},
            **more,
        )
        text, finish, usage = "", None, None
        ids = set()
        for event in raw.parse():
            ids.add(event.id)
            for choice in event.choices:
                text += choice.delta.content or ""
                finish = choice.finish_reason or finish
            usage = event.usage or usage
        assert len(ids) == 1, "one answer has one id"
        return text, finish, usage, raw.headers["x-bulkhead-request-id"]


def expected() -> str:
    """What every simulator says to the question at temperature 0."""
    from apps.simulator.openai import ChatCall, choice_of

    call = ChatCall({"model": "any", "messages": QUESTION, "temperature": 0, "bulkhead_sim": {"output_tokens": TOKENS}})
    return choice_of(call, TOKENS, 0).text


def attempts(lab: Lab, request_id: str) -> list[dict[str, Any]]:
    answer = lab.client.get(f"/v1/requests/{request_id}", headers={"authorization": f"Bearer {KEY}"})
    found: list[dict[str, Any]] = answer.json()["attempts"]
    assert answer.json()["outcome"] == "ok"
    return found


def test_the_simulator_knows_how_it_is_asked() -> None:
    assert _ASKING.endswith(LAST_WORDS)


@pytest.mark.parametrize("events", [1, 2, 3, 40, 70, 101])
@pytest.mark.parametrize("model", ["prefill", "again"])
def test_a_cut_stream_is_whole_for_the_app(lab: Lab, model: str, events: int) -> None:
    lab.script("east", model, f"cut:events={events}")
    text, finish, usage, request_id = collected(lab, model, temperature=0)
    assert (text, finish) == (expected(), "stop")
    parts = attempts(lab, request_id)
    assert [(a["provider"], a["role"]) for a in parts][:1] == [("east", "first")]
    if events > 1:
        assert [(a["provider"], a["role"], a["outcome"]) for a in parts] == [("east", "first", "error"), ("west", "rescue", "ok")]
        assert parts[0]["estimated"] and parts[0]["cost_nano"] > 0
        assert usage.completion_tokens == sum(part["tokens"]["output"] for part in parts)
    else:  # nothing had been shown: an ordinary failure
        assert [a["role"] for a in parts] == ["first", "retry"] and usage.completion_tokens == TOKENS


@pytest.mark.parametrize("events", [60, 90])
def test_asked_for_the_rest(lab: Lab, events: int) -> None:
    """A text of chance, too long to come out the same again: only what was asked to be repeated proves the seam."""
    lab.script("east", "asked", f"cut:events={events}")
    text, finish, _, request_id = collected(lab, "asked")
    assert len(text) == TOKENS * 4 and text in BANK and finish == "stop"
    assert [(a["provider"], a["role"], a["outcome"]) for a in attempts(lab, request_id)] == [
        ("east", "first", "error"),
        ("west", "rescue", "ok"),
    ]


def test_a_short_text_of_chance_is_tried_again_and_then_asked_for(lab: Lab) -> None:
    lab.script("east", "asked", "cut:events=20")
    text, _, _, request_id = collected(lab, "asked")
    assert len(text) == TOKENS * 4 and text in BANK
    roles = [(a["provider"], a["role"], a["outcome"]) for a in attempts(lab, request_id)]
    assert roles == [("east", "first", "error"), ("west", "rescue", "error"), ("west", "rescue", "ok")]


@pytest.mark.parametrize("fault", ["cut:events=30", "cut:events=30,clean", "cut:events=30,rst", "error_event:events=30"])
def test_however_it_breaks(lab: Lab, fault: str) -> None:
    lab.script("east", "event", fault)
    assert collected(lab, "event", temperature=0)[0] == expected()


def test_a_silent_stream_is_not_asked_again(lab: Lab) -> None:
    lab.script("east", "silence", "stall:where=mid,events=30")
    text, _, _, request_id = collected(lab, "silence", temperature=0)
    assert text == expected()
    assert [a["provider"] for a in attempts(lab, request_id)] == ["east", "west"]


def test_a_target_goes_on_with_its_own_stream(lab: Lab) -> None:
    lab.script("east", "itself", "cut:events=30")
    text, _, _, request_id = collected(lab, "itself", temperature=0)
    assert text == expected()
    assert [(a["provider"], a["role"]) for a in attempts(lab, request_id)] == [("east", "first"), ("east", "rescue")]


def test_broken_twice(lab: Lab) -> None:
    lab.script("east", "three", "cut:events=30")
    lab.script("west", "three", "cut:events=20")
    text, _, usage, request_id = collected(lab, "three", temperature=0)
    assert text == expected()
    parts = attempts(lab, request_id)
    assert [(a["provider"], a["role"]) for a in parts] == [("east", "first"), ("west", "rescue"), ("east", "rescue")]
    assert usage.completion_tokens == sum(part["tokens"]["output"] for part in parts)


def test_across_models_only_where_the_route_says_so(lab: Lab) -> None:
    lab.script("east", "any-model", "cut:events=30")
    assert collected(lab, "any-model", temperature=0)[0] == expected()
    lab.script("east", "other-model", "cut:events=30x2")
    got = lab.ask("other-model", stream=True, temperature=0, bulkhead_sim={"output_tokens": TOKENS})
    assert (got.status, got.clean, got.code) == (200, False, "stream_interrupted")
    assert [role for _, role, _ in lab.roles(got)] == ["first", "rescue"], "the same target was asked, and broke again"


def test_an_attempt_that_takes_too_long_is_gone_on_with_elsewhere(lab: Lab) -> None:
    """A target's own total ends its stream in the middle; a long answer is no failure of the target."""
    lab.script("east", "bounded", tokens_per_second=30)
    for _ in range(3):
        got = lab.ask("bounded", stream=True, temperature=0, bulkhead_sim={"output_tokens": TOKENS})
        assert got.whole and len(got.text) == 4 * TOKENS
        assert [(provider, role) for provider, role, _ in lab.roles(got)] == [("east", "first"), ("west", "rescue")]
    assert lab.breaker("east/main/bounded") == "closed"


def test_the_apps_own_fallback_goes_on_as_far_as_the_route_lets_it(lab: Lab) -> None:
    """``named-rescue`` is a route of one target, ``rescue-helper`` another one with the same model's name at west."""
    headers = {"x-bulkhead-fallbacks": "plain-west, rescue-helper"}
    lab.script("east", "named-rescue", "cut:events=30x1")
    got = lab.ask("named-rescue", stream=True, headers=headers, temperature=0, bulkhead_sim={"output_tokens": TOKENS})
    assert got.whole and len(got.text) == 4 * TOKENS, "the same model at another place"
    assert [(provider, role) for provider, role, _ in lab.roles(got)] == [("east", "first"), ("west", "rescue")]
    assert lab.record(got)["attempts"][1]["model"] == "named-rescue", "another model only where the route's rescue says any"


def test_switched_off(lab: Lab) -> None:
    lab.script("east", "no-rescue", "cut:events=30")
    got = lab.ask("no-rescue", stream=True, temperature=0, bulkhead_sim={"output_tokens": TOKENS})
    assert (got.status, got.clean, got.code) == (200, False, "stream_interrupted") and len(lab.roles(got)) == 1


TOOL = {
    "type": "function",
    "function": {"name": "look_up", "parameters": {"type": "object", "properties": {"word": {"const": "sea" * 40}}}},
}


@pytest.mark.parametrize(
    "unsafe",
    [
        {"tools": [TOOL], "tool_choice": "required"},
        {"n": 2},
        {"logprobs": True, "top_logprobs": 2},
    ],
    ids=["tools", "choices", "logprobs"],
)
def test_what_may_not_be_joined_ends_in_an_error(lab: Lab, unsafe: dict[str, Any]) -> None:
    lab.script("east", "tools", "cut:events=6")
    got = lab.ask("tools", stream=True, temperature=0, bulkhead_sim={"output_tokens": TOKENS}, **unsafe)
    assert (got.status, got.clean, got.code, "[DONE]" in got.body) == (200, False, "stream_interrupted", False)
    seen = lab.record(got)
    assert (seen["outcome"], len(seen["attempts"])) == ("error", 1) and seen["attempts"][0]["estimated"]


@pytest.mark.parametrize("events", [20, 70])
def test_a_seam_that_nobody_proves_ends_in_an_error(lab: Lab, events: int) -> None:
    lab.script("east", "diverging", f"cut:events={events}", continues=False)
    lab.script("west", "diverging", continues=False)
    got = lab.ask("diverging", stream=True, bulkhead_sim={"output_tokens": TOKENS})
    assert (got.status, got.clean, got.code, "[DONE]" in got.body) == (200, False, "stream_interrupted", False)
    assert got.text in BANK and len(got.text) == (events - 1) * 4, "nothing was given that is not the first one's"
    first, *rest = lab.record(got)["attempts"]
    assert first["role"] == "first" and rest and {attempt["role"] for attempt in rest} == {"rescue"}
    assert all(attempt["estimated"] and attempt["tokens"]["output"] < 600 for attempt in rest), "no more is billed than was produced"


def test_the_sdk_hears_that_it_broke(lab: Lab) -> None:
    lab.script("east", "no-rescue", "cut:events=30")
    with sdk(lab) as client, pytest.raises(openai.APIError, match="broke off"):
        for _ in client.chat.completions.create(
            model="no-rescue", messages=QUESTION, stream=True, extra_body={"bulkhead_sim": {"output_tokens": TOKENS}}
        ):
            pass


def test_a_missing_end_is_made_good_at_once(lab: Lab) -> None:
    lab.script("east", "event", "missing_done")
    text, finish, _, request_id = collected(lab, "event", temperature=0)
    assert (text, finish) == (expected(), "stop")
    assert len(attempts(lab, request_id)) == 1
