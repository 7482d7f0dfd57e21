"""Whom a request may ask again after it failed there."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

from hypothesis import given
from hypothesis import strategies as st

from apps.proxy.fleet.tries import AGAIN_SECONDS, MOST, End, Tries


@dataclass(eq=False)
class Fake:
    answered: float = 0.0
    why: str = ""


def test_who_was_silent_is_asked_again_after_a_sign_of_life_only() -> None:
    one, tries = Fake(), Tries[Fake]()
    tries.failed(one, 10.0, "silent")
    assert tries.passed_over(1_000.0) == [one] and tries.soonest([one], 11.0) is None
    one.answered = 12.0
    assert tries.passed_over(12.0) == []


def test_who_answered_with_an_error_is_asked_again_after_a_moment() -> None:
    one, tries = Fake(), Tries[Fake]()
    tries.failed(one, 10.0, "refused")
    one.answered = 10.1  # others are served there: that it lives was never in doubt
    assert tries.passed_over(10.2) == [one] and tries.soonest([one], 10.2) == 10.0 + AGAIN_SECONDS - 10.2
    assert tries.passed_over(10.0 + AGAIN_SECONDS) == []


def test_whose_connection_broke_is_asked_again_when_it_is_back_or_after_a_moment() -> None:
    one, other, tries = Fake(), Fake(why="connection"), Tries[Fake]()
    tries.failed(one, 10.0, "broken")
    tries.failed(other, 10.0, "broken")
    assert tries.passed_over(10.5) == [one, other]
    assert tries.passed_over(20.0) == [other], "it is out: nobody is there"
    other.why, other.answered = "", 20.5
    assert tries.passed_over(20.5) == []


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("fail"), st.integers(0, 2), st.sampled_from(get_args(End))),
            st.tuples(st.just("life"), st.integers(0, 2), st.just("")),
            st.tuples(st.just("out"), st.integers(0, 2), st.just("")),
            st.tuples(st.just("pass"), st.integers(0, 30), st.just("")),
        ),
        max_size=40,
    )
)
def test_nobody_is_asked_too_often_and_waiting_so_long_as_it_says_helps(events: list[tuple[str, int, str]]) -> None:
    seats, tries, now = [Fake(), Fake(), Fake()], Tries[Fake](), 1.0
    times = [0, 0, 0]
    silent_since: list[float | None] = [None, None, None]
    for what, which, how in events:
        now += 0.001
        if what == "pass":
            now += which / 10
        elif what == "out":
            seats[which].why = "silence"
        elif what == "life":
            seats[which].answered, seats[which].why, silent_since[which] = now, "", None
        elif seats[which] not in tries.passed_over(now):
            tries.failed(seats[which], now, how)  # type: ignore[arg-type]
            times[which] += 1
            silent_since[which] = now if how == "silent" else None
        over = tries.passed_over(now)
        assert max(times) <= MOST
        assert all(seats[at] in over for at in range(3) if silent_since[at] is not None)
        assert all(seats[at] not in over for at in range(3) if not times[at])
        ready = [seat for seat in seats if not seat.why]
        wait = tries.soonest(ready, now)
        later = set(map(id, tries.passed_over(now + (1_000 if wait is None else wait + 0.001))))
        if wait is None:
            assert {id(seat) for seat in ready if seat in over} <= later, "only a sign of life helps"
        else:
            assert any(id(seat) not in later for seat in ready)
