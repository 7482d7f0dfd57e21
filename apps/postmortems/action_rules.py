"""States of action items, when somebody is told of one, and what a bound check makes of it. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta

from apps.ui.status import Status

OPEN, DONE, DECLINED = "open", "done", "declined"
STATES: dict[str, Status] = {
    status.value: status
    for status in (
        Status(OPEN, "Open", "info", "progress"),
        Status(DONE, "Done", "good"),
        Status(DECLINED, "Declined", "neutral", "dash", hint="It will not be done; its reason is kept."),
    )
}
PRIORITIES: dict[str, Status] = {
    status.value: status
    for status in (
        Status("p1", "P1", "bad", "warning", hint="It would happen again tomorrow."),
        Status("p2", "P2", "warn", "warning", hint="It would happen again."),
        Status("p3", "P3", "info", "info", hint="It would help."),
    )
}
PASSES, FAILS, UNKNOWN = "passes", "fails", "unknown"
VERDICTS: dict[str, Status] = {
    status.value: status
    for status in (
        Status(PASSES, "Check passes", "good"),
        Status(FAILS, "Check fails", "bad"),
        Status(UNKNOWN, "Check says nothing", "unknown"),
    )
}
EARLY = timedelta(days=14)
"""How long before its due date somebody is told of an action for the first time."""
AGAIN = timedelta(days=7)
"""How often they are told of one that is overdue."""


def nudge_of(due_on: date, today: date) -> str:
    """What is to be told today of an open action, as a key that is told once: two weeks before it is due, on the day that it is due, and
    each week after that; empty: nothing (yet). A key holds until the next one, so a day without a look loses nothing."""
    if today < due_on - EARLY:
        return ""
    if today < due_on:
        return f"soon:{due_on}"
    return f"due:{due_on}:{(today - due_on).days // AGAIN.days}"


@dataclass(frozen=True, slots=True)
class Move:
    """What a check makes of an action: its state from now on, and why in a few words."""

    state: str
    why: str


def moved(state: str, verdict: str) -> Move | None:
    """None: it stays as it is. An open action is done once its check passes; a done one opens again once it fails; what was declined stays
    declined, and a check that says nothing moves nothing."""
    if state == OPEN and verdict == PASSES:
        return Move(DONE, "its check passes")
    if state == DONE and verdict == FAILS:
        return Move(OPEN, "its check fails again")
    return None
