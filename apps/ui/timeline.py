"""What a timeline shows: one entry per thing that happened, whoever recorded it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from apps.ui.status import ICON_OF_TONE, Tone


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that happened. ``at``: when, aware; ``who``: a person, a command or empty; ``icon``: of ``ICONS``, else the tone's."""

    at: datetime
    title: str
    text: str = ""
    who: str = ""
    tone: Tone = "neutral"
    icon: str = ""
    url: str = ""

    @property
    def icon_name(self) -> str:
        """The icon on the line."""
        return self.icon or ICON_OF_TONE[self.tone]
