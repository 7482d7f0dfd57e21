"""Thresholds as people write them, and what is usual at an hour: pure."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from apps.alerts import rule_checks
from apps.alerts.series import SERIES, series_of, threshold_read, threshold_written, value_text
from apps.alerts.sources.baselines import same_hours, usual_value
from apps.audit.errors import ServiceError


@pytest.mark.parametrize(
    ("series", "comparison", "text", "value"),
    [
        ("error_rate", "above", "1%", 0.01),
        ("error_rate", "above", "0.5 %", 0.005),
        ("latency_p95", "above", "1.5s", 1_500_000.0),
        ("latency_p95", "above", "800ms", 800_000.0),
        ("latency_p95", "times_baseline", "2", 2.0),
        ("latency_p95", "times_baseline", "1.5x", 1.5),
        ("queue_wait_ms", "above", "250ms", 250.0),
        ("journal_lag_s", "above", "2m", 120.0),
        ("cost_per_hour", "above", "$12.50", 12_500_000_000.0),
        ("queue_depth", "above", "1000", 1_000.0),
        ("budget_day_share", "above", "120%", 120.0),
        ("key_spend_times", "above", "3", 3.0),
        ("provider_state", "above", "down", 2.0),
        ("requests_per_s", "below", "0.2", 0.2),
    ],
)
def test_what_is_written_is_read_and_written_again(series: str, comparison: str, text: str, value: float) -> None:
    of = SERIES[series]
    read = threshold_read(of, comparison, text, field="warn")
    assert read == pytest.approx(value)
    again = threshold_read(of, comparison, threshold_written(of, comparison, read), field="warn")
    assert again == read and value_text(of, read)


@pytest.mark.parametrize(
    ("series", "comparison", "text", "says"),
    [
        ("error_rate", "above", "101%", "more than all"),
        ("error_rate", "above", "5", "a percentage"),
        ("latency_p95", "above", "800", "with its unit"),
        ("latency_p95", "times_baseline", "1", "above 1"),
        ("latency_p95", "times_baseline", "2s", "how many times"),
        ("queue_depth", "above", "-5", "a number"),
        ("queue_depth", "above", "1e9", "a number"),
        ("provider_state", "above", "sad", "degraded or down"),
        ("cost_per_hour", "above", "much", "dollars"),
    ],
)
def test_what_is_no_threshold_is_refused_with_what_to_write(series: str, comparison: str, text: str, says: str) -> None:
    with pytest.raises(ServiceError, match=says) as refused:
        threshold_read(SERIES[series], comparison, text, field="warn")
    assert refused.value.field == "warn"


def test_every_series_is_named_and_unknown_ones_list_them() -> None:
    with pytest.raises(ServiceError, match="error_rate, attempt_error_rate"):
        series_of("latencies")
    with pytest.raises(ServiceError):
        series_of("slo_burn")  # an SLO makes its own rule


@pytest.mark.parametrize(
    ("comparison", "warn", "critical", "field"),
    [
        ("above", "5%", "1%", "critical"),
        ("below", "1%", "5%", "critical"),
        ("above", "", None, "warn"),
        ("times_baseline", "2", "5", "comparison"),
    ],
)
def test_thresholds_must_make_sense_together(comparison: str, warn: object, critical: object, field: str) -> None:
    with pytest.raises(ServiceError) as refused:
        rule_checks.check_thresholds(SERIES["error_rate"], comparison, warn, critical)
    assert refused.value.field == field


@pytest.mark.parametrize("text", ["99.9", "99.9%", " 99.95 "])
def test_objectives_are_read(text: str) -> None:
    assert rule_checks.objective_read(text) in (99_900, 99_950)


@pytest.mark.parametrize("text", ["100", "0", "99.9999", "-1", "many", True, ""])
def test_impossible_objectives_are_refused(text: object) -> None:
    with pytest.raises(ServiceError, match=r"99\.9"):
        rule_checks.objective_read(text)


def test_usual_is_the_median_of_the_weeks_medians_and_the_day_before_until_then() -> None:
    assert usual_value({1: [100, 110, 90], 2: [100], 3: [5_000, 5_000, 5_000]}, []) == (100, False), "one bad week changes nothing"
    assert usual_value({1: [400, 400, 400]}, [100, 100, 900]) == (100, True)
    assert usual_value({}, [100, 100]) == (None, True), "two hours say nothing"


def test_the_same_hours_are_those_of_the_weekday_with_their_neighbours() -> None:
    at = datetime(2026, 3, 4, 9, 41, tzinfo=UTC)
    hours = same_hours(at)
    assert hours[1] == [at.replace(day=25, month=2, hour=hour, minute=0) for hour in (8, 9, 10)]
    assert len(hours) == 4 and all(at - hour > timedelta(days=6) for each in hours.values() for hour in each)
