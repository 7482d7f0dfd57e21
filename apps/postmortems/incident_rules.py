"""How an incident moves and in what order its times lie. Pure.

The order of times is two chains that share their ends: *began* <= *detected* <= *acknowledged* <= *resolved* <= *closed*, and
*began* <= *mitigated* <= *resolved*. Mitigated is not held against detected: what was found out afterwards was over before anybody saw it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta
from typing import Any

from apps.postmortems import incident_choices as choices

MOVES: dict[str, tuple[str, ...]] = {
    choices.TRIAGE: (choices.ACTIVE, choices.MITIGATED, choices.RESOLVED, choices.CANCELLED, choices.MERGED),
    choices.ACTIVE: (choices.MITIGATED, choices.RESOLVED, choices.CANCELLED, choices.MERGED),
    choices.MITIGATED: (choices.ACTIVE, choices.RESOLVED, choices.CANCELLED, choices.MERGED),
    choices.RESOLVED: (choices.CLOSED, choices.ACTIVE, choices.MERGED),
    choices.CLOSED: (choices.ACTIVE,),
    choices.CANCELLED: (choices.TRIAGE,),
    choices.MERGED: (choices.TRIAGE,),
}
"""State -> the states that it may become."""
VERBS = {
    choices.TRIAGE: "taken up again",
    choices.ACTIVE: "active",
    choices.MITIGATED: "mitigated",
    choices.RESOLVED: "resolved",
    choices.CLOSED: "closed",
    choices.CANCELLED: "cancelled",
    choices.MERGED: "merged",
}
NEEDS: dict[str, tuple[str, ...]] = {
    choices.TRIAGE: (),
    choices.ACTIVE: (),
    choices.MITIGATED: ("mitigated_at",),
    choices.RESOLVED: ("mitigated_at", "resolved_at"),
    choices.CLOSED: ("mitigated_at", "resolved_at", "closed_at"),
}
"""State -> the times that stand exactly then. Cancelled and merged keep what was written."""
CHAINS = (
    ("started_at", "detected_at", "acknowledged_at", "resolved_at", "closed_at"),
    ("started_at", "mitigated_at", "resolved_at"),
)
AHEAD = timedelta(minutes=2)
"""So far a person's clock may be ahead of ours."""
OLDEST = timedelta(days=400)
"""Nobody writes an incident of longer ago; a date so far back is a typing mistake."""


class Disordered(ValueError):
    """Times or a move that cannot be; the message says what to do. field: the time, or ``state``."""

    def __init__(self, message: str, field: str) -> None:
        super().__init__(message)
        self.message, self.field = message, field


@dataclass(frozen=True, slots=True)
class Times:
    """When things happened to an incident; None: not yet, or not known."""

    started_at: datetime
    detected_at: datetime
    acknowledged_at: datetime | None = None
    mitigated_at: datetime | None = None
    resolved_at: datetime | None = None
    closed_at: datetime | None = None

    def known(self) -> dict[str, datetime]:
        """Name -> moment of those that are known."""
        return {item.name: value for item in fields(self) if (value := getattr(self, item.name)) is not None}


def times_of(row: Any) -> Times:
    """Of anything that has these six attributes."""
    return Times(*(getattr(row, item.name) for item in fields(Times)))


def times_check(times: Times, *, now: datetime) -> None:
    """Raises Disordered where a time lies in the future, too far back, or before one that it follows."""
    known = times.known()
    for name, at in known.items():
        label = choices.TIMES[name]
        if at > now + AHEAD:
            raise Disordered(f"{label} lies in the future ({_text(at)}): write when it was, in UTC", name)
        if at < now - OLDEST:
            raise Disordered(f"{label} lies more than a year back ({_text(at)}): look at its year", name)
    for chain in CHAINS:
        before = ""
        for name in chain:
            if name not in known:
                continue
            if before and known[name] < known[before]:
                raise Disordered(
                    f"{choices.TIMES[name]} ({_text(known[name])}) is before {choices.TIMES[before].lower()} ({_text(known[before])}): "
                    "change one of the two",
                    name,
                )
            before = name


