"""How quick a target is: peak-EWMA, the 95th percentile, calibration."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.proxy.health import DECAY_SECONDS, FAILED_SECONDS, MIN_SAMPLES, SLICE_SECONDS, Health


def test_a_peak_counts_at_once_and_fades_slowly() -> None:
    health = Health()
    health.first_token(0.1, 100.0)
    assert health.expected(100.0) == pytest.approx(0.1)
    health.first_token(2.0, 101.0)
    assert health.expected(101.0) == pytest.approx(2.0)
    health.first_token(0.1, 102.0)
    assert 1.5 < health.expected(102.0) < 2.0
    for second in range(103, 160):
        health.first_token(0.1, float(second))
    assert health.expected(159.0) < 0.12


def test_an_idle_targets_bad_name_fades() -> None:
    health = Health()
    health.first_token(2.0, 0.0)
    assert health.expected(DECAY_SECONDS) == pytest.approx(2.0 / math.e)
    assert health.expected(DECAY_SECONDS) == health.expected(DECAY_SECONDS), "looking changes nothing"


def test_what_is_in_flight_multiplies() -> None:
    health = Health()
    health.first_token(0.5, 0.0)
    health.started()
    health.started()
    assert health.expected(0.0) == pytest.approx(1.5) and health.in_flight == 2
    health.finished(0.0)
    assert health.expected(0.0) == pytest.approx(1.0)


def test_a_target_nobody_knows_is_tried_by_one_request_not_by_all() -> None:
    health = Health()
    assert health.expected(5.0) == 0.0
    health.started()
    assert health.expected(5.0) >= 1.0


def test_refusing_promptly_does_not_look_quick() -> None:
    health = Health()
    health.first_token(0.05, 0.0)
    health.failed(0.1)
    assert health.expected(0.1) >= FAILED_SECONDS
    health.failed(0.2)
    assert health.expected(0.2) > FAILED_SECONDS
    for n in range(100):
        health.failed(0.2 + n)
    assert health.expected(99.2) <= 600


def test_p95_needs_samples_and_forgets_old_ones() -> None:
    health = Health()
    for _ in range(MIN_SAMPLES - 1):
        health.first_token(0.1, 0.0)
    assert health.p95() is None
    for n in range(200):
        health.first_token(1.0 if n % 10 == 0 else 0.1, 1.0)
    found = health.p95()
    assert found is not None and found == pytest.approx(1.0, rel=0.02)
    for n in range(100):
        health.first_token(0.2, 2 * SLICE_SECONDS + n * 0.1 + 2)
    found = health.p95()
    assert found is not None and found == pytest.approx(0.2, rel=0.02), "after two slices what was slow then is forgotten"


def test_p95_keeps_the_slice_before() -> None:
    health = Health()
    for n in range(100):
        health.first_token(0.5, n * 0.1)
    health.first_token(0.1, SLICE_SECONDS + 1)
    assert health.p95() == pytest.approx(0.5, rel=0.02)


@given(st.lists(st.tuples(st.floats(0.0, 100.0), st.floats(0.0, 30.0)), min_size=1, max_size=60))
def test_the_average_stays_between_what_was_seen(samples: list[tuple[float, float]]) -> None:
    health = Health()
    now = 0.0
    for seconds, pause in samples:
        now += pause
        health.first_token(seconds, now)
        assert 0.0 <= health.expected(now) <= max(s for s, _ in samples) + 1e-9
        assert health.expected(now) >= seconds * 0.999 - 1e-9 or len(samples) > 1


@given(st.lists(st.tuples(st.integers(1, 1_000_000), st.integers(0, 300_000)), max_size=50))
def test_bytes_per_token_stays_in_reason(samples: list[tuple[int, int]]) -> None:
    health = Health()
    for size, tokens in samples:
        health.calibrate(size, tokens)
    assert health.bytes_per_token == 0.0 or 0.25 <= health.bytes_per_token <= 16.0


def test_calibration_follows_and_leans_to_the_safe_side() -> None:
    health = Health()
    for n in range(200):
        health.calibrate(4_000 + 400 * (n % 3 - 1), 1_000)
    assert 3.5 < health.bytes_per_token < 4.0
    for _ in range(300):
        health.calibrate(2_000, 1_000)
    assert 1.5 < health.bytes_per_token < 2.1
