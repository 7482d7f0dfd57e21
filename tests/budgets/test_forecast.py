"""Forecast, runway and thresholds, as pure functions of a window's standing."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from apps.budgets.forecast import Standing, day_share, reached, runway_minutes, window_forecast

START = datetime(2026, 3, 1, tzinfo=UTC)


def standing(
    *, spent: int, hours: float, limit: int = 1_000_000, days: int = 1, hard: bool = True, day_spent: int = 0
) -> Standing:  # fmt: skip
    now = START + timedelta(hours=hours)
    day = START + timedelta(days=int(hours // 24))
    return Standing(
        START, START + timedelta(days=days), now, limit, spent, day, day + timedelta(days=1), day_spent, days == 1, hard
    )  # fmt: skip


@given(spent=st.integers(0, 10**15), more=st.integers(0, 10**15), hours=st.floats(0, 24 * 31), days=st.sampled_from([1, 7, 31]))
def test_a_forecast_is_at_least_what_is_spent_and_grows_with_it(spent: int, more: int, hours: float, days: int) -> None:
    first, second = (window_forecast(standing(spent=amount, hours=hours, days=days)) for amount in (spent, spent + more))
    assert (first is None) == (second is None)
    if first is not None and second is not None:
        assert spent <= first <= second
        if hours >= 24 * days:
            assert first == spent


@given(
    spent=st.integers(0, 2_000_000),
    more=st.integers(0, 1_000_000),
    hours=st.floats(0, 23.9),
    shares=st.lists(st.integers(1, 300), max_size=5),
    hard=st.booleans(),
)
def test_what_is_reached_stays_reached_while_spend_grows(spent: int, more: int, hours: float, shares: list[int], hard: bool) -> None:
    def measures(amount: int) -> set[tuple[str, int]]:
        found = {(each.kind, each.share) for each in reached(standing(spent=amount, hours=hours, hard=hard), shares)}
        return found | {("forecast", share) for kind, share in found if kind == "actual"}

    assert measures(spent) <= measures(spent + more)


@given(spent=st.integers(1, 999_999), hours=st.floats(1.5, 23))
def test_a_runway_ends_where_the_limit_is_at_the_days_rate(spent: int, hours: float) -> None:
    minutes = runway_minutes(standing(spent=spent, hours=hours))
    lasts = (1_000_000 - spent) * hours * 60 / spent
    if minutes is None:
        assert lasts >= (24 - hours) * 60 - 1.5
    else:
        assert abs(minutes - lasts) < 1.5
    assume(minutes is not None)


def test_a_runway_follows_the_higher_of_the_days_and_the_windows_rate() -> None:
    quiet = standing(spent=500_000, day_spent=500_000, days=10, hours=24 * 4 + 12.0)
    assert runway_minutes(quiet) == int(4.5 * 24 * 60)
    busy = standing(spent=500_000, day_spent=250_000, days=10, hours=24 * 4 + 12.0)
    assert runway_minutes(busy) == 2 * 12 * 60


def test_nothing_spent_has_no_runway_and_nothing_left_has_none_to_go() -> None:
    assert runway_minutes(standing(spent=0, hours=5)) is None
    assert runway_minutes(standing(spent=1_000_000, hours=5)) == 0


def kinds(found: Standing, shares: tuple[int, ...] = (50, 80, 100)) -> list[tuple[str, int]]:
    return [(each.kind, each.share) for each in reached(found, shares)]


@pytest.mark.parametrize(
    ("spent", "hours", "hard", "expected"),
    [
        (0, 12, True, []),
        (100_000, 0.5, True, []),  # too early to say how the day will end
        (300_000, 12, True, [("forecast", 50)]),
        (500_000, 12, True, [("actual", 50), ("forecast", 80), ("forecast", 100)]),
        (700_000, 12, True, [("actual", 50), ("forecast", 80), ("forecast", 100), ("pace", 120)]),
        (800_000, 12, True, [("actual", 50), ("actual", 80), ("forecast", 100), ("pace", 120), ("pace", 150)]),
        (800_000, 12, False, [("actual", 50), ("actual", 80), ("forecast", 100)]),  # a soft day's own warnings are of what is spent
        (1_200_000, 12, False, [("actual", 50), ("actual", 80), ("actual", 100), ("pace", 120)]),
        (1_500_000, 12, False, [("actual", 50), ("actual", 80), ("actual", 100), ("pace", 120), ("pace", 150)]),
    ],
)
def test_thresholds_of_a_day(spent: int, hours: float, hard: bool, expected: list[tuple[str, int]]) -> None:
    assert kinds(standing(spent=spent, hours=hours, hard=hard)) == expected


def test_a_longer_window_measures_today_by_the_days_share() -> None:
    of = {"days": 10, "hours": 24 * 5 + 12.0}
    assert day_share(standing(spent=0, **of)) == 100_000  # type: ignore[arg-type]
    assert kinds(standing(spent=400_000, day_spent=290_000, **of), (100,)) == []  # type: ignore[arg-type]
    assert kinds(standing(spent=400_000, day_spent=280_000, **of), (100,)) == [("pace", 120)]  # type: ignore[arg-type]
    assert kinds(standing(spent=400_000, day_spent=250_000, **of), (100,)) == [("pace", 120), ("pace", 150)]  # type: ignore[arg-type]


def test_who_wants_no_alerts_gets_none() -> None:
    assert kinds(standing(spent=2_000_000, hours=12), ()) == []
