"""Gauges by the minute: what was sampled, what was zero, and what nobody knows."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from hypothesis import given
from hypothesis import strategies as st

from apps.usage.gauges import (
    GAUGES,
    KEPT_DAYS,
    MAX_SUBJECTS,
    OTHER,
    Sample,
    folded,
    gauge_now,
    gauge_series,
    gauges_forget,
    gauges_record,
)

AT = datetime(2026, 3, 4, 12, 0, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
START = AT.replace(second=0)


def record(after_s: float, *samples: Sample, name: str = "queue_depth") -> None:
    gauges_record(at=AT + timedelta(seconds=after_s), samples={name: samples})


def series(organisation: str | None, subject: str = "", *, minutes: int = 4, step_s: int = 60, take: str = "high") -> list[float | None]:
    found = gauge_series(
        organisation=organisation,
        name="queue_depth",
        subject=subject,
        since=START,
        until=START + minutes * MINUTE,
        step_s=step_s,
        take=take,  # type: ignore[arg-type]
    )
    assert [at for at, _ in found] == [START + timedelta(seconds=max(60, step_s)) * n for n in range(len(found))]
    return [value for _, value in found]


@pytest.mark.django_db
def test_a_minute_keeps_its_extremes_and_a_gap_is_unknown() -> None:
    record(0, Sample("", "", 5), Sample("o", "route:chat", 5))
    record(10, Sample("", "", 9), Sample("o", "route:chat", 2))
    record(20, Sample("", "", 1))  # nobody waits for the route any more
    record(60, Sample("", "", 0))
    record(180, Sample("", "", 3), Sample("o", "route:chat", 3))
    assert series(None) == [9.0, 0.0, None, 3.0]
    assert series(None, take="low") == [1.0, 0.0, None, 3.0] and series(None, take="last") == [1.0, 0.0, None, 3.0]
    assert series(None, take="mean") == [5.0, 0.0, None, 3.0]
    assert series("o", "route:chat") == [5.0, 0.0, None, 3.0] and series("o") == [5.0, 0.0, None, 3.0]
    assert series("o", "route:chat", take="low") == [0.0, 0.0, None, 3.0] and series("o", "route:chat", take="last")[0] == 0.0
    assert series("o", "route:chat", take="mean")[0] == pytest.approx(7 / 3)
    assert series("else") == [0.0, 0.0, None, 0.0], "what was sampled without it was zero"
    assert series(None, step_s=120) == [9.0, 3.0] and series(None, step_s=10)[:2] == [9.0, 0.0]


@pytest.mark.django_db
def test_now_is_the_latest_minute_while_it_is_fresh() -> None:
    record(0, Sample("", "", 7), Sample("", "proxy:a", 4), Sample("", "proxy:b", 3), Sample("o", "route:chat", 7))
    record(60, Sample("", "", 2), Sample("", "proxy:a", 2), Sample("o", "route:chat", 2))
    now = AT + 1.5 * MINUTE
    assert gauge_now("queue_depth", now=now) == {"": 2.0, "proxy:a": 2.0}
    assert gauge_now("queue_depth", organisation="o", now=now) == {"": 2.0, "route:chat": 2.0}
    assert gauge_now("queue_depth", now=now + 5 * MINUTE) == {} and gauge_now("queue_depth", now=START - MINUTE) == {}
    assert gauge_now("running", now=now) == {}
    for name in ("nonsense", ""):
        with pytest.raises(KeyError):
            gauge_now(name)
        with pytest.raises(KeyError):
            gauge_series(organisation=None, name=name, since=AT, until=AT, step_s=60)
        with pytest.raises(KeyError):
            record(0, name=name)


@pytest.mark.django_db
def test_old_ones_are_forgotten() -> None:
    record(0, Sample("", "", 1))
    record(60, Sample("", "", 1))
    assert gauges_forget(now=START + timedelta(days=KEPT_DAYS, seconds=30)) == 1
    with connection.cursor() as cursor:
        cursor.execute("SELECT bucket FROM usage_gauge")
        assert cursor.fetchall() == [(START + MINUTE,)]


subjects = st.text(alphabet="ab", max_size=2)
samples = st.lists(st.builds(Sample, st.sampled_from(["", "o", "p"]), subjects, st.integers(0, 9).map(float)), max_size=20)


@given(samples)
def test_a_whole_is_the_sum_of_its_subjects_unless_it_is_told(told: list[Sample]) -> None:
    rows = {(organisation, subject): value for organisation, subject, value in folded(GAUGES["queue_depth"], told)}
    assert len(rows) == len(folded(GAUGES["queue_depth"], told)) and ("", "") in rows
    for organisation in {"", *(sample.organisation for sample in told)}:
        mine = [sample for sample in told if sample.organisation == organisation]
        whole = [sample.value for sample in mine if not sample.subject]
        assert rows.get((organisation, ""), 0.0) == sum(whole or (sample.value for sample in mine))
        for subject in {sample.subject for sample in mine if sample.subject}:
            assert rows.get((organisation, subject), 0.0) == sum(sample.value for sample in mine if sample.subject == subject)


def test_the_whole_of_a_wait_is_the_longest() -> None:
    rows = folded(GAUGES["queue_wait_ms"], [Sample("", "proxy:a", 5), Sample("", "proxy:b", 8), Sample("", "proxy:b", 7)])
    assert set(rows) == {("", "proxy:a", 5), ("", "proxy:b", 8), ("", "", 8)}


def test_ten_thousand_subjects_are_fifty_and_the_rest() -> None:
    rows = folded(GAUGES["queue_depth"], [Sample("o", f"route:{n}", float(n)) for n in range(10_000)])
    mine = {subject: value for organisation, subject, value in rows if organisation == "o"}
    assert len(mine) == MAX_SUBJECTS + 2 and "route:9999" in mine and "route:1" not in mine
    assert mine[""] == sum(range(10_000)) == mine[OTHER] + sum(mine[f"route:{n}"] for n in range(10_000 - MAX_SUBJECTS, 10_000))
