"""A late answer is asked for elsewhere too: who produces first is the answer, the other is called off and accounted."""

from __future__ import annotations

import pytest

from tests.proxy.lab import Lab, until

LATE = "stall:where=headers,seconds=8"


@pytest.mark.parametrize("stream", [False, True])
def test_the_second_attempt_wins(lab: Lab, stream: bool) -> None:
    lab.script("east", "hedged", LATE)
    calls = len(lab.seen("east", "hedged"))
    got = lab.ask("hedged", stream=stream)
    assert got.whole and got.text
    assert got.headers["x-bulkhead-target"] == "west/main/hedged" and got.headers["x-bulkhead-fallback"] == "true"
    found = lab.record(got)
    assert [(a["provider"], a["role"], a["outcome"]) for a in found["attempts"]] == [
        ("east", "first", "cancelled"),
        ("west", "hedge", "ok"),
    ]
    loser, winner = found["attempts"]
    assert loser["estimated"] and not winner["estimated"]
    assert found["cost_nano"] == loser["cost_nano"] + winner["cost_nano"] > winner["cost_nano"]
    line = until(lambda: lab.seen("east", "hedged")[calls:], "the provider hears that the loser was called off")[0]
    assert line["outcome"] == "cancelled"


@pytest.mark.parametrize("stream", [False, True])
def test_the_first_attempt_wins_after_all(lab: Lab, stream: bool) -> None:
    lab.script("east", "hedged-late", "stall:where=headers,seconds=1.5")
    lab.script("west", "hedged-late", LATE)
    calls = len(lab.seen("west", "hedged-late"))
    got = lab.ask("hedged-late", stream=stream)
    assert got.whole and got.headers["x-bulkhead-target"] == "east/main/hedged-late"
    assert sorted(lab.roles(got)) == [("east", "first", "ok"), ("west", "hedge", "cancelled")]
    line = until(lambda: lab.seen("west", "hedged-late")[calls:], "the provider hears that the loser was called off")[0]
    assert line["outcome"] == "cancelled"
    assert lab.breaker("west/main/hedged-late") == "closed"


def test_hedges_are_a_share_of_the_traffic(lab: Lab) -> None:
    lab.script("east", "hedged-share", "stall:where=headers,seconds=0.15x100")
    hedges = sum(role == "hedge" for _ in range(30) for _, role, _ in lab.roles(lab.ask("hedged-share")))
    assert 1 <= hedges <= 4, "a tenth of thirty, and one to begin with"


def test_a_second_attempt_that_fails_costs_nothing_but_itself(lab: Lab) -> None:
    lab.script("east", "hedged-dead", "stall:where=headers,seconds=1.5")
    got = lab.ask("hedged-dead")
    assert got.whole and got.headers["x-bulkhead-target"] == "east/main/hedged-dead"
    assert sorted(lab.roles(got)) == [("dead", "hedge", "error"), ("east", "first", "ok")]


def test_when_both_fail_the_first_ones_error_is_the_answer_and_the_other_is_not_asked_again(lab: Lab) -> None:
    lab.script("east", "hedged-fail", "500x9", first_byte_ms={"kind": "fixed", "value": 1_500})
    lab.script("west", "hedged-fail", "503x9")
    got = lab.ask("hedged-fail")
    assert got.status == 500
    assert lab.roles(got) == [("west", "hedge", "error"), ("east", "first", "error"), ("east", "retry", "error")]


def test_the_winners_stream_breaks_and_the_other_goes_on(lab: Lab) -> None:
    """Whose stream broke is the winner, not who was asked first."""
    lab.script("east", "hedged-rescue", "stall:where=headers,seconds=8x1")
    lab.script("west", "hedged-rescue", "cut:events=30x9")
    got = lab.ask("hedged-rescue", stream=True, temperature=0, bulkhead_sim={"output_tokens": 100})
    assert got.whole and len(got.text) == 400
    assert lab.roles(got) == [("east", "first", "cancelled"), ("west", "hedge", "error"), ("east", "rescue", "ok")]


def test_a_full_target_is_no_hedge_and_keeps_its_breakers_probe(lab: Lab) -> None:
    lab.script("east", "hedged-capped", "stall:where=headers,seconds=0.4x9")
    lab.script("west", "hedged-capped", "stall:where=headers,seconds=3x1")
    first, second = lab.later("hedged-capped"), lab.later("hedged-capped")
    lab.join()
    roles = lab.roles(first[0]) + lab.roles(second[0])
    assert first[0].whole and second[0].whole
    assert sum(role == "hedge" for _, role, _ in roles) == 1
