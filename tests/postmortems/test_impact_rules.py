"""From when to when people felt it, by the minute's counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from apps.postmortems.impact_rules import MINUTE, MinuteImpact, Part, Window, baseline_of, hit, suggested, window_propose

NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


def minutes(*failed: int, requests: int = 100, start: datetime = NOON, attempts: bool = False) -> list[MinuteImpact]:
    return [
        MinuteImpact(start + n * MINUTE, requests, 0 if attempts else bad, bad if attempts else 0, 0, requests)
        for n, bad in enumerate(failed)
    ]


QUIET = minutes(*[1] * 30, start=NOON - timedelta(minutes=30))


def test_the_window_is_from_the_first_hit_minute_to_the_last() -> None:
    found = window_propose(QUIET, minutes(1, 0, 40, 60, 0, 50, 2, *[0] * 20))
    assert found is not None and (found.since, found.until) == (NOON + 2 * MINUTE, NOON + 6 * MINUTE)
    assert found.baseline == 0.01 and "150 of 400 requests failed; usual is 1 %." in found.why
    lasting = window_propose(QUIET, minutes(0, 0, 40, 60, 55))
    assert lasting is not None and lasting.until is None and "it goes on" in lasting.why


def test_nothing_beyond_what_is_usual_is_no_impact() -> None:
    assert window_propose(QUIET, minutes(*[1, 2, 1, 3] * 8)) is None, "three times what is usual it takes"
    assert window_propose(QUIET, minutes(0, 0, 50, *[0] * 20)) is None, "one minute alone is none"
    assert window_propose(QUIET, minutes(2, 2, 2, requests=2)) is None, "too few to say so"
    assert window_propose([], []) is None
    noisy = minutes(*[30] * 30, start=NOON - timedelta(minutes=30))
    assert window_propose(noisy, minutes(*[45] * 10)) is None


def test_the_minutes_in_which_it_began_and_ended_are_part_of_it_however_little_failed_there() -> None:
    found = window_propose(QUIET, minutes(0, 5, 40, 60, 6, *[0] * 9))
    assert found is not None and (found.since, found.until) == (NOON + MINUTE, NOON + 5 * MINUTE) and "111 of 400" in found.why
    few = window_propose([], minutes(0, 1, 40, 60, 2, *[0] * 9, requests=60))
    assert few is not None and (few.since, few.until) == (NOON + MINUTE, NOON + 5 * MINUTE)
    usual = window_propose(QUIET, minutes(0, 2, 40, 60, 3, *[0] * 9))
    assert usual is not None and (usual.since, usual.until) == (NOON + 2 * MINUTE, NOON + 4 * MINUTE), "what is usual began nothing"


def test_what_was_over_well_before_is_another_incidents() -> None:
    rows = minutes(*[40] * 12, *[0] * 20, 50, 50, 50)
    longest, own = window_propose(QUIET, rows), window_propose(QUIET, rows, noticed=NOON + 33 * MINUTE)
    assert longest is not None and longest.since == NOON, "declared of nothing in particular, the longest is meant"
    assert own is not None and (own.since, own.until) == (NOON + 32 * MINUTE, None)
    late = window_propose(QUIET, rows[:32], noticed=NOON + 31 * MINUTE)
    assert late is not None and late.since == NOON, "found out long afterwards, it is what there is"


def test_where_every_request_was_rescued_attempts_tell() -> None:
    found = window_propose(QUIET, minutes(0, 80, 80, 80, *[0] * 9, attempts=True))
    assert found is not None and found.of == "attempt_errors" and "every request was rescued" in found.why


def test_without_a_before_it_says_so() -> None:
    found = window_propose([], minutes(0, 9, 9, *[0] * 9))
    assert found is not None and "too little came before" in found.why


counts = st.lists(st.tuples(st.integers(0, 200), st.integers(0, 200)), min_size=1, max_size=60)


@given(counts, counts)
def test_a_proposed_window_holds_its_hits_and_begins_and_ends_with_one(
    before: list[tuple[int, int]], during: list[tuple[int, int]]
) -> None:
    def rows(pairs: list[tuple[int, int]], start: datetime) -> list[MinuteImpact]:
        return [MinuteImpact(start + n * MINUTE, max(pair), min(pair), attempts=max(pair)) for n, pair in enumerate(pairs)]

    first, second = rows(before, NOON - len(before) * MINUTE), rows(during, NOON)
    found = window_propose(first, second)
    hits = [one.at for one in second if hit(one, found.baseline if found else baseline_of(first) or 0.0)]
    if found is None:
        assert not any(later - earlier <= 2 * MINUTE for earlier, later in pairwise(hits))
        return
    assert {found.since, found.since + MINUTE} & set(hits) and found.since >= NOON
    if found.until is None:
        assert hits[-1] > second[-1].at - 4 * MINUTE
    else:
        assert {found.until - MINUTE, found.until - 2 * MINUTE} & set(hits) and found.until > found.since
    assert isinstance(found, Window) and found == window_propose(first, second)


def test_what_is_hit_is_suggested_with_its_reason_the_worst_first() -> None:
    found = suggested([Part("search", 4, 100, 1, 400), Part("chat", 60, 100, 1, 500), Part("fine", 1, 900, 1, 900), Part("", 50, 60, 0, 0)])
    assert [one.value for one in found] == ["chat", "search"]
    assert found[0].why == "60 of 100 requests failed (60 %); 0.2 % in the hour before"
    assert "attempts" in suggested([Part("east", 9, 9, 0, 0)], attempts=True)[0].why
