"""Burn rates over pairs of windows: a table of what burns, and what is too little to say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.alerts.burn import WINDOWS_S, Counted, bad_left, budget_used, burn_rate, burning
from apps.alerts.choices import BURNS

H, D = 3_600, 86_400


def windows(**shares: float) -> dict[int, Counted]:
    """Window -> 100,000 requests with that share of bad ones, none unless named (``h1=0.02``)."""
    named = {"m5": 300, "m30": 1_800, "h1": H, "h2": 2 * H, "h6": 6 * H, "d1": D, "d3": 3 * D}
    return {seconds: Counted(100_000, round(100_000 * shares.get(name, 0.0))) for name, seconds in named.items()}


@pytest.mark.parametrize(
    ("shares", "level", "factor"),
    [
        ({}, "", 14.4),
        ({"h1": 0.0144, "m5": 0.0144}, "critical", 14.4),
        ({"h1": 0.0143, "m5": 0.5}, "", 14.4),
        ({"h1": 0.5, "m5": 0.0143}, "", 14.4),  # it is over: the short window says so
        ({"h6": 0.006, "m30": 0.006}, "critical", 6.0),
        ({"d1": 0.003, "h2": 0.003}, "warning", 3.0),
        ({"d3": 0.001, "h6": 0.001}, "warning", 1.0),
        ({"d3": 0.001, "h6": 0.001, "d1": 0.003, "h2": 0.004}, "warning", 3.0),
        ({"h1": 0.1, "m5": 0.1, "d1": 0.1, "h2": 0.1}, "critical", 14.4),
    ],
)
def test_which_pair_burns_at_99_9(shares: dict[str, float], level: str, factor: float) -> None:
    found = burning(windows(**shares), 99_900, min_requests=100)
    assert (found.level, found.threshold) == (level, factor)
    assert [pair.burning for pair in found.pairs].count(True) == (0 if not level else sum(pair.burning for pair in found.pairs))


def test_a_whole_outage_of_a_quiet_service_counts_and_one_failure_does_not() -> None:
    quiet = {seconds: Counted(120, 2) for seconds in WINDOWS_S}
    assert burning(quiet, 99_900, min_requests=100).level == "", "two failures of 120 burn at 16.7, and say nothing"
    assert burning({seconds: Counted(120, 3) for seconds in WINDOWS_S}, 99_900, min_requests=100).level == "critical"


def test_too_few_requests_are_unknown_and_never_kept() -> None:
    assert burning({}, 99_900, min_requests=100).level is None
    assert burning({seconds: Counted(99, 99) for seconds in WINDOWS_S}, 99_900, min_requests=100).level is None
    only_long = {H: Counted(1_000, 900), 300: Counted(7, 7)}
    assert burning(only_long, 99_900, min_requests=100).level is None, "a twelfth of 100 in the short window"


def test_a_burn_rate_of_one_uses_the_budget_up_exactly() -> None:
    assert burn_rate(Counted(100_000, 100), 99_900) == 1.0
    assert burn_rate(Counted(0, 0), 99_900) is None
    assert budget_used(Counted(200_000, 100), 99_900) == 0.5
    assert bad_left(Counted(100_000, 40), 99_900) == 60 and bad_left(Counted(100_000, 140), 99_900) == -40


@given(st.integers(1, 10**9), st.integers(0, 10**9), st.integers(1, 99_999))
def test_more_failures_never_burn_slower(total: int, bad: int, objective: int) -> None:
    bad = min(bad, total)
    rate = burn_rate(Counted(total, bad), objective)
    assert rate is not None and rate >= 0
    if bad < total:
        more = burn_rate(Counted(total, bad + 1), objective)
        assert more is not None and more > rate


def test_the_windows_are_those_of_the_workbook() -> None:
    assert [(burn.factor, burn.long_s, burn.short_s, burn.severity) for burn in BURNS] == [
        (14.4, H, 300, "critical"),
        (6.0, 6 * H, 1_800, "critical"),
        (3.0, D, 2 * H, "warning"),
        (1.0, 3 * D, 6 * H, "warning"),
    ]
