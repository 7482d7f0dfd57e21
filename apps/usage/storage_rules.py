"""How the disk will fill: growth from what was measured, up to what retention lets stand. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date

LOOKED_DAYS = 14
"""Growth is that of these days."""
LEAST_SAMPLES = 3
"""Days that were measured before growth is told at all."""
AHEAD_DAYS = (30, 90, 365)
MOST_AHEAD = 1_095
"""So far ahead it is looked for when the disk is full."""


@dataclass(frozen=True, slots=True)
class Held:
    """A group of tables. growth: bytes a day; None where it is not known yet. kept_days: by retention; None: for good, or no matter of
    days. per_day: what a whole day takes, where that is known by its partitions; else growth is taken for it.
    """

    name: str
    bytes: int
    rows: int
    growth: float | None = None
    kept_days: int | None = None
    per_day: float | None = None

    def after(self, days: float) -> float | None:
        """Bytes in so many days. What is kept for so long grows to that many days' worth and no further."""
        if self.growth is None:
            return None
        grown = self.bytes + self.growth * days
        if self.kept_days is None:
            return max(grown, 0.0)
        return max(min(grown, max(float(self.bytes), self.kept_days * (self.per_day if self.per_day is not None else self.growth))), 0.0)


def growth_of(samples: Sequence[tuple[date, int]]) -> float | None:
    """Bytes a day by least squares over the last ``LOOKED_DAYS`` days' samples, never below zero; None of too few days.

    A table that was emptied, or whose retention began to bite, shrinks for a while: that is no growth to go by.
    """
    if not samples:
        return None
    last = max(day for day, _ in samples)
    points = sorted(((day - last).days, size) for day, size in samples if (last - day).days < LOOKED_DAYS)
    if len({at for at, _ in points}) < LEAST_SAMPLES:
        return None
    mean_at, mean_size = sum(at for at, _ in points) / len(points), sum(size for _, size in points) / len(points)
    spread = sum((at - mean_at) ** 2 for at, _ in points)
    return max(0.0, sum((at - mean_at) * (size - mean_size) for at, size in points) / spread)


def forecast(groups: Sequence[Held], days: float) -> float | None:
    """Bytes of all groups in so many days; None while growth of none is known. A group whose growth is not known stays as it is."""
    if all(group.growth is None for group in groups):
        return None
    return sum(group.bytes if (after := group.after(days)) is None else after for group in groups)


def full_in(groups: Sequence[Held], free: int) -> int | None:
    """Days until the growth takes ``free`` bytes; None where it does not within ``MOST_AHEAD`` days, or growth is not known."""
    now = sum(group.bytes for group in groups)
    for day in range(1, MOST_AHEAD + 1):
        then = forecast(groups, day)
        if then is None:
            return None
        if then - now >= free:
            return day
    return None
