"""Requests for flips, pure: two persons where two are needed, once at most, whatever arrives in whatever order."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.audit.errors import ServiceError
from apps.flags import change_rules as rules
from apps.flags.change_choices import APPLIED, EXPIRED, FAILED, MISSED, OPEN, SCHEDULED, WAITING
from apps.flags.change_rules import OFF, Asked, Change, Person, Rule, Standing, Step

NOW = datetime(2031, 3, 10, 12, tzinfo=UTC)
ADA, BOB, EVE = (Person("user", name) for name in ("ada", "bob", "eve"))
SHELL = Person("command", "flag")
PEOPLE = [ADA, BOB, EVE, SHELL]
HOUR = timedelta(hours=1)

Act = Callable[[Change, datetime], Step]


def acts(person: Person) -> list[Act]:
    return [
        lambda change, now: rules.approved(change, by=person, now=now),
        lambda change, now: rules.rejected(change, by=person),
        lambda change, now: rules.withdrawn(change, by=person, may_approve=False),
        lambda change, now: rules.withdrawn(change, by=person, may_approve=True),
        lambda change, now: rules.reviewed(change, by=person),
        lambda change, now: rules.due(change, now=now, two_now=False),
        lambda change, now: rules.due(change, now=now, two_now=True),
        lambda change, now: rules.failed(change),
    ]


ACTS = [(person, act) for person in PEOPLE for act in acts(person)]
MOMENTS = st.integers(0, 200).map(lambda hours: timedelta(hours=hours))


@given(
    asker=st.sampled_from(PEOPLE),
    two=st.booleans(),
    glass=st.booleans(),
    at=st.none() | MOMENTS,
    until=st.none() | MOMENTS,
    late=st.none() | st.integers(0, 170).map(lambda hours: timedelta(hours=hours)),
    events=st.lists(st.tuples(MOMENTS, st.sampled_from(ACTS)), max_size=12),
)
def test_two_persons_where_two_are_needed_and_one_flip_at_most(
    asker: Person,
    two: bool,
    glass: bool,
    at: timedelta | None,
    until: timedelta | None,
    late: timedelta | None,
    events: list[tuple[timedelta, tuple[Person, Act]]],
) -> None:
    ask = {"at": None if at is None else NOW + at, "until": None if until is None else NOW + until, "late": late}
    try:
        step = rules.asked(by=asker, two=two, glass=glass, now=NOW, **ask)
    except ServiceError:
        return
    change, flips = step.change, int(step.flip)
    now, reviews_open = NOW, [change.review == OPEN]
    for later, (_, act) in events:
        now += later
        before = change
        try:
            step = act(change, now)
        except ServiceError:
            continue
        change = step.change
        flips += step.flip
        reviews_open.append(change.review == OPEN)
        if before.review == OPEN and change.review != OPEN:
            assert change.closed_by is not None and change.closed_by != asker and change.closed_by.kind == "user"
        if step.flip:
            assert before.state in (WAITING, SCHEDULED) and change.state == APPLIED
            assert change.at is None or now >= change.at
            assert change.late is None or change.at is None or change.approved_by is not None or now <= change.at + change.late
            assert change.until is None or now < change.until
    assert flips == (change.state == APPLIED)
    assert flips <= 1
    if flips and two:
        approver = change.approved_by
        assert change.glass or (approver is not None and approver.kind == "user" and approver != asker)
    if change.glass:
        assert two and change.review and reviews_open[0]
    else:
        assert not change.review


STANDINGS = st.builds(
    Standing,
    on=st.just(True),
    until=st.none() | MOMENTS.map(lambda later: NOW + later),
    share=st.integers(0, 100),
    simulated_only=st.booleans(),
) | st.just(OFF)


@given(before=STANDINGS, after=STANDINGS)
def test_what_reaches_more_counts_as_turning_on(before: Standing, after: Standing) -> None:
    turned = rules.direction(before, after)
    assert (turned == "") == (before == after)
    wider = after.on and (
        not before.on
        or after.share > before.share
        or (before.simulated_only and not after.simulated_only)
        or (before.until is not None and (after.until is None or after.until > before.until))
    )
    assert (turned == "on") == wider


def test_a_rule_covers_what_fits_all_its_fields() -> None:
    kill = Asked("kill", "provider", frozenset({"team-1"}), frozenset({"production", "staging"}), "on", False)
    covering = [Rule(), Rule("kill"), Rule("kill", "provider", "team-1", "production", "either"), Rule(environment="staging")]
    passing = [Rule("degrade"), Rule(subject="route"), Rule(team="team-2"), Rule(environment="development"), Rule(turning="off")]
    assert [rules.takes_two(kill, [rule]) for rule in covering] == covering
    assert [rules.takes_two(kill, [rule]) for rule in passing] == [None] * 5
    assert rules.takes_two(kill, [*passing, covering[1]]) == covering[1]
    assert rules.takes_two(kill._replace(simulated_only=True), covering) is None
    assert rules.takes_two(kill._replace(direction=""), covering) is None
    words = "turning on or off any kill of a provider in production, where team Search owns the flag or what it is about"
    assert rules.rule_words(covering[2], team="Search") == words


def test_a_drill_on_simulated_traffic_needs_one_person_and_its_widening_two() -> None:
    drill = Standing(True, None, 100, True)
    assert rules.simulated_alone(OFF, drill) and rules.simulated_alone(drill, OFF)
    assert not rules.simulated_alone(drill, Standing(True)) and rules.direction(drill, Standing(True)) == "on"


def test_late_is_noted_and_too_late_is_missed() -> None:
    scheduled = rules.asked(by=ADA, two=False, glass=False, now=NOW, at=NOW + HOUR, late=HOUR).change
    assert scheduled.state == SCHEDULED
    assert rules.due(scheduled, now=NOW, two_now=False) == Step(scheduled)
    assert rules.due(scheduled, now=NOW + 2 * HOUR, two_now=False).flip
    assert rules.due(scheduled, now=NOW + 2 * HOUR + timedelta(seconds=1), two_now=False).change.state == MISSED
    assert rules.due(scheduled, now=NOW + HOUR, two_now=True).change.state == FAILED
    patient = rules.asked(by=ADA, two=False, glass=False, now=NOW, at=NOW + HOUR, late=None).change
    assert rules.due(patient, now=NOW + 1000 * HOUR, two_now=False).flip
    assert rules.lateness(NOW, NOW + timedelta(seconds=59)) == ""
    assert rules.lateness(NOW, NOW + timedelta(minutes=4)).startswith("ran 4 min late")
    assert rules.lateness(NOW, NOW + timedelta(minutes=150)).startswith("ran 2 h 30 min late")


def test_nobody_answers_for_ever() -> None:
    waiting = rules.asked(by=ADA, two=True, glass=False, now=NOW).change
    assert rules.due(waiting, now=NOW + rules.ASKED_FOR - HOUR, two_now=True).change.state == WAITING
    assert rules.due(waiting, now=NOW + rules.ASKED_FOR, two_now=True).change.state == EXPIRED
    with pytest.raises(ServiceError, match="run out"):
        rules.approved(waiting, by=BOB, now=NOW + rules.ASKED_FOR)


@pytest.mark.parametrize(
    ("ask", "says"),
    [
        ({"at": NOW}, "has passed"),
        ({"at": NOW.replace(tzinfo=None)}, "time zone"),
        ({"at": NOW + timedelta(days=367)}, "a year ahead"),
        ({"at": NOW + HOUR, "two": True, "glass": True}, "break-glass is for now"),
        ({"until": NOW}, "end before it begins"),
        ({"at": NOW + HOUR, "until": NOW + HOUR}, "end before it begins"),
        ({"at": NOW + HOUR, "late": timedelta(days=8)}, "7 days late"),
        ({"at": NOW + HOUR, "late": -HOUR}, "7 days late"),
    ],
)
def test_what_cannot_be_asked_for(ask: dict[str, object], says: str) -> None:
    with pytest.raises(ServiceError, match=says):
        rules.asked(**{"by": ADA, "two": False, "glass": False, "now": NOW, **ask})  # type: ignore[arg-type]


@given(
    instant=st.datetimes(datetime(2020, 1, 1), datetime(2040, 1, 1)),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu"]),
)
def test_a_wall_clocks_time_is_that_instant_or_the_first_of_two(instant: datetime, zone: str) -> None:
    instant = instant.replace(second=0, microsecond=0, tzinfo=UTC)
    local = instant.astimezone(rules.zone_of(zone))
    found = rules.moment_in(local.replace(tzinfo=None), zone)
    assert found == instant or (local.fold == 1 and instant - timedelta(hours=1) <= found < instant)


def test_an_hour_that_the_clocks_skip_is_refused() -> None:
    with pytest.raises(ServiceError, match="does not exist in Europe/Berlin"):
        rules.moment_in(datetime(2031, 3, 30, 2, 30), "Europe/Berlin")
    assert rules.moment_in(datetime(2031, 10, 26, 2, 30), "Europe/Berlin") == datetime(2031, 10, 26, 0, 30, tzinfo=UTC)
    with pytest.raises(ServiceError, match="no time zone"):
        rules.moment_in(datetime(2031, 1, 1), "Mars/Olympus")


def test_conflicts_name_what_changed() -> None:
    assert rules.conflicts({"on": True, "level": "full"}, {"on": True, "level": "full"}) == []
    assert rules.conflicts({"on": True, "gone": 1}, {"on": False}) == [("gone", 1, None), ("on", True, False)]
