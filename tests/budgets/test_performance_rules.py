"""What people may write in a performance budget, and what a verdict is made of."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.audit.errors import ServiceError
from apps.budgets import performance_choices as choices
from apps.budgets import performance_rules as rules
from apps.budgets.performance_rules import Figure
from apps.contracts.histogram import add, quantile
from apps.usage.performance import least_of

WRONG = (
    "",
    " ",
    "-1",
    "-2s",
    "nan",
    "NaN",
    "inf",
    "1e9",
    "0",
    "0s",
    "0%",
    "0.0",
    "99999999999999999999",
    "9" * 400,
    "1 000",
    "€5",
    "１s",
    "2s\n3s",
)
"""No bound of any metric."""


@pytest.mark.parametrize("metric", choices.METRICS)
@pytest.mark.parametrize("text", WRONG)
def test_what_is_no_bound_is_refused_with_what_to_write(metric: str, text: str) -> None:
    with pytest.raises(ServiceError) as refused:
        rules.bound_read(metric, text)
    assert refused.value.field == "bound" and "write" in refused.value.message and len(refused.value.message) < 200


@pytest.mark.parametrize(
    ("metric", "text", "value"),
    [
        ("ttft_p95", "1.5s", 1_500_000),
        ("ttft_p95", "800 ms", 800_000),
        ("inter_token_p95", "12.5ms", 12_500),
        ("ttft_p95", "1h", rules.HOUR_US),
        ("error_rate", "1%", 10_000),
        ("error_rate", "0.05", 500),
        ("cost_per_request", "0.02", 20_000_000),
        ("cost_per_1k_tokens", "$0.004", 4_000_000),
        ("gpu_hours", "7.5", 7_500),
        ("gpu_hours", 120, 120_000),
    ],
)
def test_bounds_are_read_in_the_unit_of_their_metric(metric: str, text: str, value: int) -> None:
    assert rules.bound_read(metric, text) == value
    assert rules.bound_read(metric, rules.bound_written(metric, value)) == value


@pytest.mark.parametrize(
    ("metric", "text"),
    [
        ("ttft_p95", "2"),
        ("ttft_p95", "2h"),
        ("ttft_p95", "0.0001ms"),
        ("error_rate", "100%"),
        ("error_rate", "0.001%"),
        ("cost_per_request", "2000000"),
        ("cost_per_request", "EUR 5"),
        ("gpu_hours", "20000000"),
        ("gpu_hours", True),
    ],
)
def test_bounds_of_another_unit_or_beyond_sense_are_refused(metric: str, text: object) -> None:
    with pytest.raises(ServiceError):
        rules.bound_read(metric, text)


@given(st.sampled_from(["ttft_p95", "inter_token_p95"]), st.integers(1, rules.HOUR_US))
def test_durations_are_written_as_they_are_read(metric: str, bound: int) -> None:
    assert rules.bound_read(metric, rules.bound_written(metric, bound)) == bound


@given(st.sampled_from(["cost_per_1k_tokens", "cost_per_request"]), st.integers(1, rules.MOST_NANO))
def test_dollars_are_written_as_they_are_read(metric: str, bound: int) -> None:
    assert rules.bound_read(metric, rules.bound_written(metric, bound)) == bound


@given(st.integers(1, 9_999), st.integers(1, rules.MOST_HOURS * 1_000))
def test_shares_and_hours_are_written_as_they_are_read(hundredths: int, thousandths: int) -> None:
    assert rules.bound_read("error_rate", rules.bound_written("error_rate", hundredths * 100)) == hundredths * 100
    assert rules.bound_read("gpu_hours", rules.bound_written("gpu_hours", thousandths)) == thousandths


@pytest.mark.parametrize("text", ["0", "101", "-5", "nan", "80.5", "", True, "9" * 300])
def test_a_share_of_the_bound_is_a_whole_percentage(text: object) -> None:
    with pytest.raises(ServiceError, match="from 1 to 100"):
        rules.warn_read(text)


@pytest.mark.parametrize("text", ["3", "0", "-100", "nan", "1e3", "2000000", "", True, None])
def test_a_few_measurements_are_no_verdict(text: object) -> None:
    with pytest.raises(ServiceError, match="from 20 to 1000000"):
        rules.samples_read(text)


def verdict(figure: Figure, *, metric: str = "ttft_p95", bound: int = 2_000_000, warn: int = 80, samples: int = 100) -> rules.Judgement:
    return rules.judge(metric, bound=bound, warn_percent=warn, min_samples=samples, figure=figure, samples_of="requests")


def test_three_slow_requests_breach_nothing_and_the_evidence_says_why() -> None:
    found = verdict(Figure(9_000_000, 9_000_000, 3))
    assert found.state == "unknown" and "3 requests, at least 100 are needed" in found.why


@pytest.mark.parametrize(
    ("value", "least", "state"),
    [
        (1_000_000, 990_000, "ok"),
        (1_599_999, 1_599_999, "ok"),
        (1_600_000, 1_600_000, "warning"),
        (2_000_000, 2_000_000, "warning"),
        (2_010_000, 1_990_000, "warning"),  # in the bucket of the bound: not certain
        (2_040_000, 2_020_000, "breached"),
    ],
)
def test_a_breach_is_certain(value: int, least: int, state: str) -> None:
    assert verdict(Figure(value, least, 100)).state == state


@given(st.lists(st.integers(1, 10_000_000), min_size=20, max_size=60), st.integers(1_000, 10_000_000))
def test_a_breach_is_never_the_histograms_error(times: list[int], bound: int) -> None:
    """Breached: the exact p95 is above the bound. OK: it is not, or by no more than a bucket's width above the warning."""
    histogram: dict[int, int] = {}
    for time in times:
        add(histogram, time)
    found = quantile(histogram, 0.95)
    assert found is not None
    exact = sorted(times)[max(1, math.ceil(0.95 * len(times))) - 1]
    state = verdict(Figure(round(found), int(least_of(found)), len(times)), bound=bound, samples=20).state
    assert state != "breached" or exact > bound
    assert state != "ok" or exact <= bound * 0.8 * 1.03
    assert state == "breached" or exact <= bound * 1.03 + 1


def test_nothing_measured_is_unknown_and_says_what_is_missing() -> None:
    assert verdict(Figure(None, 0, 0)).state == "unknown"
    gpus = verdict(Figure(None, 0, 0, choices.NO_GPUS), metric="gpu_hours", bound=1)
    assert gpus.state == "unknown" and "no GPUs measured" in gpus.why


@pytest.mark.parametrize(("bound", "needed"), [(10_000, 100), (1_000, 1_000), (300, 3_334)])
def test_one_failure_alone_breaches_no_error_rate(bound: int, needed: int) -> None:
    assert rules.needed_samples("error_rate", bound, 100) == needed
    one = Figure(-(-rules.WHOLE // needed), rules.WHOLE // needed, needed)
    assert verdict(one, metric="error_rate", bound=bound).state != "breached"
    assert verdict(one._replace(samples=needed - 1), metric="error_rate", bound=bound).state == "unknown"


def test_the_worst_of_many_is_shown_and_nothing_is_unknown() -> None:
    assert rules.worst([]) == "unknown" and rules.worst(["ok", "unknown"]) == "unknown"
    assert rules.worst(["unknown", "warning", "ok"]) == "warning" and rules.worst(["warning", "breached"]) == "breached"
