"""Time ranges as people know them from Grafana: ``?from=now-6h&to=now``.

An end is ``now``, ``now-15m``, ``now-7d/d`` (rounded down to the day), an ISO 8601 time, or milliseconds since the
epoch. The URL keeps the text, so that a saved link with ``now`` stays live.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

UNITS: dict[str, timedelta] = {
    "s": timedelta(seconds=1),
    "m": timedelta(minutes=1),
    "h": timedelta(hours=1),
    "d": timedelta(days=1),
    "w": timedelta(weeks=1),
}
PRESETS: tuple[tuple[str, str], ...] = (
    ("now-15m", "15 min"),
    ("now-1h", "1 h"),
    ("now-6h", "6 h"),
    ("now-24h", "24 h"),
    ("now-7d", "7 d"),
    ("now-30d", "30 d"),
)
LONGEST = timedelta(days=400)
DEFAULT_FROM, DEFAULT_TO = "now-1h", "now"

_RELATIVE = re.compile(r"now(?:-(\d{1,6})([smhdw]))?(?:/([hd]))?", re.ASCII)


class TimeRangeError(ValueError):
    """Text that is no time, or two ends in the wrong order; the message says what to write."""


def parse_end(text: str, *, now: datetime) -> datetime:
    """One end of a range as an aware UTC time. Raises TimeRangeError."""
    if match := _RELATIVE.fullmatch(text):
        amount, unit, floor = match.groups()
        try:
            moment = now - int(amount) * UNITS[unit] if amount else now
        except OverflowError:
            raise TimeRangeError(f"{text!r} lies too far back") from None
        if floor == "h":
            return moment.replace(minute=0, second=0, microsecond=0)
        return moment.replace(hour=0, minute=0, second=0, microsecond=0) if floor == "d" else moment
    try:
        if re.fullmatch(r"\d{11,14}", text, re.ASCII):
            return datetime.fromtimestamp(int(text) / 1000, UTC)
        moment = datetime.fromisoformat(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise TimeRangeError(f"{text[:40]!r} is no time: write now-6h, 2026-03-01T14:00 or milliseconds since the epoch") from None


@dataclass(frozen=True, slots=True)
class TimeRange:
    """``[start, end)`` in UTC, with the text it came from. ``problem``: why the text was not used, else empty."""

    start: datetime
    end: datetime
    from_text: str = DEFAULT_FROM
    to_text: str = DEFAULT_TO
    problem: str = ""

    @property
    def live(self) -> bool:
        """Whether the range ends now, so that polling it makes sense."""
        return self.to_text == "now"

    @property
    def length(self) -> timedelta:
        """How long it is."""
        return self.end - self.start

    @property
    def label(self) -> str:
        """What the page calls it: a preset's name, or both ends."""
        if self.live:
            for value, name in PRESETS:
                if value == self.from_text:
                    return f"last {name}"
        form = "%Y-%m-%d %H:%M"
        return f"{self.start.strftime(form)} to {self.end.strftime(form)} UTC"


def parse(from_text: str, to_text: str, *, now: datetime) -> TimeRange:
    """A range of at most 400 days. Raises TimeRangeError."""
    start, end = parse_end(from_text, now=now), parse_end(to_text, now=now)
    if start >= end:
        raise TimeRangeError("The range ends before it starts: set 'from' to an earlier time than 'to'")
    if end - start > LONGEST:
        raise TimeRangeError("The range is longer than 400 days: choose a shorter one")
    return TimeRange(start=start, end=end, from_text=from_text, to_text=to_text)


def from_query(query: Mapping[str, str], *, now: datetime | None = None, default_from: str = DEFAULT_FROM) -> TimeRange:
    """The range of a URL; where its text is no range, the default one with ``problem`` set, for the page to show."""
    now = now or datetime.now(UTC)
    try:
        return parse(query.get("from") or default_from, query.get("to") or DEFAULT_TO, now=now)
    except TimeRangeError as error:
        fallback = parse(default_from, DEFAULT_TO, now=now)
        return TimeRange(fallback.start, fallback.end, default_from, DEFAULT_TO, problem=f"{error}.")
