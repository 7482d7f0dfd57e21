"""The same call twice, through a real proxy: joined, replayed, refused, as JSON and as a stream, and when apps leave."""

from __future__ import annotations

import itertools
import time

import pytest

from tests.proxy.lab import HIGH, Lab, until

_names = itertools.count()
SLOW = "stall:where=headers,seconds=4x1"


def fresh() -> dict[str, str]:
    return {"idempotency-key": f"call-{next(_names)}"}


def calls(lab: Lab) -> int:
    return len(lab.seen("east", "once")) + int(lab.east.bill(seen=False)["running"])


@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_is_given_again(lab: Lab, stream: bool) -> None:
    lab.script("east", "once")
    headers, before = fresh(), calls(lab)
    first, second = (lab.ask("once", stream=stream, headers=headers) for _ in range(2))
    assert first.whole and second.whole and first.text == second.text
    assert calls(lab) - before == 1
    assert first.headers["x-bulkhead-idempotency"] == "new; scope=proxy"
    assert second.headers["x-bulkhead-idempotency"] == "replayed; scope=proxy"
    assert second.headers["x-bulkhead-answer-of"] == first.id != second.id
    found = lab.record(second)
    assert (found["outcome"], found["cost_nano"], found["attempts"]) == ("ok", 0, [])
    assert found["metadata"]["bulkhead.answer_of"] == first.id


def test_who_asks_meanwhile_joins(lab: Lab) -> None:
    """As JSON and as a stream, at the same time: under keys of their own they have nothing to do with each other."""
    lab.script("east", "once", SLOW.removesuffix("1") + "2")
    before = calls(lab)
    kinds = {stream: fresh() for stream in (False, True)}
    asked = {stream: [lab.later("once", stream=stream, headers=headers) for _ in range(4)] for stream, headers in kinds.items()}
    lab.join()
    for stream, them in asked.items():
        given = sorted(got[0].headers["x-bulkhead-idempotency"] for got in them)
        assert given == ["joined; scope=proxy"] * 3 + ["new; scope=proxy"]
        assert len({got[0].text for got in them}) == 1 and all(got[0].whole and got[0].is_stream is stream for got in them)
        assert sum(lab.record(got[0])["cost_nano"] > 0 for got in them) == 1, "it is paid once"
    assert calls(lab) - before == 2


def test_another_request_under_the_same_key_is_a_conflict(lab: Lab) -> None:
    lab.script("east", "once", SLOW)
    headers = fresh()
    running = lab.later("once", headers=headers)
    until(lambda: lab.east.bill(seen=False)["running"], "it runs")
    during = lab.ask("once", headers=headers, max_tokens=3)
    lab.join()
    after = lab.ask("once", headers=headers, max_tokens=3)
    assert running[0].whole
    for got in (during, after):
        assert (got.status, got.code, got.headers["x-should-retry"]) == (409, "idempotency_conflict", "false")
    assert lab.ask("once", headers=headers, key=HIGH, max_tokens=3).whole, "another caller's key is another key"


def test_a_failure_is_not_kept(lab: Lab) -> None:
    lab.script("east", "once", "400x1")
    headers = fresh()
    assert lab.ask("once", headers=headers).status == 400
    again = lab.ask("once", headers=headers)
    assert again.whole and again.headers["x-bulkhead-idempotency"].startswith("new")


def test_a_broken_stream_is_not_kept(lab: Lab) -> None:
    lab.script("east", "once", "cut:events=3x1")
    lab.script("west", "once", "cut:events=3x2", continues=False)
    headers = fresh()
    first = lab.ask("once", stream=True, headers=headers, n=2)
    assert not first.whole and first.code == "stream_interrupted"
    again = lab.ask("once", stream=True, headers=headers, n=2)
    assert again.whole and again.headers["x-bulkhead-idempotency"].startswith("new")
    lab.script("west", "once")


def test_who_began_it_leaves_and_the_other_has_the_answer(lab: Lab) -> None:
    """As JSON and as a stream, at the same time."""
    lab.script("east", "once", SLOW.removesuffix("1") + "2")
    before = calls(lab)
    kinds = {stream: fresh() for stream in (False, True)}
    sockets = [lab.send("once", stream=stream, headers=headers) for stream, headers in kinds.items()]
    until(lambda: lab.east.bill(seen=False)["running"] == 2, "they run")
    joined = [lab.later("once", stream=stream, headers=headers) for stream, headers in kinds.items()]
    time.sleep(0.3)  # until the proxy has read them: too short only makes the test weaker
    for sock in sockets:
        sock.close()
    lab.join()
    for got in joined:
        assert got[0].whole and got[0].headers["x-bulkhead-idempotency"] == "joined; scope=proxy"
    assert calls(lab) - before == 2


@pytest.mark.parametrize("stream", [False, True])
def test_who_began_it_leaves_alone(lab: Lab, stream: bool) -> None:
    """Nobody waits for the answer: the call is given up, and can be made again."""
    lab.script("east", "once", "stall:where=headers,seconds=110x1")
    headers = fresh()
    sock = lab.send("once", stream=stream, headers=headers)
    until(lambda: lab.east.bill(seen=False)["running"], "it runs")
    sock.close()
    until(lambda: not lab.east.bill(seen=False)["running"], "the provider hears of it")
    again = lab.ask("once", stream=stream, headers=headers)
    assert again.whole and again.headers["x-bulkhead-idempotency"] == "new; scope=proxy"


@pytest.mark.parametrize("value", ["", "x" * 256])
def test_a_key_that_is_none(lab: Lab, value: str) -> None:
    got = lab.ask("once", headers={"idempotency-key": value})
    assert (got.status, got.code) == (400, "invalid_field")
