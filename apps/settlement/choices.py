"""States of a journal as the shipper sees it: value, label, tone, icon."""

from __future__ import annotations

from typing import NamedTuple


class State(NamedTuple):
    value: str
    label: str
    tone: str
    icon: str


LIVE, DRAINED, WRITTEN_OFF = "live", "drained", "written_off"

JOURNAL_STATES: dict[str, State] = {
    state.value: state
    for state in (
        State(LIVE, "Being settled", "good", "play"),
        State(DRAINED, "Settled to its end", "neutral", "check"),
        State(WRITTEN_OFF, "Written off", "bad", "cross"),
    )
}