def state_check(state: str, times: Times) -> None:
    """Raises Disordered where a state and its times contradict each other."""
    if state not in NEEDS:
        return
    for name in ("mitigated_at", "resolved_at", "closed_at"):
        there, label = getattr(times, name) is not None, choices.TIMES[name].lower()
        if name in NEEDS[state] and not there:
            raise Disordered(f"an incident that is {VERBS[state]} has a time at which it was {label}: write it", name)
        if name not in NEEDS[state] and there:
            raise Disordered(f"this incident is not {label} yet: leave that time empty, or move it on first", name)


def moved(times: Times, before: str, after: str, *, at: datetime, now: datetime) -> Times:
    """The times of an incident that goes from one state to another at a moment. Raises Disordered.

    Going on sets what the new state needs (what was skipped happened at the same moment); going back takes away what does not hold any
    more. Being resolved is also being acknowledged.
    """
    if after not in MOVES.get(before, ()):
        allowed = ", ".join(VERBS[one] for one in MOVES.get(before, ()))
        raise Disordered(
            f"an incident that is {VERBS.get(before, before)} cannot become {VERBS.get(after, after)}: it can become {allowed}", "state"
        )
    changed: dict[str, datetime | None] = {}
    if after in NEEDS:
        for name in ("mitigated_at", "resolved_at", "closed_at"):
            needed = name in NEEDS[after]
            changed[name] = (getattr(times, name) or at) if needed else None
    found = replace(times, **changed)
    times_check(found, now=now)
    if found.resolved_at is not None and found.acknowledged_at is None:
        found = replace(found, acknowledged_at=max(found.detected_at, min(at, found.resolved_at)))
    return found


def window_check(since: datetime | None, until: datetime | None, *, now: datetime) -> None:
    """Raises Disordered where an impact window has no length, no beginning, or lies in the future."""
    if since is None and until is None:
        return
    if since is None:
        raise Disordered("write from when people felt it", "impact_from")
    if since > now + AHEAD:
        raise Disordered("the impact cannot begin in the future", "impact_from")
    if until is not None and until > now + AHEAD:
        raise Disordered("the impact cannot end in the future: leave the end empty while it goes on", "impact_until")
    if until is not None and until <= since:
        raise Disordered("the impact ends after it begins: change one of the two", "impact_until")


@dataclass(frozen=True, slots=True)
class ClosingFacts:
    """What closing looks at. thorough: the severity takes a postmortem."""

    state: str
    thorough: bool
    summary: str
    commander: bool
    impact_from: datetime | None
    impact_until: datetime | None


def closing_gaps(facts: ClosingFacts) -> list[str]:
    """What is still to be done before an incident can be closed, each as a clause; none: it can."""
    found = []
    if facts.state != choices.RESOLVED:
        found.append("resolve it first")
    if not facts.summary.strip():
        found.append("write a summary: what happened, in two or three sentences")
    if facts.thorough and not facts.commander:
        found.append("say who was commander")
    if facts.impact_from is not None and facts.impact_until is None:
        found.append("say when the impact ended")
    if facts.thorough and facts.impact_from is None:
        found.append("say from when to when people felt it, or that nobody did, by a lower severity")
    return found


def merge_check(child: object, into: object, parents: Mapping[object, object | None]) -> None:
    """Raises Disordered where ``child`` cannot be merged into ``into``. parents: incident -> what it was merged into, up from ``into``."""
    if child == into:
        raise Disordered("an incident cannot be merged into itself: choose another one", "into")
    seen, at = set(), into
    while at is not None and at not in seen:
        if at == child:
            raise Disordered("that incident was merged into this one: merge them the other way round, or take it up again first", "into")
        seen.add(at)
        at = parents.get(at)
    if parents.get(into) is not None:
        raise Disordered("that incident was itself merged into another one: merge into that one", "into")


def joins(subject: str, kind: str, scopes: Mapping[object, Mapping[str, frozenset[str]]]) -> object | None:
    """Which open incident an alert belongs to, the first that fits: one that names what the alert is about.

    scopes: incident -> ``{"route": names, "provider": names}``, the order in which to look. An alert about everything, or about what no
    incident names, belongs to none.
    """
    if not subject:
        return None
    return next((key for key, scope in scopes.items() if subject in scope.get(kind, frozenset())), None)


def _text(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M} UTC"
