"""The status vocabulary: a status is always a word, a tone and an icon, so that no one has to tell colours apart.

Unknown is a tone of its own and never green; a rollup shows the worst of its parts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

Tone = Literal["good", "info", "neutral", "unknown", "warn", "bad"]

SEVERITY: tuple[Tone, ...] = ("good", "info", "neutral", "unknown", "warn", "bad")
"""From the best to the worst: what a rollup compares by."""

ICON_OF_TONE: dict[Tone, str] = {
    "good": "check",
    "info": "info",
    "neutral": "dash",
    "unknown": "question",
    "warn": "warning",
    "bad": "cross",
}


@dataclass(frozen=True, slots=True)
class Status:
    """What a page shows for a state. ``value``: the state's name in data and URLs."""

    value: str
    label: str
    tone: Tone
    icon: str = ""
    hint: str = ""

    @property
    def icon_name(self) -> str:
        """The icon drawn beside the word."""
        return self.icon or ICON_OF_TONE[self.tone]


UNKNOWN = Status("unknown", "Unknown", "unknown", hint="Nothing has been heard.")


def worst(statuses: Iterable[Status]) -> Status:
    """The worst of many; UNKNOWN when there is none, because silence is not health."""
    return max(statuses, key=lambda status: SEVERITY.index(status.tone), default=UNKNOWN)
