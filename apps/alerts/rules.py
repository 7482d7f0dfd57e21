"""When an alert begins, fires, worsens, eases and ends. Pure: no clock, no database.

Invariants, for any course of judgements:

* An episode fires at most once, and only after its rule has held for ``for_s``; it is worsened at most once for each time it eased.
* An episode that fired ends with ``resolved``, exactly once; one that did not fire ends with ``cleared``. None is dropped otherwise.
* What is not measured neither fires nor ends anything: what is known is kept for ``NO_DATA_S``, then let go.
* An episode ends only after the rule has not held for the whole hold, without a break. Each episode that follows shortly after another
  one doubles its hold, up to ``MOST_HOLD_S``: what flaps is told of less and less often.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from apps.alerts.choices import (
    ACKNOWLEDGED,
    BELOW,
    CRITICAL,
    FIRED,
    FIRING,
    PENDING,
    RANK,
    RESOLVED,
    TIMES_BASELINE,
    WARNING,
)

NO_DATA_S = 3_600
"""For so long what was known of a subject is kept while nothing is measured of it."""
FLAP_S = 3_600
"""An episode that begins so soon after the one before is one that flaps."""
MOST_HOLD_S = 3_600
MOST_FLAPS = 6


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a rule says of a subject in one minute. level: ``""``, ``warning`` or ``critical``. measured: whether there was enough to
    judge by; without, ``level`` says nothing. threshold: the bound that ``level`` is of, or the nearest one, in the series' unit."""

    level: str = ""
    measured: bool = True
    value: float | None = None
    threshold: float | None = None


UNMEASURED = Judgement(measured=False)


@dataclass(frozen=True, slots=True)
class Terms:
    """How long a rule must hold before its alert fires, and not hold before it ends; seconds."""

    for_s: int = 0
    hold_s: int = 300


@dataclass(frozen=True, slots=True)
class Episode:
    """An alert, as far as the machine goes; fields as ``apps.alerts.models.Alert``'s."""

    state: str
    severity: str
    started_at: datetime
    fired_at: datetime | None = None
    clear_since: datetime | None = None
    eased_since: datetime | None = None
    no_data_since: datetime | None = None
    resolved_at: datetime | None = None
    flaps: int = 0


@dataclass(frozen=True, slots=True)
class Before:
    """The episode before of the same rule and subject, which fired."""

    resolved_at: datetime
    flaps: int = 0


def level_of(value: float, *, comparison: str, warn: float | None, critical: float | None, baseline: float | None = None) -> Judgement:
    """What a measured value means. With ``times_baseline`` the bounds are times the baseline; without one nothing can be said.

    Of a rule with both bounds the worse one that is reached counts; which is which, the comparison tells.
    """
    if not math.isfinite(value):
        return UNMEASURED
    times = 1.0
    if comparison == TIMES_BASELINE:
        if baseline is None or baseline <= 0:
            return UNMEASURED
        times = baseline
    bounds = [(level, bound * times) for level, bound in ((CRITICAL, critical), (WARNING, warn)) if bound is not None]
    for level, bound in bounds:
        if value <= bound if comparison == BELOW else value >= bound:
            return Judgement(level, True, value, bound)
    return Judgement("", True, value, bounds[-1][1] if bounds else None)


def hold_of(terms: Terms, flaps: int) -> timedelta:
    """How long the rule must not hold before the episode is over."""
    return timedelta(seconds=min(terms.hold_s * 2 ** min(flaps, MOST_FLAPS), max(MOST_HOLD_S, terms.hold_s)))


def step(
    episode: Episode | None, judgement: Judgement, at: datetime, terms: Terms, *, before: Before | None = None
) -> tuple[Episode | None, tuple[str, ...]]:
    """One minute on: the episode as it is then, None where there is none, and what happened (``choices.EVENT_KINDS``), in order.

    ``before`` is looked at only where an episode begins.
    """
    if episode is not None and episode.state == RESOLVED:
        raise ValueError("an episode that is over takes no further step: begin a new one")
    if not judgement.measured:
        return (None, ()) if episode is None else _unmeasured(episode, at)
    if episode is None:
        if not judgement.level:
            return None, ()
        flaps = 0
        if before is not None and at - before.resolved_at <= timedelta(seconds=FLAP_S):
            flaps = min(before.flaps + 1, MOST_FLAPS)
        begun = Episode(PENDING, judgement.level, at, flaps=flaps)
        if terms.for_s <= 0:
            return replace(begun, state=FIRING, fired_at=at), ("fired",)
        return begun, ("pending",)
    happened: tuple[str, ...] = ()
    if episode.no_data_since is not None:
        happened = ("data_back",) if episode.state in FIRED else ()
        episode = replace(episode, no_data_since=None)
    if episode.state == PENDING:
        found, events = _pending(episode, judgement, at, terms)
    elif judgement.level:
        found, events = _holds(episode, judgement.level, at, terms)
    else:
        found, events = _clear(episode, at, terms)
    return found, (*happened, *events)


