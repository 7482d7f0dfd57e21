"""The states of workers and replicas."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.contracts.fleet import WORKER_MODES
from apps.contracts.fleet_facts import REPLICA_STATES
from apps.fleet.lifecycle import CLOSED, MODES, Pulse, Seen, follows, moved, worker_state

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def ago(seconds: float) -> datetime:
    return NOW - timedelta(seconds=seconds)


LISTENED = Pulse(heard=ago(1), since=ago(10_000))


@pytest.mark.parametrize(
    ("seen", "pulse", "state"),
    [
        (Seen(last_seen=ago(5)), LISTENED, "ready"),
        (Seen(last_seen=ago(40)), LISTENED, "silent"),
        (Seen(last_seen=ago(100)), LISTENED, "lost"),
        (Seen(last_seen=ago(100)), Pulse(heard=ago(100), since=ago(10_000)), "silent"),  # nobody is heard: the fault may be ours
        (Seen(last_seen=ago(3600)), Pulse(heard=ago(2), since=ago(60)), "silent"),  # we are just back
        (Seen(last_seen=ago(3600)), Pulse(heard=ago(2), since=ago(91)), "lost"),
        (Seen(last_seen=ago(3600)), Pulse(), "silent"),
        (Seen(joined=ago(1)), LISTENED, "joining"),
        (Seen(last_seen=ago(5), mode="cordoned"), LISTENED, "cordoned"),
        (Seen(last_seen=ago(5), mode="cordoned", preempted_at=NOW), LISTENED, "preempted"),
        (Seen(last_seen=ago(5), skew_ms=-31_000), LISTENED, "skewed"),
        (Seen(last_seen=ago(5), revoked=True), LISTENED, "revoked"),
    ],
)
def test_a_workers_state(seen: Seen, pulse: Pulse, state: str) -> None:
    assert worker_state(seen, pulse, NOW) == state


def test_a_skewed_worker_serves_on_and_a_silent_one_takes_nothing() -> None:
    assert "skewed" not in CLOSED
    assert "silent" in CLOSED


@given(st.lists(st.floats(0, 200), max_size=30))
def test_the_pulse_never_claims_to_have_listened_through_a_gap(gaps: list[float]) -> None:
    pulse, at, since = Pulse(), NOW, NOW
    for gap in gaps:
        at += timedelta(seconds=gap)
        if pulse.heard is None or at - pulse.heard > timedelta(seconds=30):
            since = at
        pulse = pulse.after(at)
        assert pulse.heard == at
        assert pulse.since == since


def test_what_has_stopped_stays_stopped() -> None:
    assert not any(follows("stopped", state) for state in REPLICA_STATES if state != "stopped")
    assert all(follows(state, state) for state in REPLICA_STATES)
    assert follows("ready", "failed") and follows("failed", "starting") and follows("ready", "starting")
    assert not follows("ready", "warming")
    assert not follows("draining", "ready")


def test_modes_are_the_contracts() -> None:
    assert set(MODES) == set(WORKER_MODES)
    assert moved("active", "draining") is None
    assert "Return it to service" in (moved("maintenance", "draining") or "")
