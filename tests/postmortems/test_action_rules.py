"""When owners are nudged, and what checks make of action items: rules, without a database."""

from __future__ import annotations

from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from apps.postmortems.action_rules import DECLINED, DONE, FAILS, OPEN, PASSES, UNKNOWN, moved, nudge_of

DUE = date(2026, 11, 20)


def test_nudges_come_at_two_weeks_when_due_and_each_week_after() -> None:
    keys = [nudge_of(DUE, DUE + timedelta(days=at)) for at in range(-20, 21)]
    assert keys[:6] == [""] * 6 and len({key for key in keys if key}) == 4
    assert keys.index("soon:2026-11-20") == 6 and keys.index("due:2026-11-20:0") == 20 and keys.index("due:2026-11-20:1") == 27


@given(st.dates(date(2020, 1, 1), date(2030, 1, 1)), st.integers(-30, 60), st.integers(0, 9))
def test_days_without_a_look_lose_no_nudge(due: date, day: int, missed: int) -> None:
    later = nudge_of(due, due + timedelta(days=day + missed))
    assert later or not nudge_of(due, due + timedelta(days=day)), "once somebody is to be told, they stay to be told"


def test_a_check_closes_and_opens_again_and_leaves_what_was_declined() -> None:
    table = {(state, verdict): moved(state, verdict) for state in (OPEN, DONE, DECLINED) for verdict in (PASSES, FAILS, UNKNOWN)}
    moves = {key: move.state for key, move in table.items() if move is not None}
    assert moves == {(OPEN, PASSES): DONE, (DONE, FAILS): OPEN}


@given(st.lists(st.sampled_from([PASSES, FAILS, UNKNOWN])))
def test_an_action_is_done_exactly_where_its_check_last_said_so(verdicts: list[str]) -> None:
    state = OPEN
    for verdict in verdicts:
        move = moved(state, verdict)
        state = move.state if move else state
    last = next((verdict for verdict in reversed(verdicts) if verdict != UNKNOWN), FAILS)
    assert state == (DONE if last == PASSES else OPEN)
