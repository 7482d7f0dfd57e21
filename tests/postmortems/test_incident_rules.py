"""How incidents move, in what order their times lie, what merges and what joins; what files are kept."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.postmortems import incident_choices as choices
from apps.postmortems.incident_attachments import MOST_BYTES, AttachmentRefused, attachment_check
from apps.postmortems.incident_rules import (
    CHAINS,
    MOVES,
    NEEDS,
    ClosingFacts,
    Disordered,
    Times,
    closing_gaps,
    joins,
    merge_check,
    moved,
    state_check,
    times_check,
    window_check,
)

NOON = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)


def minute(n: float) -> datetime:
    return NOON + timedelta(minutes=n)


@given(st.lists(st.tuples(st.sampled_from(list(choices.STATES)), st.integers(-30, 90)), max_size=12))
def test_whatever_people_do_state_and_times_agree_and_are_in_order(steps: list[tuple[str, int]]) -> None:
    state, times, now = choices.TRIAGE, Times(NOON, minute(2)), minute(60)
    refusals: list[Disordered] = []
    for to, at in steps:
        if to == state:
            continue
        try:
            found = moved(times, state, to, at=minute(at), now=now)
        except Disordered as error:
            refusals.append(error)
            continue
        assert to in MOVES[state]
        state, times = to, found
        known = times.known()
        for chain in CHAINS:
            there = [known[name] for name in chain if name in known]
            assert there == sorted(there)
        if state in NEEDS:
            state_check(state, times)
        assert all(at <= minute(62) for at in known.values())
    assert all(error.message and error.field in {"state", *choices.TIMES} for error in refusals)


def test_going_on_sets_what_was_skipped_and_going_back_takes_it_away() -> None:
    times = Times(NOON, minute(2))
    over = moved(times, choices.TRIAGE, choices.RESOLVED, at=minute(30), now=minute(40))
    assert (over.acknowledged_at, over.mitigated_at, over.resolved_at) == (minute(30), minute(30), minute(30))
    again = moved(over, choices.RESOLVED, choices.ACTIVE, at=minute(35), now=minute(40))
    assert (again.mitigated_at, again.resolved_at, again.acknowledged_at) == (None, None, minute(30))
    kept = moved(Times(NOON, minute(2), mitigated_at=minute(9)), choices.MITIGATED, choices.RESOLVED, at=minute(30), now=minute(40))
    assert kept.mitigated_at == minute(9)
    with pytest.raises(Disordered, match="cannot become closed: it can become active"):
        moved(times, choices.MITIGATED, choices.CLOSED, at=minute(30), now=minute(40))
    with pytest.raises(Disordered, match="is before detected"):
        moved(times, choices.ACTIVE, choices.RESOLVED, at=minute(1), now=minute(40))


@pytest.mark.parametrize(
    ("times", "field", "said"),
    [
        (Times(minute(5), minute(2)), "detected_at", "is before began"),
        (Times(NOON, minute(2), acknowledged_at=minute(1)), "acknowledged_at", "is before detected"),
        (Times(NOON, minute(2), mitigated_at=minute(9), resolved_at=minute(8)), "resolved_at", "is before mitigated"),
        (Times(NOON, minute(2), mitigated_at=minute(-1)), "mitigated_at", "is before began"),
        (Times(NOON, minute(90)), "detected_at", "in the future"),
        (Times(NOON - timedelta(days=500), NOON), "started_at", "more than a year back"),
    ],
)
def test_times_out_of_order_are_refused_by_name(times: Times, field: str, said: str) -> None:
    with pytest.raises(Disordered, match=said) as refusal:
        times_check(times, now=minute(60))
    assert refusal.value.field == field


def test_what_was_found_out_afterwards_was_over_before_it_was_seen() -> None:
    times_check(Times(NOON, minute(50), mitigated_at=minute(20)), now=minute(60))


def test_a_state_and_its_times_cannot_contradict_each_other() -> None:
    with pytest.raises(Disordered, match="has a time at which it was resolved"):
        state_check(choices.RESOLVED, Times(NOON, NOON, mitigated_at=NOON))
    with pytest.raises(Disordered, match="not resolved yet"):
        state_check(choices.ACTIVE, Times(NOON, NOON, resolved_at=minute(2)))


def test_a_window_has_a_beginning_a_length_and_no_future() -> None:
    window_check(None, None, now=NOON)
    window_check(minute(-9), None, now=NOON)
    for since, until, said in (
        (None, NOON, "from when"),
        (minute(-5), minute(-5), "after it begins"),
        (minute(9), None, "future"),
        (minute(-5), minute(9), "leave the end empty"),
    ):
        with pytest.raises(Disordered, match=said):
            window_check(since, until, now=NOON)


def test_closing_says_everything_that_is_still_to_be_done_at_once() -> None:
    gaps = closing_gaps(ClosingFacts(choices.ACTIVE, True, " ", False, NOON, None))
    assert [gap.split(":")[0] for gap in gaps] == [
        "resolve it first",
        "write a summary",
        "say who was commander",
        "say when the impact ended",
    ]
    assert closing_gaps(ClosingFacts(choices.RESOLVED, False, "It broke.", False, None, None)) == []
    assert "nobody did" in closing_gaps(ClosingFacts(choices.RESOLVED, True, "It broke.", True, None, None))[0]


@given(st.lists(st.tuples(st.integers(0, 7), st.integers(0, 7)), max_size=25))
def test_merging_never_makes_a_loop_and_never_goes_through_what_is_merged(wanted: list[tuple[int, int]]) -> None:
    parents: dict[int, int] = {}
    for child, into in wanted:
        if child in parents:
            continue  # merged already: its state forbids another merge
        try:
            merge_check(child, into, parents)
        except Disordered:
            continue
        parents[child] = into
    for start in range(8):
        seen, at = set(), start
        while at in parents:
            assert at not in seen
            seen.add(at)
            at = parents[at]


def test_an_alert_joins_the_incident_that_names_what_it_is_about() -> None:
    scopes = {"a": {"route": frozenset({"search"})}, "b": {"route": frozenset({"chat"}), "provider": frozenset({"east"})}}
    assert joins("chat", "route", scopes) == "b" and joins("east", "provider", scopes) == "b"
    assert joins("chat", "provider", scopes) is None and joins("", "", scopes) is None


def test_files_are_what_their_bytes_say() -> None:
    assert attachment_check("a/../b\\c<x>.log\n", "späte Zeile\n".encode()).kind == "text/plain"
    assert attachment_check("../../etc/passwd", b"x").name == "passwd" and attachment_check("\u202e..", b"x").name == "file"
    assert attachment_check("run.txt", b"\x89PNG\r\n\x1a\nrest").kind == "image/png"
    refused = {
        b"": "empty", b"x" * (MOST_BYTES + 1): "5 MB", b"MZ\x90\xff\xfe": "only text", b"a\x00b": "NUL", b"%PDF-1.7\xe2\xe3": "only text",
    }  # fmt: skip
    for body, said in refused.items():
        with pytest.raises(AttachmentRefused, match=said):
            attachment_check("picture.png", body)
