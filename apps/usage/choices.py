"""States of a usage record as pages show them: value, label, tone, icon."""

from __future__ import annotations

from typing import NamedTuple


class State(NamedTuple):
    """value: as stored. label: words for people. tone: of the status vocabulary. icon: name in the icon set."""

    value: str
    label: str
    tone: str
    icon: str


OUTCOMES: dict[str, State] = {
    state.value: state
    for state in (
        State("ok", "Answered", "good", "check"),
        State("error", "Failed", "bad", "cross"),
        State("cancelled", "Cancelled by the app", "neutral", "stop"),
        State("refused", "Refused", "warning", "shield"),
        State("unknown", "Outcome unknown", "unknown", "question"),
    )
}
"""``apps.contracts.usage.Outcome`` for pages."""