def _pending(episode: Episode, judgement: Judgement, at: datetime, terms: Terms) -> tuple[Episode, tuple[str, ...]]:
    if not judgement.level:
        return replace(episode, state=RESOLVED, resolved_at=at), ("cleared",)
    if at - episode.started_at >= timedelta(seconds=terms.for_s):
        return replace(episode, state=FIRING, severity=judgement.level, fired_at=at), ("fired",)
    return replace(episode, severity=judgement.level), ()


def _holds(episode: Episode, level: str, at: datetime, terms: Terms) -> tuple[Episode, tuple[str, ...]]:
    """Out, and the rule holds: it may worsen at once, and ease after the hold."""
    episode = replace(episode, clear_since=None)
    if RANK[level] > RANK[episode.severity]:
        # whoever acknowledged a warning has not seen this
        return replace(episode, state=FIRING, severity=level, eased_since=None), ("worsened",)
    if RANK[level] == RANK[episode.severity]:
        return replace(episode, eased_since=None), ()
    if episode.eased_since is None:
        return replace(episode, eased_since=at), ()
    if at - episode.eased_since >= hold_of(terms, episode.flaps):
        return replace(episode, severity=level, eased_since=None), ("eased",)
    return episode, ()


def _clear(episode: Episode, at: datetime, terms: Terms) -> tuple[Episode, tuple[str, ...]]:
    since = episode.clear_since or at
    if at - since >= hold_of(terms, episode.flaps):
        return replace(episode, state=RESOLVED, resolved_at=at, clear_since=since), ("resolved",)
    return replace(episode, clear_since=since, eased_since=episode.eased_since or at), ()


def _unmeasured(episode: Episode, at: datetime) -> tuple[Episode, tuple[str, ...]]:
    if episode.no_data_since is None:
        # what was about to end has to show again that it is over
        found = replace(episode, no_data_since=at, clear_since=None, eased_since=None)
        return found, ("no_data",) if episode.state in FIRED else ()
    if at - episode.no_data_since < timedelta(seconds=NO_DATA_S):
        return episode, ()
    over = "resolved" if episode.state in FIRED else "cleared"
    return replace(episode, state=RESOLVED, resolved_at=at), (over,)


def acknowledged(episode: Episode) -> Episode:
    """As it is when somebody looks after it. Raises ValueError where it does not fire."""
    if episode.state not in FIRED:
        raise ValueError("only what fires can be acknowledged")
    return replace(episode, state=ACKNOWLEDGED)


# --- who is told -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Telling:
    """Whether anybody was told of an episode, and what keeps them from it now."""

    told: bool = False
    quiet: str = ""
    """``silenced``, ``inhibited``, or another word for a reason that is no event by itself; empty: nothing."""


def telling(before: Telling, happened: tuple[str, ...], *, quiet: str, fired: bool) -> tuple[Telling, list[tuple[str, bool]]]:
    """What people are told of: each event with whether it is muted, after those that follow from silences and worse alerts.

    quiet: what keeps people from being told now. fired: the episode is out after what happened. Whoever was told that something fired is
    told that it ended, whatever is quiet then; whoever was not, is told as soon as nothing is quiet any more and it still fires.
    """
    events: list[tuple[str, bool]] = []
    told = before.told
    over = any(kind in ("resolved", "cleared") for kind in happened)
    began = any(kind in ("fired", "worsened") for kind in happened)
    if quiet in ("silenced", "inhibited") and quiet != before.quiet and fired and not over:
        events.append((quiet, True))
    for kind in happened:
        if kind in ("fired", "worsened"):
            events.append((kind, bool(quiet)))
            told = told or not quiet
        elif kind == "resolved":
            events.append((kind, not told))
        else:
            events.append((kind, True))
    if before.quiet and not quiet and fired and not over and not began:
        # a reminder also to those who knew: they asked not to hear of it until now
        events.append(("unsilenced" if before.quiet == "silenced" else "uninhibited", False))
        told = True
    return Telling(told, quiet if fired and not over else ""), events


def matches(matcher: Mapping[str, object], *, rule: str, subject: str, severity: str, labels: Mapping[str, object]) -> bool:
    """Whether everything holds that a silence says; one that says nothing matches nothing."""
    said = {key: value for key, value in matcher.items() if value not in ("", {}, None)}
    if not said:
        return False
    wanted = said.get("subject")
    if isinstance(wanted, str):
        if wanted.endswith("*"):
            if not subject.startswith(wanted[:-1]):
                return False
        elif wanted != subject:
            return False
    if "rule" in said and said["rule"] != rule:
        return False
    if "severity" in said and said["severity"] != severity:
        return False
    of = said.get("labels", {})
    return not isinstance(of, Mapping) or all(str(labels.get(name, "")) == str(value) for name, value in of.items())
