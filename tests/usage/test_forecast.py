"""Forecasts: what must always hold, what they say of weeks they can see through, and how their record is told."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.accounts.models import Organisation
from apps.accounts.scope import Scope
from apps.usage.forecast import (
    LEAST_DAYS,
    LEAST_RECORD,
    MOST_DAYS,
    Forecast,
    Kept,
    day_forecast,
    history,
    model_fit,
    month_forecast,
    record_of,
)
from apps.usage.forecasting import LATE_HOURS, forecasts_keep, forecasts_kept
from apps.usage.models import SpendForecast
from tests.usage.test_spend import NOON, attempt, record, settle

MONDAY = date(2026, 3, 2)
amounts = st.integers(min_value=0, max_value=10**16)


def days_of(nanos: list[int], *, until: date = MONDAY) -> dict[date, int]:
    """The days before ``until``, the last of ``nanos`` being the day before."""
    return {until - timedelta(days=len(nanos) - at): nano for at, nano in enumerate(nanos)}


@given(nanos=st.lists(amounts, max_size=70), spent_today=amounts, more=amounts, elapsed=st.floats(0, 1), day=st.integers(1, 31))
def test_what_must_always_hold(nanos: list[int], spent_today: int, more: int, elapsed: float, day: int) -> None:
    today = date(2026, 3, day)
    days = days_of(nanos, until=today)
    past = history(days, today)
    assert len(past) <= MOST_DAYS and all(one < today for one, _ in past)
    model = model_fit(past)
    assert (model is None) == (len(past) < LEAST_DAYS)
    if model is None:
        return
    whole = day_forecast(model, today)
    assert 0 <= whole.low <= whole.nano <= whole.high
    spent = sum(nano for one, nano in days.items() if one.month == 3)
    found = month_forecast(model, today=today, spent=spent, spent_today=spent_today, elapsed=elapsed)
    assert spent + spent_today <= found.low <= found.nano <= found.high
    higher = month_forecast(model, today=today, spent=spent, spent_today=spent_today + more, elapsed=elapsed)
    assert higher.nano == found.nano + more and higher.low >= found.low
    if day == 31:
        over = month_forecast(model, today=today, spent=spent, spent_today=spent_today, elapsed=1.0)
        assert over == Forecast(spent + spent_today, spent + spent_today, spent + spent_today)


def test_weeks_that_repeat_are_foreseen_by_weekday() -> None:
    week = [100, 110, 110, 100, 90, 20, 10]  # Monday first
    model = model_fit(history(days_of([nano * 10**9 for nano in week * 6]), MONDAY))
    assert model is not None and model.weekday_aware and sum(model.shares) == pytest.approx(7)
    for weekday, nano in enumerate(week):
        found = day_forecast(model, MONDAY + timedelta(days=weekday))
        assert abs(found.nano / 10**9 - nano) < 10
    flat = model_fit(history(days_of([nano * 10**9 for nano in week]), MONDAY))
    assert flat is not None and not flat.weekday_aware and set(flat.shares) == {1.0}


def test_the_level_follows_what_is_spent_now() -> None:
    model = model_fit(history(days_of([10**9] * 28 + [5 * 10**9] * 21), MONDAY))
    assert model is not None and day_forecast(model, MONDAY).nano > 4 * 10**9


def test_intervals_hold_about_as_often_as_they_say() -> None:
    """On spend whose days err by 15 % around a weekly course: 80 % of intervals should hold. Bounds are those of 200 throws."""
    held = {"day": 0, "month": 0}
    for seed in range(200):
        chance = Random(seed)
        today = date(2026, 3, 8 + seed % 14)
        days = {}
        for back in range(70, -35, -1):
            day = today - timedelta(days=back)
            days[day] = int(10**11 * (1, 1.1, 1.1, 1, 0.9, 0.3, 0.25)[day.weekday()] * max(0.1, 1 + chance.gauss(0, 0.15)))
        known = {day: nano for day, nano in days.items() if day < today}
        model = model_fit(history(known, today))
        assert model is not None
        spent = sum(nano for day, nano in known.items() if day.month == 3)
        month = month_forecast(model, today=today, spent=spent, spent_today=0, elapsed=0.0)
        held["month"] += month.low <= sum(nano for day, nano in days.items() if day.month == 3) <= month.high
        one = day_forecast(model, today)
        held["day"] += one.low <= days[today] <= one.high
    assert all(140 <= count <= 185 for count in held.values()), held


def test_a_record_says_how_far_off_and_how_often_held_and_when_it_is_too_early() -> None:
    def kept(actual: int | None, nano: int = 100) -> Kept:
        return Kept(MONDAY, MONDAY, Forecast(nano, nano - 10, nano + 10), actual)

    assert (record_of([]).known, record_of([]).enough, record_of([]).missing) == (0, False, LEAST_RECORD)
    found = record_of([kept(100), kept(105), kept(200), kept(50), kept(0), kept(None)])
    assert (found.known, found.held, found.enough) == (5, 2, True)
    assert found.mape == pytest.approx((0 + 100 * 5 / 105 + 50 + 100) / 4)  # nothing spent has no percentage
    assert record_of([kept(0)]).mape is None


def test_forecasts_are_made_once_a_day_in_its_first_hours_and_compared_with_what_came(organisation: Organisation) -> None:
    scope = Scope(str(organisation.pk), False)
    settle([record(scope, NOON - timedelta(days=back), [attempt(1_000 + back)]) for back in range(1, 11)])
    morning = datetime(2026, 3, 10, 0, 10, tzinfo=UTC)
    assert forecasts_keep(now=morning.replace(hour=LATE_HOURS)) == 0
    assert (forecasts_keep(now=morning), forecasts_keep(now=morning + timedelta(hours=1))) == (1, 0)
    row = SpendForecast.objects.get()
    assert (row.organisation, row.simulated, row.made_on, row.days) == (organisation, False, morning.date(), 10)
    assert row.spent_nano == sum(1_000 + back for back in range(1, 10)) and row.month_low_nano >= row.spent_nano
    days = {date(2026, 3, 10): 1_004}
    of_days, of_months = forecasts_kept(scope, days, date(2026, 3, 10))
    assert [one.held for one in (*of_days, *of_months)] == [None, None]
    of_days, of_months = forecasts_kept(scope, days, date(2026, 3, 11))
    assert [one.held for one in of_days] == [True] and [one.actual for one in of_months] == [None]
    of_days, of_months = forecasts_kept(scope, {**days, date(2026, 3, 20): 10**9}, date(2026, 4, 2))
    assert [one.actual for one in of_months] == [10**9 + 1_004] and of_months[0].held is False
    assert forecasts_kept(Scope(scope.organisation, True), days, date(2026, 3, 11)) == ([], [])
