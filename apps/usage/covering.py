"""How a range of time is covered by the summaries' buckets, each moment once, and how wide a plot's steps are. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import pairwise

MINUTE, HOUR, DAY = 60, 3_600, 86_400
COVERING = (MINUTE, 600, HOUR, 10_800, DAY)
"""Widths of the summaries that cover a range; each is a multiple of the one before."""
LIVE_HOURS = 47
"""How far back ten-second summaries are relied on; they are kept 48 hours."""
MINUTE_DAYS = 8
"""How far back summaries of minutes are relied on (``apps.usage.services.MINUTE_DAYS``, less what its task may be late)."""
STEPS = (
    (1_200, 10, 10), (3 * HOUR, 10, 30), (4 * HOUR, 60, 60), (8 * HOUR, 60, 120), (50 * HOUR, 600, 600), (300 * HOUR, HOUR, HOUR),
    (37 * DAY, 10_800, 10_800),
)  # fmt: skip
"""Up to so many seconds of range: the width of the summaries to read, and of a step. Longer ones: days."""


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a range that whole buckets of one width fill."""

    seconds: int
    start: datetime
    end: datetime


def aligned(start: datetime, end: datetime, *, now: datetime) -> tuple[datetime, datetime]:
    """The range that totals are of: its ends at whole minutes outwards, or at whole hours where minutes are kept no more."""
    kept = now - timedelta(days=MINUTE_DAYS)
    return floor(start, MINUTE if start >= kept else HOUR), ceil(end, MINUTE if end >= kept else HOUR)


def cover(start: datetime, end: datetime, *, now: datetime) -> list[Segment]:
    """The few segments that make up an aligned range, none twice: days inside, narrower and narrower buckets towards its edges.

    A range that ends now takes the hour and the day that are not over: they hold nothing later than now.
    """
    if end >= floor(now, MINUTE):
        end = ceil(end, DAY)
    before: list[Segment] = []
    after: list[Segment] = []
    for seconds, wider in pairwise(COVERING):
        low, high = ceil(start, wider), floor(end, wider)
        if low > high:  # no edge of a wider bucket lies inside
            break
        before.append(Segment(seconds, start, low))
        after.append(Segment(seconds, high, end))
        start, end = low, high
    else:
        seconds = COVERING[-1]
    return [segment for segment in (*before, Segment(seconds, start, end), *reversed(after)) if segment.start < segment.end]


def step_for(start: datetime, end: datetime, *, now: datetime) -> tuple[int, int]:
    """(width of the summaries to read, seconds of a step): at most 300 steps up to 37 days, then one a day."""
    length = (end - start).total_seconds()
    bucket, step = next(((bucket, step) for most, bucket, step in STEPS if length <= most), (DAY, DAY))
    if start < now - timedelta(days=MINUTE_DAYS):
        least = HOUR
    elif start < now - timedelta(hours=LIVE_HOURS):
        least = MINUTE
    else:
        least = 10
    return max(bucket, least), max(step, least)


def floor(moment: datetime, seconds: int) -> datetime:
    return datetime.fromtimestamp(moment.timestamp() // seconds * seconds, UTC)


def ceil(moment: datetime, seconds: int) -> datetime:
    return datetime.fromtimestamp(-(-moment.timestamp() // seconds) * seconds, UTC)
