"""Due dates, reminders, sign-offs, texts of two people, words that blame, steps of runbooks: rules, without a database."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.postmortems.checklist_rules import steps_of
from apps.postmortems.postmortem_blameless import hints
from apps.postmortems.postmortem_choices import Section
from apps.postmortems.postmortem_rules import (
    business_days_after,
    business_days_between,
    due_state,
    mark_of,
    may_sign,
    merge,
    missing_sections,
    reminder_of,
    signs_lacking,
    text_clean,
)

MOMENTS = st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1)).map(lambda at: at.replace(tzinfo=UTC))
TEXTS = st.text(alphabet="ab\n ", max_size=6)
KEYS = st.sampled_from(["summary", "trigger", "lessons"])


@given(MOMENTS, st.integers(1, 60))
def test_a_due_date_is_the_end_of_the_last_business_day(start: datetime, days: int) -> None:
    due = business_days_after(start, days)
    assert due.weekday() < 5 and (due.hour, due.minute) == (23, 59)
    counted = sum((start.date() + timedelta(days=at)).weekday() < 5 for at in range(1, (due.date() - start.date()).days + 1))
    assert counted == days == business_days_between(start.date(), due.date())
    assert business_days_after(start, days + 1) > due


@given(st.dates(date(2020, 1, 1), date(2035, 1, 1)), st.integers(-400, 400))
def test_business_days_between_two_dates_are_those_counted_one_by_one(first: date, days: int) -> None:
    last = first + timedelta(days=days)
    low, high = min(first, last), max(first, last)
    counted = sum((low + timedelta(days=at)).weekday() < 5 for at in range(1, (high - low).days + 1))
    assert business_days_between(first, last) == (counted if days >= 0 else -counted)


def test_five_business_days_by_the_calendar() -> None:
    friday = datetime(2026, 11, 20, 22, 30, tzinfo=UTC)
    assert business_days_after(friday, 5).date() == date(2026, 11, 27)
    assert business_days_after(friday + timedelta(days=1), 5).date() == date(2026, 11, 27), "a weekend's incident begins on Monday"
    assert business_days_after(friday, 1).date() == date(2026, 11, 23)


def test_people_are_reminded_once_a_business_day_and_managers_from_the_second_on() -> None:
    due = datetime(2026, 11, 25, 23, 59, 59, tzinfo=UTC)  # a Wednesday
    told = {}
    for day in range(16, 31):
        reminder = reminder_of(due, datetime(2026, 11, day, 9, tzinfo=UTC))
        if reminder is not None:
            told.setdefault((reminder.key, reminder.up), []).append(day)
    assert list(told.values()) == [[23, 24, 25], [26], [27, 28, 29], [30]]
    assert [up for _, up in told] == [False, False, True, True]


@given(MOMENTS, MOMENTS)
def test_a_reminder_never_goes_up_before_it_is_late(due: datetime, now: datetime) -> None:
    reminder = reminder_of(due, now)
    if reminder is not None and reminder.up:
        assert due_state(due, now) == "overdue"
    assert reminder_of(due, now) == reminder, "the same moment, the same key: told once"


def test_whoever_wrote_or_owns_it_does_not_sign_it_off() -> None:
    assert may_sign("a", owner="a", authors=[]) and may_sign("b", owner="a", authors=["b"]) and not may_sign("c", owner="a", authors=["b"])
    assert signs_lacking(2, ["a", "b", "c", "c"], owner="a", authors=["b"]) == 1
    assert signs_lacking(0, [], owner="", authors=[]) == 0


@given(st.dictionaries(KEYS, TEXTS), st.dictionaries(KEYS, TEXTS), st.dictionaries(KEYS, TEXTS), st.sets(KEYS), st.sets(KEYS))
def test_no_text_is_lost(began: dict[str, str], now: dict[str, str], sent: dict[str, str], mine: set[str], own: set[str]) -> None:
    """Whatever was there when somebody began, is there now, and is sent: what they changed stands there or was set aside."""
    merged = merge(now, sent, {key: mark_of(text) for key, text in began.items()}, mine=mine, own=own)
    for key, text in sent.items():
        touched = key not in began or text != began[key]
        if touched:
            assert merged.texts.get(key, "") == text or merged.conflicts[key] == text
        if key not in merged.changed:
            assert merged.texts.get(key, "") == now.get(key, ""), "nothing of anybody else's is overwritten"
        else:
            assert key in mine or key in own or now.get(key, "") == began.get(key), "only what they began from"
    assert set(merged.texts) - set(sent) == set(now) - set(sent)


def test_two_people_in_different_sections_do_not_disturb_each_other() -> None:
    began = {"summary": "one", "lessons": "two"}
    marks = {key: mark_of(text) for key, text in began.items()}
    first = merge(began, {"summary": "ONE", "lessons": "two"}, marks)
    second = merge(first.texts, {"summary": "one", "lessons": "TWO"}, marks)
    assert second.texts == {"summary": "ONE", "lessons": "TWO"} and not second.conflicts
    third = merge(second.texts, {"summary": "Eins", "lessons": "two"}, marks)
    assert third.conflicts == {"summary": "Eins"} and third.texts == second.texts
    assert merge(second.texts, {"summary": "Eins"}, marks, mine=["summary"]).texts["summary"] == "Eins"


def test_required_sections_are_named() -> None:
    sections = [Section("summary", "Summary", required=True), Section("lucky", "Lucky")]
    assert [part.key for part in missing_sections(sections, {"summary": " \n"})] == ["summary"]
    assert missing_sections(sections, {"summary": "x"}) == []


def test_texts_are_kept_as_they_were_but_for_line_ends() -> None:
    assert text_clean("a\r\nb\rc\x00 \ud800") == "a\nb\nc ?"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("The on-call should have noticed.", ["should have"]),
        ("We could have rolled back; if only it was tested.", ["could have", "if only"]),
        ("It was human error.", ["human error"]),
        ("Ada deleted the route by hand.", ["Ada deleted"]),
        ("ada@example.test forgot to renew it.", ["ada@example.test forgot", "forgot to"]),
        ("The failover broke because the region was full.", []),
        ("`should have` in code, and\n> human error, in a quote", []),
        ("Ada turned the flag on at 10:02.", []),
        ("The metadata deleted itself.", []),
    ],
)
def test_words_that_blame_are_hinted_at(text: str, words: list[str]) -> None:
    assert [hint.words for hint in hints(text, ["Ada", "ada@example.test"])] == words
    assert all(hint.advice.endswith((".", "?")) for hint in hints(text, ["Ada"]))


def test_steps_are_boxes_or_numbers_and_never_code() -> None:
    text = "# See\n- a fact\n\n## Do\n1. first\n   goes on\n2. second\n```\n3. not this\n```\n"
    assert [(step.part, step.text) for step in steps_of(text)] == [("Do", "first goes on"), ("Do", "second")]
    assert [step.text for step in steps_of("1. not\n- [ ] only boxes\n- [x] where there are some")] == [
        "only boxes",
        "where there are some",
    ]
    assert steps_of("Just words.") == []
