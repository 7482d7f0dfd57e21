"""Whom to tell when: the first policy that matches, hours of warnings, levels in order until somebody takes it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.alerts.routing import (
    BACK_OFF,
    BUILT_IN,
    MOST_ROUNDS,
    Facts,
    Level,
    Policy,
    Standing,
    Step,
    opens_at,
    policy_for,
    raised,
    raised_by_time,
    tried_again_at,
    turn,
)
from tests.alerts.telling import NOON, minutes

LADDER = Policy(id="p", levels=(Level(0, (Step("on-call"),)), Level(10, (Step("next"),)), Level(20, (Step("leads"),))), repeat_minutes=30)


def facts(team: str = "", severity: str = "critical", **labels: str) -> Facts:
    return Facts(team, severity, labels)


def test_the_first_that_matches_decides() -> None:
    payments, provider = Policy(id="1", team="payments", severity="critical"), Policy(id="2", labels={"layer": "provider"})
    known = (payments, provider)
    assert policy_for(known, facts("payments")) is payments
    assert policy_for(known, facts("payments", "warning")) is BUILT_IN
    assert policy_for(known, facts("search", layer="provider", more="x")) is provider
    assert policy_for(known, facts("search", layer="proxy")) is BUILT_IN and BUILT_IN.levels[0].after_minutes == 0


@pytest.mark.parametrize(
    ("at", "opens"),
    [
        ("2026-03-04T09:00", "2026-03-04T09:00"),  # a Wednesday, 10:00 in Berlin
        ("2026-03-04T07:30", "2026-03-04T08:00"),
        ("2026-03-06T18:00", "2026-03-09T08:00"),  # Friday evening
        ("2026-03-28T12:00", "2026-03-30T07:00"),  # clocks change in between
    ],
)
def test_a_warning_waits_for_the_policys_hours_and_what_is_critical_never(at: str, opens: str) -> None:
    policy = Policy(zone="Europe/Berlin", days=31, from_minute=9 * 60, to_minute=18 * 60)
    moment = datetime.fromisoformat(at).replace(tzinfo=UTC)
    assert opens_at(policy, "warning", moment) == datetime.fromisoformat(opens).replace(tzinfo=UTC)
    assert opens_at(policy, "critical", moment) == moment


@pytest.mark.parametrize(
    ("severity", "used", "told"),
    [
        ("warning", None, "warning"),
        ("warning", 20.0, ""),
        ("warning", 50.0, "warning"),
        ("warning", 90.0, "critical"),
        ("critical", 1.0, "critical"),
    ],
)
def test_boundaries_of_the_owners_sla(severity: str, used: float | None, told: str) -> None:
    assert raised(severity, budget_used=used, warn_percent=50, page_percent=90) == told
    assert raised_by_time(severity, took_us=used and used * 1_000, warn_ms=50, page_ms=90) == told
    assert raised_by_time(severity, took_us=used, warn_ms=None, page_ms=None) == severity, "nothing is promised of it"


def test_levels_one_after_the_other_and_then_again() -> None:
    standing, now, told = Standing(None, 0, 0, False), NOON, []
    while now <= NOON + minutes(65):
        found = turn(LADDER, standing, fresh=standing.told_at is None, unreached=False, now=now)
        if found.what:
            told.append((int((now - NOON).total_seconds() // 60), found.what, found.levels))
        standing = Standing(found.told_at, found.step, found.round, False)
        now += minutes(1)
    assert told == [
        (0, "firing", (0,)), (10, "escalation", (1,)), (20, "escalation", (2,)),
        (50, "reminder", (0,)), (60, "escalation", (1,)),
    ]  # fmt: skip


def test_who_cannot_be_reached_is_not_waited_for() -> None:
    first = turn(LADDER, Standing(NOON, 1, 0, False), fresh=False, unreached=True, now=NOON)
    assert (first.what, first.levels, first.step) == ("escalation", (1,), 2)
    last = turn(LADDER, Standing(NOON, 3, 0, False), fresh=False, unreached=True, now=NOON)
    assert (last.what, last.next_at) == ("", NOON + minutes(50)), "there is nobody further along: the next round is waited for"


def test_what_joins_is_told_to_those_who_know_and_what_is_taken_rests() -> None:
    joined = turn(LADDER, Standing(NOON, 2, 0, False), fresh=True, unreached=False, now=NOON + minutes(12))
    assert (joined.what, joined.levels, joined.next_at) == ("firing", (0, 1), NOON + minutes(20))
    taken = turn(LADDER, Standing(NOON, 2, 0, True), fresh=False, unreached=False, now=NOON + minutes(60))
    assert (taken.what, taken.next_at) == ("", None)
    worse = turn(LADDER, Standing(NOON, 2, 0, True), fresh=True, unreached=False, now=NOON + minutes(60))
    assert (worse.what, worse.levels, worse.told_at) == ("firing", (0,), NOON + minutes(60))


@given(
    afters=st.lists(st.integers(1, 60), min_size=0, max_size=4, unique=True),
    repeat=st.integers(0, 60),
    looks=st.lists(st.tuples(st.integers(0, 45), st.booleans(), st.booleans()), max_size=60),
)
def test_each_level_is_told_once_a_round_in_order_and_never_early_unless_nobody_was_reached(
    afters: list[int], repeat: int, looks: list[tuple[int, bool, bool]]
) -> None:
    levels = tuple(Level(after, (Step("on-call"),)) for after in (0, *sorted(afters)))
    policy = Policy(levels=levels, repeat_minutes=repeat)
    standing, now, reached = Standing(None, 0, 0, False), NOON, 0
    for wait, fresh, unreached in looks:
        now += minutes(wait)
        found = turn(policy, standing, fresh=fresh or standing.told_at is None, unreached=unreached, now=now)
        if found.what == "escalation":
            assert found.levels == (reached,) and found.step == reached + 1
            assert unreached or now >= standing.told_at + minutes(levels[reached].after_minutes)  # type: ignore[operator]
            reached += 1
        elif found.what in ("firing", "reminder") and found.told_at == now and found.step == 1:
            reached = 1
        elif found.what == "firing":
            assert found.levels == tuple(range(reached))
        assert found.step == reached <= len(levels) and found.round < MOST_ROUNDS
        assert found.next_at is None or found.next_at >= found.told_at  # type: ignore[operator]
        standing = Standing(found.told_at, found.step, found.round, False)


def test_tries_get_rarer_and_end() -> None:
    waits = [tried_again_at(tries, NOON) for tries in range(1, len(BACK_OFF) + 2)]
    assert waits[-1] is None and waits[:-1] == sorted(waits[:-1], key=str)
    assert tried_again_at(1, NOON, asked=500) == NOON + timedelta(seconds=500)
