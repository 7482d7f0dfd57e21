"""One dashboard: what its URL asks for, and what its panels read, each question asked once."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any
from urllib.parse import urlencode

from django.http import HttpRequest

from apps.accounts.scope import Choice
from apps.dashboard import selectors
from apps.dashboard.board_kinds import NO_REGION, Kind, value_names, values_of
from apps.ui.delta import Delta, delta
from apps.ui.timerange import TimeRange
from apps.usage.detail import traffic_detail
from apps.usage.measures import Series
from apps.usage.plots import Mark

COMPARED: tuple[tuple[str, str], ...] = (
    ("", "Nothing"), ("before", "The time before"), ("1d", "A day ago"), ("7d", "A week ago"), ("28d", "Four weeks ago"),
)  # fmt: skip
"""What ``?compare=`` may be: (value, words)."""
_AGO = {"1d": timedelta(days=1), "7d": timedelta(days=7), "28d": timedelta(days=28)}


class Board:
    """A dashboard of one value of a kind in one range. Everything comes from the URL; what it cannot be read as is left out."""

    def __init__(
        self, request: HttpRequest, choice: Choice, kind: Kind, value: str, time_range: TimeRange, *, now: datetime | None = None
    ) -> None:
        self.request, self.choice, self.kind, self.value, self.range = request, choice, kind, value, time_range
        self.now = now or datetime.now(UTC)
        asked = request.GET.get("compare", "")
        self.compare = asked if any(asked == known for known, _ in COMPARED) else ""

    @cached_property
    def values(self) -> tuple[str, ...]:
        return values_of(self.kind, self.choice.organisation, self.value)

    @cached_property
    def name(self) -> str:
        """What the page calls it."""
        return value_names(self.kind, self.choice.organisation, [self.value]).get(self.value, self.value)

    @property
    def shift(self) -> timedelta | None:
        """How far back what it is compared with lies; None without."""
        return self.range.length if self.compare == "before" else _AGO.get(self.compare)

    @cached_property
    def series(self) -> Series:
        return self._series(timedelta())

    @cached_property
    def before(self) -> Series | None:
        """The same of the time that it is compared with."""
        return None if self.shift is None else self._series(self.shift)

    def _series(self, shift: timedelta) -> Series:
        place = {"dimension": self.kind.dimension, "values": self.values, "now": self.now}
        return traffic_detail(self.choice.scope, self.range.start - shift, self.range.end - shift, **place)

    @cached_property
    def marks(self) -> list[Mark]:
        """What happened in the range: publishes, switches, outages, where the person may see them."""
        return selectors.marks(self.choice.organisation, self.range.start, self.range.end) if self.choice.may("config.view") else []

    @property
    def busy(self) -> bool:
        """Whether there is anything to draw."""
        return bool(self.series.totals.requests or self.series.totals.attempts)

    @property
    def seconds(self) -> float:
        """How much of the range is over."""
        return max((min(self.range.end, self.now) - self.range.start).total_seconds(), 1.0)

    @property
    def failures(self) -> dict[str, int]:
        """Failures by class, the most frequent first: of its requests, or of its attempts."""
        return classes_shown(self.series.classes, attempts=self.kind.targets)

    @property
    def failed(self) -> tuple[int, int]:
        """(failed, of how many): requests that ended, or attempts."""
        return failed_of(self.series, attempts=self.kind.targets)

    def change(self, now: float | None, before: float | None, better: str = "neither") -> Delta | None:
        """Against what it is compared with; None without."""
        return None if self.before is None else delta(now, before, better=better)  # type: ignore[arg-type]

    @property
    def query(self) -> dict[str, str]:
        """Its URL's parameters, for the addresses of its panels."""
        return {
            **({"value": self.value} if self.kind.slug else {}),
            **self.range.query,
            **({"compare": self.compare} if self.compare else {}),
        }

    @property
    def requests_filter(self) -> dict[str, str]:
        """Parameters of the list of requests that mean the same things."""
        if not self.kind.slug:
            return {}
        return {"without": "region"} if self.kind.regions and self.value == NO_REGION else {self.kind.slug: self.value}

    @property
    def requests_query(self) -> dict[str, str]:
        """The same with the range."""
        return {**self.requests_filter, **self.range.query}

    @property
    def encoded(self) -> str:
        return urlencode(self.query)


def classes_shown(classes: Mapping[str, int], *, attempts: bool) -> dict[str, int]:
    """The classes of requests' failures, or those of attempts without their mark."""
    if attempts:
        return {name[1:]: count for name, count in classes.items() if name.startswith("~")}
    return {name: count for name, count in classes.items() if not name.startswith("~")}


def failed_of(measured: Any, *, attempts: bool) -> tuple[int, int]:
    """(failed, of how many) of anything with ``totals``. Refused and cancelled requests are no failures, and were no chance to fail."""
    totals = measured.totals
    if attempts:
        return totals.attempt_errors, totals.attempts
    return totals.failed, totals.ok + totals.failed


def availability(failed: int, whole: int) -> float | None:
    """Percent; None where nothing was tried."""
    return None if not whole else 100 * (whole - failed) / whole
