"""The machine that moves an alert: whatever the course of judgements, nothing is lost and nothing told twice."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.alerts.choices import ACKNOWLEDGED, FIRED, FIRING, PENDING, RESOLVED
from apps.alerts.rules import (
    UNMEASURED,
    Before,
    Episode,
    Judgement,
    Telling,
    Terms,
    acknowledged,
    hold_of,
    level_of,
    matches,
    step,
    telling,
)

START = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
WELL, WARNING, CRITICAL = Judgement(""), Judgement("warning"), Judgement("critical")
judgements = st.sampled_from([WELL, WELL, WARNING, CRITICAL, UNMEASURED])
terms_of = st.builds(Terms, for_s=st.sampled_from([0, 60, 180]), hold_s=st.sampled_from([0, 60, 300]))


def minute(n: int) -> datetime:
    return START + timedelta(minutes=n)


def played(course: list[Judgement], terms: Terms) -> tuple[list[Episode], list[tuple[int, int, str]]]:
    """Every episode, and (episode, minute, what happened), by a new episode after each that ends."""
    episodes: list[Episode] = []
    log: list[tuple[int, int, str]] = []
    now: Episode | None = None
    before: Before | None = None
    for n, judgement in enumerate(course):
        found, happened = step(now, judgement, minute(n), terms, before=before)
        if now is None and found is not None:
            episodes.append(found)
        if found is not None:
            episodes[-1] = found
        log += [(len(episodes) - 1, n, kind) for kind in happened]
        if found is not None and found.state == RESOLVED:
            if found.fired_at is not None and found.resolved_at is not None:
                before = Before(found.resolved_at, found.flaps)
            found = None
        now = found
    return episodes, log


@given(st.lists(judgements, max_size=80), terms_of)
def test_each_episode_fires_once_after_its_time_and_ends_once(course: list[Judgement], terms: Terms) -> None:
    episodes, log = played(course, terms)
    for number, episode in enumerate(episodes):
        kinds = [kind for each, _, kind in log if each == number]
        assert kinds.count("fired") == (episode.fired_at is not None)
        assert kinds.count("resolved") + kinds.count("cleared") == (episode.state == RESOLVED)
        if episode.state == RESOLVED:
            assert kinds[-1] == ("resolved" if episode.fired_at is not None else "cleared")
        if episode.fired_at is not None:
            assert episode.fired_at - episode.started_at >= timedelta(seconds=terms.for_s)
        assert kinds.count("worsened") <= 1 + kinds.count("eased")


@given(st.lists(judgements, max_size=80), terms_of)
def test_an_end_takes_a_whole_hold_of_measured_calm_or_an_hour_of_nothing(course: list[Judgement], terms: Terms) -> None:
    episodes, log = played(course, terms)
    for number, n, kind in log:
        if kind != "resolved":
            continue
        hold = int(hold_of(terms, episodes[number].flaps).total_seconds() // 60)
        calm = all(judgement == WELL for judgement in course[n - hold : n + 1])
        nothing = all(judgement is UNMEASURED for judgement in course[max(0, n - 60) : n + 1]) and n >= 60
        assert calm or nothing


@given(st.lists(judgements, max_size=60), terms_of)
def test_nothing_measured_moves_nothing_forward(course: list[Judgement], terms: Terms) -> None:
    now: Episode | None = None
    for n, judgement in enumerate(course):
        before, (now, happened) = now, step(now, judgement, minute(n), terms)
        if judgement is UNMEASURED:
            assert not {"fired", "worsened", "pending"} & set(happened)
            assert before is None or now is not None
        if now is not None and now.state == RESOLVED:
            now = None


@given(st.lists(st.tuples(judgements, st.sampled_from(["", "silenced", "inhibited", "elsewhere"]), st.booleans()), max_size=80), terms_of)
def test_whoever_was_told_of_a_fire_hears_of_its_end_and_nobody_else_does(course: list[tuple[Judgement, str, bool]], terms: Terms) -> None:
    now: Episode | None = None
    state = Telling()
    heard: list[str] = []
    for n, (judgement, quiet, ack) in enumerate(course):
        now, happened = step(now, judgement, minute(n), terms)
        fired = now is not None and now.state in FIRED
        state, events = telling(state, happened, quiet=quiet, fired=fired)
        heard += [kind for kind, muted in events if not muted]
        if now is not None and now.state == RESOLVED:
            told = {"fired", "worsened", "unsilenced", "uninhibited"} & set(heard)
            assert ("resolved" in heard) == bool(told)
            assert heard.count("fired") <= 1 and heard.count("resolved") <= 1
            now, state, heard = None, Telling(), []
        elif fired and not quiet:
            assert heard, "it is out, nothing keeps people from being told, and nobody knows"
        if ack and now is not None and now.state in FIRED:
            now = acknowledged(now)


def test_the_states_in_their_order() -> None:
    terms = Terms(for_s=120, hold_s=120)
    course = [WELL, WARNING, WARNING, WARNING, CRITICAL, WARNING, WARNING, WARNING, WELL, WELL, WELL]
    episodes, log = played(course, terms)
    assert [(n, kind) for _, n, kind in log] == [(1, "pending"), (3, "fired"), (4, "worsened"), (7, "eased"), (10, "resolved")]
    [episode] = episodes
    assert (episode.started_at, episode.fired_at, episode.resolved_at) == (minute(1), minute(3), minute(10))


def test_what_was_acknowledged_fires_again_when_it_worsens_and_only_then() -> None:
    episode = Episode(ACKNOWLEDGED, "warning", START, fired_at=START)
    same, happened = step(episode, WARNING, minute(1), Terms())
    assert same is not None and same.state == ACKNOWLEDGED and happened == ()
    worse, happened = step(same, CRITICAL, minute(2), Terms())
    assert worse is not None and worse.state == FIRING and happened == ("worsened",)


def test_what_flaps_is_held_longer_each_time() -> None:
    terms = Terms(for_s=0, hold_s=60)
    course = ([CRITICAL] + [WELL] * 70) * 1 + ([CRITICAL] + [WELL] * 5) * 12
    episodes, log = played(course, terms)
    fired = [n for _, n, kind in log if kind == "fired"]
    assert fired[:2] == [0, 71] and len(fired) < 8, "thirteen spikes, fewer alerts"
    assert [episode.flaps for episode in episodes[:4]] == [0, 0, 1, 2]


def test_a_pending_that_is_not_measured_waits_and_is_let_go_after_an_hour() -> None:
    terms = Terms(for_s=120)
    pending, _ = step(None, WARNING, minute(0), terms)
    for n in range(1, 61):
        assert pending is not None
        pending, happened = step(pending, UNMEASURED, minute(n), terms)
        assert happened == () and pending is not None and pending.state == PENDING
    gone, happened = step(pending, UNMEASURED, minute(61), terms)
    assert gone is not None and gone.state == RESOLVED and happened == ("cleared",)


def test_an_episode_that_is_over_takes_no_step() -> None:
    with pytest.raises(ValueError, match="begin a new one"):
        step(Episode(RESOLVED, "warning", START, resolved_at=START), WELL, minute(1), Terms())
    with pytest.raises(ValueError, match="only what fires"):
        acknowledged(Episode(PENDING, "warning", START))


@pytest.mark.parametrize(
    ("value", "comparison", "warn", "critical", "baseline", "level", "bound"),
    [
        (0.009, "above", 0.01, 0.05, None, "", 0.01),
        (0.01, "above", 0.01, 0.05, None, "warning", 0.01),
        (0.05, "above", 0.01, 0.05, None, "critical", 0.05),
        (0.5, "above", None, 0.05, None, "critical", 0.05),
        (3.0, "below", 5.0, 1.0, None, "warning", 5.0),
        (1.0, "below", 5.0, 1.0, None, "critical", 1.0),
        (9.0, "below", 5.0, 1.0, None, "", 5.0),
        (400.0, "times_baseline", 2.0, 5.0, 100.0, "warning", 200.0),
        (500.0, "times_baseline", 2.0, 5.0, 100.0, "critical", 500.0),
        (199.0, "times_baseline", 2.0, 5.0, 100.0, "", 200.0),
    ],
)
def test_levels(
    value: float, comparison: str, warn: float | None, critical: float | None, baseline: float | None, level: str, bound: float
) -> None:
    found = level_of(value, comparison=comparison, warn=warn, critical=critical, baseline=baseline)
    assert (found.level, found.threshold, found.measured) == (level, bound, True)


def test_without_a_baseline_or_a_number_nothing_is_said() -> None:
    assert not level_of(5.0, comparison="times_baseline", warn=2.0, critical=None).measured
    assert not level_of(5.0, comparison="times_baseline", warn=2.0, critical=None, baseline=0.0).measured
    assert not level_of(float("nan"), comparison="above", warn=2.0, critical=None).measured


@pytest.mark.parametrize(
    ("matcher", "matched"),
    [
        ({"rule": "errors"}, True),
        ({"rule": "latency"}, False),
        ({"subject": "chat"}, True),
        ({"subject": "ch*"}, True),
        ({"subject": "em*"}, False),
        ({"severity": "warning"}, True),
        ({"severity": "critical"}, False),
        ({"labels": {"layer": "application"}, "rule": "errors"}, True),
        ({"labels": {"layer": "data"}}, False),
        ({}, False),
        ({"rule": "", "labels": {}}, False),
    ],
)
def test_what_a_silence_matches(matcher: dict[str, object], matched: bool) -> None:
    assert matches(matcher, rule="errors", subject="chat", severity="warning", labels={"layer": "application"}) is matched
