"""Time ranges as people know them from Grafana: ``?from=now-6h&to=now``.

An end is ``now``, ``now-15m``, ``now-7d/d`` (rounded down to the day), an ISO 8601 time, or milliseconds since the
epoch. The URL keeps the text, so that a saved link with ``now`` stays live; ``zone=Europe/Berlin`` beside it says in which
zone a time without an offset, and the start of a day, are meant (UTC where there is none).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, tzinfo

from django.utils import timezone

from apps.ui.zone import zone_named

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
REFRESH: tuple[tuple[str, str], ...] = (("", "live"), ("30s", "every 30 s"), ("1m", "every minute"), ("off", "off"))
"""What ``?refresh=`` may be: how often panels of a range that ends now ask anew. static/js/live.js keeps to it."""

_RELATIVE = re.compile(r"now(?:-(\d{1,6})([smhdw]))?(?:/([hd]))?", re.ASCII)


class TimeRangeError(ValueError):
    """Text that is no time, or two ends in the wrong order; the message says what to write."""


def parse_end(text: str, *, now: datetime, zone: tzinfo = UTC) -> datetime:
    """One end of a range as an aware UTC time. ``zone``: of days, and of times without an offset. Raises TimeRangeError."""
    if match := _RELATIVE.fullmatch(text):
        amount, unit, floor = match.groups()
        try:
            moment = now - int(amount) * UNITS[unit] if amount else now
        except OverflowError:
            raise TimeRangeError(f"{text!r} lies too far back") from None
        if floor == "h":
            return moment.replace(minute=0, second=0, microsecond=0)
        if floor == "d":
            return moment.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0).astimezone(UTC)
        return moment
    try:
        if re.fullmatch(r"\d{11,14}", text, re.ASCII):
            return datetime.fromtimestamp(int(text) / 1000, UTC)
        moment = datetime.fromisoformat(text)
        return (moment.replace(tzinfo=zone) if moment.tzinfo is None else moment).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise TimeRangeError(f"{text[:40]!r} is no time: write now-6h, 2026-03-01T14:00 or milliseconds since the epoch") from None


@dataclass(frozen=True, slots=True)
class TimeRange:
    """``[start, end)`` in UTC, with the text it came from and its zone, if not UTC. ``problem``: why the text was not used, else empty."""

    start: datetime
    end: datetime
    from_text: str = DEFAULT_FROM
    to_text: str = DEFAULT_TO
    problem: str = ""
    zone_text: str = ""

    @property
    def query(self) -> dict[str, str]:
        """The parameters that mean this range, for the addresses of panels and links."""
        return {"from": self.from_text, "to": self.to_text} | ({"zone": self.zone_text} if self.zone_text else {})

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
        start, end = timezone.localtime(self.start), timezone.localtime(self.end)
        same_day = start.date() == end.date()
        return f"{start:%Y-%m-%d %H:%M} to {end.strftime('%H:%M %Z' if same_day else '%Y-%m-%d %H:%M %Z')}"

    @property
    def custom(self) -> bool:
        """Whether it is none of the presets."""
        return not (self.live and any(value == self.from_text for value, _ in PRESETS))

    @property
    def from_field(self) -> str:
        """The start as a person would type it: what the URL says, milliseconds as a time."""
        return self._field(self.from_text, self.start)

    @property
    def to_field(self) -> str:
        """The end as a person would type it."""
        return self._field(self.to_text, self.end)

    @staticmethod
    def _field(text: str, moment: datetime) -> str:
        return text if text.startswith("now") else timezone.localtime(moment).strftime("%Y-%m-%d %H:%M:%S")


def parse(from_text: str, to_text: str, *, now: datetime, zone: tzinfo = UTC) -> TimeRange:
    """A range of at most 400 days. Raises TimeRangeError."""
    start, end = parse_end(from_text, now=now, zone=zone), parse_end(to_text, now=now, zone=zone)
    if start >= end:
        raise TimeRangeError("The range ends before it starts: set 'from' to an earlier time than 'to'")
    if end - start > LONGEST:
        raise TimeRangeError("The range is longer than 400 days: choose a shorter one")
    return TimeRange(start=start, end=end, from_text=from_text, to_text=to_text)


def from_query(query: Mapping[str, str], *, now: datetime | None = None, default_from: str = DEFAULT_FROM) -> TimeRange:
    """The range of a URL; where its text is no range, the default one with ``problem`` set, for the page to show."""
    now = now or datetime.now(UTC)
    try:
        zone = zone_named(query.get("zone") or "")
        found = parse(query.get("from", "").strip() or default_from, query.get("to", "").strip() or DEFAULT_TO, now=now, zone=zone or UTC)
        return replace(found, zone_text=str(zone)) if zone else found
    except TimeRangeError as error:
        fallback = parse(default_from, DEFAULT_TO, now=now)
        return TimeRange(fallback.start, fallback.end, default_from, DEFAULT_TO, problem=f"{error}.")
