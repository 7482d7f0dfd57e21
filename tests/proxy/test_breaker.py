"""One breaker's story at a time; ``test_breaker_model.py`` tries everything in every order."""

from __future__ import annotations

import json
import logging
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.contracts.snapshot import BreakerPolicy
from apps.proxy.breaker import (
    DEAF_SECONDS,
    LOST_SECONDS,
    MAX_OPEN_SECONDS,
    POSTPONE_SECONDS,
    QUICK_SECONDS,
    TRICKLE_SECONDS,
    Breaker,
    Breakers,
)

POLICY = BreakerPolicy(consecutive=3, failure_percent=50, minimum=10, window_ms=8_000, open_ms=2_000)


def opened(at: float = 100.0) -> Breaker:
    breaker = Breaker("openai/eu/gpt", POLICY)
    for _ in range(3):
        breaker.failure(at)
    assert breaker.state == "open"
    return breaker


def test_consecutive_failures_open_it() -> None:
    breaker = Breaker("t", POLICY)
    breaker.failure(1)
    breaker.failure(1)
    breaker.success(1)
    breaker.failure(1)
    breaker.failure(1)
    assert breaker.allows(1)
    breaker.failure(1)
    assert breaker.state == "open" and not breaker.allows(1) and not breaker.allows(2.9) and breaker.retry_at() == 3.0


def test_a_large_share_of_enough_attempts_opens_it() -> None:
    breaker = Breaker("t", POLICY)
    for second in (1.0, 2.0, 3.0, 4.0):
        breaker.failure(second)
        breaker.success(second)
    breaker.failure(5.0)
    assert breaker.state == "closed", "nine attempts are below the minimum"
    breaker.success(5.0)
    breaker.failure(5.5)
    assert breaker.state == "open"


def test_successes_can_be_told_together() -> None:
    breaker = Breaker("t", POLICY)
    breaker.successes(11, 1.0)
    for second in (1.0, 1.5, 2.0):
        breaker.failure(second)
        breaker.success(second)
    assert breaker.state == "closed" and breaker.view(2.0)["attempts"] == 17
    breaker.hint(2.5, 5)
    assert breaker.state == "closed", "they are evidence like any other"
    opened().successes(5, 101.0)


def test_what_left_the_window_does_not_count() -> None:
    breaker = Breaker("t", POLICY)
    for _ in range(4):
        breaker.failure(1.0)
        breaker.success(1.0)
    for _ in range(20):
        breaker.success(9.0)
    assert breaker.view(9.0)["attempts"] == 20
    assert breaker.view(30.0)["attempts"] == 0


def test_one_probe_at_a_time_and_its_success_closes() -> None:
    breaker = opened()
    assert not breaker.usable(101.9) and breaker.usable(102.0) and breaker.state == "open"
    assert breaker.allows(102.0)
    assert breaker.state == "half_open" and not breaker.allows(102.1) and not breaker.usable(102.1)
    breaker.success(102.5, 102.0)
    assert breaker.state == "closed" and breaker.allows(102.5) and breaker.allows(102.5) and breaker.retry_at() == 0


def test_failed_probes_double_the_time_up_to_a_minute() -> None:
    breaker = opened()
    waits = []
    for _ in range(8):
        now = breaker.retry_at()
        assert breaker.allows(now)
        breaker.failure(now, now)
        waits.append(breaker.retry_at() - now)
    assert waits == [4, 8, 16, 32, 60, 60, 60, MAX_OPEN_SECONDS]


def test_an_outage_soon_after_recovery_is_the_same_outage() -> None:
    breaker = opened()
    assert breaker.allows(102)
    breaker.failure(102)
    assert breaker.allows(106)
    breaker.success(106)
    for _ in range(3):
        breaker.failure(107)
    assert breaker.retry_at() == 111, "four seconds again, not two"
    assert breaker.allows(111)
    breaker.success(111)
    for _ in range(3):
        breaker.failure(150)
    assert breaker.retry_at() == 152


def test_a_released_probe_is_no_evidence_and_frees_the_place() -> None:
    breaker = opened()
    assert breaker.allows(102)
    breaker.release(103, 102)
    assert breaker.state == "half_open" and breaker.allows(103)
    assert not breaker.allows(103)


