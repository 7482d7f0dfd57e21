"""How a number stands against the time before: by how much, and whether that is good."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from apps.ui.format import THIN
from apps.ui.status import Tone

Better = Literal["more", "less", "neither"]


@dataclass(frozen=True, slots=True)
class Delta:
    """A change in words. ``direction``: ``up``, ``down`` or ``same``, drawn as an arrow; ``tone`` says whether it is welcome."""

    text: str
    direction: Literal["up", "down", "same"]
    tone: Tone


def delta(now: float | None, before: float | None, *, better: Better = "neither") -> Delta | None:
    """``now`` against ``before``, in percent. None where there is nothing to compare with.

    ``better``: whether more or less is welcome; a change of less than half a percent is none. From nothing to something is
    "new", because no percentage says it.
    """
    if now is None or before is None:
        return None
    if before == 0:
        return None if now == 0 else Delta("new", "up", "neutral")
    share = (now - before) / abs(before)
    if abs(share) < 0.005:
        return Delta("no change", "same", "neutral")
    up = share > 0
    tone: Tone = "neutral" if better == "neither" else "good" if up == (better == "more") else "bad"
    size = abs(share)
    text = f"{size * 100:.0f}{THIN}%" if size < 9.995 else f"{size:.0f}×" if size < 999.5 else "over 1000×"
    return Delta(text, "up" if up else "down", tone)
