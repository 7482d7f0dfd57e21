"""Error budgets and how fast they burn. Pure.

A burn rate of 1 uses the budget up exactly at the end of the SLO's window. A pair of windows holds where both burn at its factor or faster:
the long one says that it matters, the short one that it still goes on. Nothing counted is nothing known, never a good share.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

from apps.alerts.choices import BURNS, RANK, Burn

WHOLE = 100_000
"""All requests, in the unit of objectives."""
LEAST_BAD = 3
"""Fewer bad requests in the long window are no burning, whatever their share is."""
SHORT_PART = 12
"""The short window must have this part of the long one's least number of requests."""
WINDOWS_S = tuple(sorted({seconds for burn in BURNS for seconds in (burn.long_s, burn.short_s)}))
"""Every window that a judgement takes, seconds."""


class Counted(NamedTuple):
    """Requests that an SLO speaks of, and those of them that were not good."""

    total: int
    bad: int


NOTHING = Counted(0, 0)


@dataclass(frozen=True, slots=True)
class Pair:
    """What one pair of windows says. long, short: burn rates; None where too little was counted."""

    burn: Burn
    long: float | None
    short: float | None
    burning: bool

    @property
    def document(self) -> dict[str, Any]:
        """As evidence keeps it."""
        return {
            "factor": self.burn.factor,
            "long_s": self.burn.long_s,
            "short_s": self.burn.short_s,
            "severity": self.burn.severity,
            "long": self.long,
            "short": self.short,
            "burning": self.burning,
        }


@dataclass(frozen=True, slots=True)
class Burning:
    """level: the worst severity that burns; None where no pair could say anything. rate: the burn rate of the pair that decides."""

    level: str | None
    rate: float | None
    threshold: float | None
    pairs: tuple[Pair, ...]


def burn_rate(counted: Counted, objective: int) -> float | None:
    """How many times faster than allowed the budget burns; None where nothing was counted. objective: in 1/100,000."""
    if counted.total <= 0:
        return None
    return counted.bad * WHOLE / (counted.total * (WHOLE - objective))


def burning(windows: Mapping[int, Counted], objective: int, *, min_requests: int) -> Burning:
    """Judge every pair of ``choices.BURNS`` by what was counted in its windows (seconds -> counted)."""
    pairs = []
    for burn in BURNS:
        long, short = windows.get(burn.long_s, NOTHING), windows.get(burn.short_s, NOTHING)
        enough = long.total >= max(1, min_requests) and short.total >= max(1, min_requests // SHORT_PART)
        rates = (burn_rate(long, objective), burn_rate(short, objective)) if enough else (None, None)
        holds = all(rate is not None and rate >= burn.factor for rate in rates) and long.bad >= LEAST_BAD
        pairs.append(Pair(burn, *rates, holds))
    known = [pair for pair in pairs if pair.long is not None]
    if not known:
        return Burning(None, None, None, tuple(pairs))
    held = [pair for pair in known if pair.burning]
    if held:
        worst = max(held, key=lambda pair: (RANK[pair.burn.severity], pair.burn.factor))
        return Burning(worst.burn.severity, worst.long, worst.burn.factor, tuple(pairs))
    return Burning("", known[0].long, known[0].burn.factor, tuple(pairs))


def budget_used(counted: Counted, objective: int) -> float | None:
    """Which part of the error budget of what was counted is used up: 0.5 is half, above 1 it is overspent. None: nothing was counted."""
    return burn_rate(counted, objective)


def bad_left(counted: Counted, objective: int) -> int:
    """How many more requests may go wrong among as many as were counted; below 0: so many too many went wrong."""
    return counted.total * (WHOLE - objective) // WHOLE - counted.bad