def test_a_lost_probe_is_replaced() -> None:
    breaker = opened()
    assert breaker.allows(102)
    assert not breaker.allows(102 + LOST_SECONDS - 0.1)
    assert breaker.allows(102 + LOST_SECONDS)
    breaker.failure(102 + LOST_SECONDS + 1, 102)
    assert breaker.state == "half_open", "the lost one's late word is stale"


@pytest.mark.parametrize("word", ["success", "failure", "release"])
def test_attempts_from_before_it_opened_say_nothing_about_now(word: str) -> None:
    breaker = opened()
    assert breaker.allows(102)
    getattr(breaker, word)(103, 99.0)
    assert breaker.state == "half_open" and not breaker.allows(103)
    breaker.success(104, 102)
    for _ in range(5):
        breaker.failure(105, 101.0)
    assert breaker.state == "closed" and breaker.view(105)["failures"] == 0


def test_an_attempt_made_although_it_was_open_may_close_it() -> None:
    """When nothing else is left, a request goes to an open target; that it worked is the best evidence there is."""
    breaker = opened()
    breaker.success(101.0)
    assert breaker.state == "open", "begun at an unknown time: probably before"
    breaker.success(101.0, 100.5)
    assert breaker.state == "closed"


def test_a_hint_is_believed_where_nothing_speaks_against_it() -> None:
    breaker = Breaker("t", POLICY)
    breaker.success(10)
    breaker.hint(10.5, 4)
    assert breaker.state == "closed", "it worked half a second ago"
    breaker.hint(12, 4)
    assert breaker.state == "open" and breaker.hinted and breaker.retry_at() == 16
    assert breaker.allows(16)
    breaker.success(16.5, 16)
    breaker.hint(20, 4)
    assert breaker.state == "closed", "it proved the last hint wrong"
    breaker.hint(16.5 + DEAF_SECONDS, 4)
    assert breaker.state == "open"


def test_own_failure_makes_hints_credible_again() -> None:
    breaker = Breaker("t", POLICY)
    breaker.hint(10, 1)
    assert breaker.allows(11)
    breaker.success(11)
    breaker.failure(11.2)
    breaker.hint(11.3, 5)
    assert breaker.state == "open"


def test_a_hinted_breaker_that_fails_its_probe_is_open_on_its_own() -> None:
    breaker = Breaker("t", POLICY)
    breaker.hint(10, 1)
    assert breaker.allows(11)
    breaker.failure(11, 11)
    assert breaker.state == "open" and not breaker.hinted and breaker.retry_at() == 13


def test_others_can_delay_its_probe_only_so_far() -> None:
    breaker = opened()
    for second in range(100, 200):
        breaker.hint(second, 50)
        breaker.postpone(second + 50)
    assert breaker.retry_at() == 102 + POSTPONE_SECONDS


def test_good_news_lets_it_probe_early_until_it_proved_wrong() -> None:
    breaker = opened()
    breaker.ready(100.5)
    assert breaker.allows(100.5)
    breaker.failure(100.6, 100.5)
    assert breaker.retry_at() == pytest.approx(102.6), "soon: nothing but a request can tell of its recovery"
    breaker.ready(101)
    assert not breaker.allows(101), "it was misled once"
    assert breaker.allows(104.6)
    breaker.success(105)
    for _ in range(3):
        breaker.failure(106)
    breaker.ready(107)
    assert breaker.allows(107)


@given(st.lists(st.sampled_from([0.0, 0.2, 0.9, 1.1, 6.0]), min_size=1, max_size=30))
def test_misled_it_is_asked_often_where_that_costs_little_and_seldom_where_it_does_not(waits: list[float]) -> None:
    """waits: how long each probe's request is let wait before it fails, seconds."""
    breaker, now = opened(), 100.0
    breaker.ready(now)
    for wait in waits:
        now = max(now, breaker.retry_at())
        assert breaker.allows(now) and not breaker.allows(now), "one request asks"
        breaker.failure(now + wait, now)
        now += wait
        held = breaker.retry_at() - now
        assert 1.0 <= held <= (TRICKLE_SECONDS if wait <= QUICK_SECONDS else MAX_OPEN_SECONDS) + 1e-9
    now = breaker.retry_at()
    assert breaker.allows(now)
    breaker.success(now, now)
    assert breaker.state == "closed"


