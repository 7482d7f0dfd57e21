"""When a key's spend in an hour is not as it was: by its own history at that time of day. Pure; nano-dollars.

Invariants: a key with fewer than ``LEAST_DAYS`` days of history is never judged. An hour within what the key spent at that time of day
before is never flagged. Spending more in an hour that is flagged leaves it flagged.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from statistics import median
from typing import Any

HISTORY_DAYS = 14
LEAST_DAYS = 5
"""Days that a key must have been in use before it is judged."""
TIMES_MEDIAN = 3
SPREADS = 5
"""Robust standard deviations (1.4826 times the median absolute deviation) above the median."""
TIMES_HIGHEST = 1.5
LEAST_SHARE = 0.01
"""Of what the organisation spends in a mean day: below, an hour is not worth anybody's attention."""
_ROBUST = 1.4826


@dataclass(frozen=True, slots=True)
class KeyEvidence:
    """What says that a key ran away. spent: in the worst hour; usual: its median at that time of day; highest: in that hour or the ones
    beside it, on the ``days`` before; allowed: what would not have been flagged; hour: the worst one (ISO 8601); hours: flagged ones."""

    spent: int
    usual: int
    highest: int
    allowed: int
    days: int
    hour: str
    requests: int
    hours: int = 1

    @property
    def document(self) -> dict[str, Any]:
        """As it is kept."""
        return asdict(self)


def judged_hours(now: datetime) -> list[datetime]:
    """The hours that are judged: the running one, because a runaway is not to wait, and the last whole one."""
    hour = now.replace(minute=0, second=0, microsecond=0)
    return [hour, hour - timedelta(hours=1)]


def same_hours(hour: datetime) -> list[datetime]:
    """That hour of the ``HISTORY_DAYS`` days before."""
    return [hour - timedelta(days=days) for days in range(1, HISTORY_DAYS + 1)]


def beside_hours(hour: datetime) -> list[datetime]:
    """The hours before and after each of ``same_hours``: work that begins earlier or later some day is no runaway."""
    return [at + timedelta(hours=way) for at in same_hours(hour) for way in (-1, 1)]


def runaway(*, hour: datetime, spent: int, requests: int, same: Sequence[int], beside: Sequence[int], mean_day: int) -> KeyEvidence | None:
    """The evidence where an hour is out of proportion; None where it is not, or where too little is known.

    same: the key's spend at that hour on each day since it was first used, nothing included; beside: in the hours around. mean_day: what
    the whole organisation spends in a day.
    """
    if len(same) < LEAST_DAYS or mean_day <= 0:
        return None
    usual = median(same)
    spread = _ROBUST * median([abs(one - usual) for one in same])
    highest = max(*same, *beside, 0)
    allowed = int(max(TIMES_MEDIAN * usual, usual + SPREADS * spread, TIMES_HIGHEST * highest, usual + LEAST_SHARE * mean_day))
    if spent <= allowed:
        return None
    return KeyEvidence(spent, int(usual), highest, allowed, len(same), hour.isoformat(), requests)


def longer(known: dict[str, Any], found: KeyEvidence, *, another: bool) -> dict[str, Any]:
    """The evidence of a runaway that goes on: the worst hour's figures. another: an hour that was not counted yet."""
    hours = int(known.get("hours", 1)) + int(another)
    worst = found.document if found.spent >= int(known.get("spent", 0)) else known
    return {**worst, "hours": hours}
