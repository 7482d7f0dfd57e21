"""Who is on call when: the pure schedule. Every clock is fixed."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.ownership.rules import DAY_MINUTES, EVERY_DAY, Override, Terms, covered, gaps, handover, now_and_next, on_at, started, turns

BERLIN = "Europe/Berlin"
ZONES = [BERLIN, "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata", "UTC", "Pacific/Apia", "America/Sao_Paulo"]
PEOPLE = ("ada", "bo", "cy", "di")


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


def weekly(**other: object) -> Terms:
    """Mondays at nine in Berlin, from 2 March 2026 on."""
    given = {"zone": BERLIN, "starts_on": date(2026, 3, 2), "minute": 9 * 60, "every_days": 7, "members": PEOPLE[:3]} | other
    return Terms(**given)  # type: ignore[arg-type]


def test_a_week_with_a_change_of_clocks_hands_over_at_the_hour_that_people_know() -> None:
    terms = weekly()
    assert [handover(terms, number) for number in (3, 4)] == [utc(2026, 3, 23, 8), utc(2026, 3, 30, 7)], "an hour shorter"
    assert on_at(terms, utc(2026, 3, 30, 6, 59)) == ("ada", False) and on_at(terms, utc(2026, 3, 30, 7)) == ("bo", False)
    autumn = weekly(starts_on=date(2026, 10, 19))
    assert handover(autumn, 1) - handover(autumn, 0) == timedelta(days=7, hours=1)
    assert on_at(autumn, utc(2026, 10, 18)) == ("", False), "before it begins nobody is on"


def test_a_time_that_the_clocks_skip_comes_an_hour_later_and_one_that_comes_twice_counts_once() -> None:
    daily = weekly(every_days=1, minute=150, starts_on=date(2026, 3, 28))
    assert handover(daily, 1) == utc(2026, 3, 29, 1, 30), "02:30 is skipped: 03:30 in summer time"
    assert handover(weekly(every_days=1, minute=150, starts_on=date(2026, 10, 25)), 0) == utc(2026, 10, 25, 0, 30), "the first 02:30"


def test_who_stands_in_counts_and_the_later_one_wins() -> None:
    first = Override(utc(2026, 3, 3), utc(2026, 3, 5), "cy")
    second = Override(utc(2026, 3, 4), utc(2026, 3, 6), "di")
    terms = weekly(overrides=(first, second))
    assert [(turn.person, turn.override) for turn in turns(terms, utc(2026, 3, 2, 12), utc(2026, 3, 10))] == [
        ("ada", False), ("cy", True), ("di", True), ("ada", False), ("bo", False),
    ]  # fmt: skip
    now, coming = now_and_next(terms, utc(2026, 3, 4, 12))
    assert (now.person, now.ends_at, coming.person) == ("di", utc(2026, 3, 6), "ada")  # type: ignore[union-attr]


def test_hours_that_nobody_covers_are_not_gaps_and_a_member_who_left_is_one() -> None:
    office = weekly(days=frozenset(range(5)), from_minute=9 * 60, to_minute=17 * 60, absent=frozenset({"bo"}))
    assert covered(office, utc(2026, 3, 2, 8)) and not covered(office, utc(2026, 3, 2, 16)) and not covered(office, utc(2026, 3, 7, 10))
    assert on_at(office, utc(2026, 3, 7, 10)) == ("", False)
    assert [gap.starts_at for gap in gaps(office, utc(2026, 3, 2), utc(2026, 3, 12))] == [utc(2026, 3, day, 8) for day in (9, 10, 11)]
    assert gaps(weekly(members=()), utc(2026, 3, 2), utc(2026, 3, 3)), "a rotation without anybody is one gap"
    night = weekly(from_minute=22 * 60, to_minute=6 * 60, days=frozenset({4}))
    assert covered(night, utc(2026, 3, 6, 22)) and covered(night, utc(2026, 3, 7, 4, 59)) and not covered(night, utc(2026, 3, 7, 5))


def test_alone_there_is_nobody_next() -> None:
    assert now_and_next(weekly(members=("ada",)), utc(2026, 3, 4))[1] is None


@pytest.mark.parametrize("at", [utc(2026, 3, 4, 12), utc(2026, 3, 2, 7, 59), utc(2026, 3, 2, 8)])
def test_a_new_rotation_begins_with_its_first_person(at: datetime) -> None:
    day = started(0, 9 * 60, BERLIN, at)
    assert day.weekday() == 0 and on_at(weekly(starts_on=day), at) == ("ada", False)


@st.composite
def schedules(draw: st.DrawFn) -> Terms:
    minutes = st.integers(0, DAY_MINUTES - 1)
    start = draw(st.dates(date(2025, 1, 1), date(2027, 12, 31)))
    moments = st.datetimes(datetime(2025, 1, 1), datetime(2028, 3, 1), timezones=st.just(UTC))
    overrides = [
        Override(at, at + timedelta(minutes=draw(st.integers(1, 20_000))), draw(st.sampled_from(PEOPLE)))
        for at in draw(st.lists(moments, max_size=3))
    ]
    hours = draw(st.sampled_from([(0, DAY_MINUTES), None]))
    low, high = hours or (draw(minutes), draw(st.integers(1, DAY_MINUTES)))
    return Terms(
        zone=draw(st.sampled_from(ZONES)), starts_on=start, minute=draw(minutes), every_days=draw(st.sampled_from([1, 7, 14])),
        members=PEOPLE[: draw(st.integers(1, 4))], days=draw(st.sampled_from([EVERY_DAY, frozenset({0, 2, 6})])),
        from_minute=low, to_minute=high, overrides=tuple(overrides),
    )  # fmt: skip


@given(schedules(), st.integers(0, 500_000), st.lists(st.floats(0, 1), max_size=8))
def test_exactly_one_person_is_on_at_every_instant_that_a_rotation_covers(terms: Terms, offset: int, shares: list[float]) -> None:
    start = handover(terms, 0) + timedelta(minutes=offset)
    end = start + timedelta(days=40)
    found = turns(terms, start, end)
    assert found[0].starts_at == start and found[-1].ends_at == end
    assert all(turn.starts_at < turn.ends_at for turn in found)
    assert all(one.ends_at == two.starts_at for one, two in pairwise(found)), "without a hole, without an overlap"
    assert not gaps(terms, start, end), "members are there: no covered instant is without one"
    probes = [start + share * (end - start - timedelta(seconds=1)) for share in shares]
    probes += [turn.ends_at - timedelta(microseconds=1) for turn in found] + [turn.starts_at for turn in found]
    for at in probes:
        holding = [turn for turn in found if turn.starts_at <= at < turn.ends_at]
        assert len(holding) == 1 and (holding[0].person, holding[0].override) == on_at(terms, at)
        stands_in = any(override.starts_at <= at < override.ends_at for override in terms.overrides)
        assert bool(holding[0].person) == (covered(terms, at) or stands_in)


@given(schedules(), st.integers(0, 60))
def test_a_hand_over_is_at_its_local_time_unless_the_clocks_skip_it(terms: Terms, number: int) -> None:
    at = handover(terms, number)
    day = terms.starts_on + timedelta(days=number * terms.every_days)
    wanted = datetime(day.year, day.month, day.day, terms.minute // 60, terms.minute % 60)
    local = at.astimezone(ZoneInfo(terms.zone)).replace(tzinfo=None)
    assert local == wanted or timedelta(0) < local - wanted <= timedelta(hours=1)
    assert handover(terms, number + 1) > at
