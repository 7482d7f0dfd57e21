"""Breakers in a real proxy: a failing target is left alone, asked once, and taken back."""

from __future__ import annotations

import time

from tests.proxy.lab import HIGH, Lab, until

OPEN_SECONDS = 0.4


def test_it_opens_is_asked_once_in_a_while_and_taken_back(lab: Lab) -> None:
    lab.script("east", "opens", "503x1000")
    target = "east/main/opens"
    while lab.breaker(target) != "open":
        got = lab.ask("opens")
        assert got.whole and got.headers["x-bulkhead-target"] == "west/main/opens"
    seen = len(lab.seen("east", "opens"))
    assert seen <= 4
    answers = [lab.ask("opens") for _ in range(8)]
    assert all(answer.whole for answer in answers)
    probes = len(lab.seen("east", "opens")) - seen
    skipped = [answer for answer in answers if [role for _, role, _ in lab.roles(answer)] == ["first"]]
    assert probes <= 2 and len(skipped) == len(answers) - probes, "an open breaker costs no attempt, a probe is one"
    assert skipped[0].headers["x-bulkhead-fallback"] == "true"
    # a probe that fails keeps it open for longer, and nobody asks once more
    until(lambda: lab.ask("opens").whole and len(lab.seen("east", "opens")) > seen + probes, "it is probed")
    assert lab.breaker(target) == "open"
    # recovery: the first request after its time is the probe
    lab.script("east", "opens")
    until(lambda: lab.ask("opens").headers["x-bulkhead-target"] == target, "traffic returns")
    assert lab.breaker(target) == "closed"


def test_the_last_target_is_asked_even_so(lab: Lab) -> None:
    """Every breaker is open: asking is better than refusing, and an answer closes it."""
    lab.script("east", "opens-alone", "503x6")
    for _ in range(3):
        assert lab.ask("opens-alone").status == 503
    assert lab.breaker("east/main/opens-alone") == "open"
    assert lab.ask("opens-alone").whole
    until(lambda: lab.ask("opens-alone").whole and lab.breaker("east/main/opens-alone") == "closed", "it closes again")


def test_who_was_left_alone_is_asked_when_all_others_fail(lab: Lab) -> None:
    target = "east/main/opens-last"
    lab.script("east", "opens-last", "503x1000")
    while lab.breaker(target) != "open":
        assert lab.ask("opens-last").whole
    lab.script("east", "opens-last")
    lab.script("west", "opens-last", "500x2")
    got = lab.ask("opens-last")
    assert got.whole and got.headers["x-bulkhead-target"] == target, "asking is better than refusing"
    lab.script("west", "opens-last")


def test_a_rate_limit_sends_nobody_to_who_is_down(lab: Lab) -> None:
    target = "east/main/opens-last"
    lab.script("east", "opens-last", "503x1000")
    while lab.breaker(target) != "open":
        assert lab.ask("opens-last").whole
    lab.script("west", "opens-last", "429:retry-after=600x1")
    got = lab.ask("opens-last")
    if lab.roles(got)[0][0] == "west":  # not the breaker's probe, which its free probe may have called for
        assert got.status == 429 and lab.roles(got) == [("west", "first", "error")]
    lab.script("west", "opens-last")
    lab.script("east", "opens-last")


def test_a_stream_goes_on_with_who_was_left_alone(lab: Lab) -> None:
    target = "east/main/opens-last"
    lab.script("east", "opens-last", "503x1000")
    while lab.breaker(target) != "open":
        assert lab.ask("opens-last").whole
    lab.script("east", "opens-last")
    lab.script("west", "opens-last", "cut:events=12x9")
    got = lab.ask("opens-last", stream=True, temperature=0, bulkhead_sim={"output_tokens": 40})
    assert got.whole and len(got.text) == 160
    lab.script("west", "opens-last")


def test_who_is_in_a_hurry_closes_nobody_off(lab: Lab) -> None:
    lab.script("east", "opens-alone", "stall:where=headersx9")
    hurried = [lab.ask("opens-alone", headers={"x-bulkhead-timeout-ms": "80"}) for _ in range(4)]
    assert [got.code for got in hurried] == ["upstream_timeout"] * 4
    assert lab.breaker("east/main/opens-alone") == "closed"
    lab.script("east", "opens-alone")


def test_a_probe_that_never_left_gives_its_place_back(lab: Lab) -> None:
    """The half-open breaker's one place was taken by a request that was shed before it was sent."""
    target = "east/main/opens-capped"
    lab.script("east", "opens-capped", "503x4")
    while lab.breaker(target) != "open":
        lab.ask("opens-capped")
    running = lab.hold("opens-capped", target)
    time.sleep(OPEN_SECONDS)  # the breaker's own time: the next request would be its probe
    shed = lab.ask("opens-capped", key=HIGH)
    assert shed.status == 429
    running.close()
    until(lambda: lab.ask("opens-capped").whole and lab.breaker(target) == "closed", "the place is not lost")


def test_the_apps_own_mistakes_open_nothing(lab: Lab) -> None:
    lab.script("east", "opens-alone", "400x30")
    assert [lab.ask("opens-alone").status for _ in range(10)] == [400] * 10
    assert lab.breaker("east/main/opens-alone") == "closed"