def test_what_no_free_probe_speaks_for_is_held_off_longer_and_longer() -> None:
    breaker, now, held = opened(), 100.0, []
    for _ in range(8):
        now = breaker.retry_at()
        assert breaker.allows(now)
        breaker.failure(now, now)
        held.append(breaker.retry_at() - now)
    assert held == [4, 8, 16, 32, 60, 60, 60, 60]


@pytest.mark.parametrize("policy", [BreakerPolicy(enabled=False), BreakerPolicy(consecutive=0, failure_percent=0)])
def test_a_policy_that_never_opens(policy: BreakerPolicy) -> None:
    breaker = Breaker("t", policy)
    for _ in range(100):
        breaker.failure(1.0)
    assert breaker.allows(1.0)


def test_a_disabled_policy_does_not_believe_hints() -> None:
    breaker = Breaker("t", BreakerPolicy(enabled=False))
    breaker.hint(10, 5)
    assert breaker.allows(10)


@pytest.mark.parametrize("seconds", [0.0, -1.0, math.nan])
def test_a_hint_without_time_is_no_hint(seconds: float) -> None:
    breaker = Breaker("t", POLICY)
    breaker.hint(10, seconds)
    assert breaker.allows(10)


def test_forced_open_and_closed() -> None:
    breaker = Breaker("t", POLICY)
    breaker.force(10, "open")
    breaker.success(11, 10.5)
    breaker.ready(11)
    assert not breaker.allows(1e9) and breaker.retry_at() == math.inf and breaker.view(11)["retry_in_ms"] is None
    breaker.force(12, "closed")
    for _ in range(10):
        breaker.failure(13)
    breaker.hint(13, 10)
    assert breaker.allows(13)
    breaker.force(14, "")
    assert breaker.allows(14) and breaker.view(14)["failures"] == 0
    for _ in range(3):
        breaker.failure(15)
    assert not breaker.allows(15)


def test_the_registry_keeps_breakers_through_changes_of_config() -> None:
    breakers = Breakers()
    changes: list[tuple[str, str]] = []
    breakers.on_change = lambda label, breaker: changes.append((label, breaker.state))
    breaker = breakers.of("a", POLICY)
    for _ in range(3):
        breaker.failure(1)
    assert breakers.of("a", BreakerPolicy(consecutive=9)) is breaker and breaker.state == "open" and breaker.policy.consecutive == 9
    assert breakers.of("a", BreakerPolicy(enabled=False)).state == "closed"
    assert changes == [("a", "open"), ("a", "closed")]
    breakers.of("b", POLICY)
    breakers.keep({"b"})
    assert breakers.get("a") is None and [each.label for each in breakers] == ["b"]


def test_a_failed_probe_is_told_again() -> None:
    """Other proxies must hear until when."""
    breakers = Breakers()
    told: list[float] = []
    breakers.on_change = lambda label, breaker: told.append(breaker.retry_at())
    breaker = breakers.of("a", POLICY)
    for _ in range(3):
        breaker.failure(1)
    assert breaker.allows(3)
    breaker.failure(4, 3)
    assert told == [3, 8]


def test_a_breaker_can_be_forced_before_it_exists() -> None:
    breakers = Breakers()
    breakers.force("a", "open", 5)
    assert not breakers.of("a", POLICY).allows(10)
    breakers.force("a", "", 11)
    assert breakers.of("a", POLICY).allows(11)
    breakers.keep(())
    assert breakers.of("a", POLICY).allows(12)


def test_a_listener_that_fails_fails_no_request(caplog: pytest.LogCaptureFixture) -> None:
    breakers = Breakers()

    def listener(label: str, breaker: Breaker) -> None:
        raise RuntimeError("broken")

    breakers.on_change = listener
    with caplog.at_level(logging.ERROR):
        for _ in range(3):
            breakers.of("a", POLICY).failure(1)
    assert not breakers.of("a", POLICY).allows(1)
    assert "who listens" in caplog.text


def test_the_view_is_json() -> None:
    breakers = Breakers()
    for _ in range(3):
        breakers.of("b", POLICY).failure(1)
    breakers.of("a", POLICY).success(1)
    breakers.force("c", "open", 1)
    breakers.of("c", POLICY)
    view = breakers.view(2.0)
    assert json.loads(json.dumps(view)) == view
    assert [(each["label"], each["state"], each["retry_in_ms"]) for each in view] == [
        ("a", "closed", 0),
        ("b", "open", 1000),
        ("c", "open", None),
    ]
