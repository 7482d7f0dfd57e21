"""What rules can look at: every series by name, with its unit, its source and what it can be told apart by. Pure.

A source (``apps.alerts.sources``) reads all series of its kind for all rules at once. A value that was not measured is None and has a
reason; it is never zero.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from apps.alerts.choices import ABOVE, BELOW, SCOPES, SLO_SERIES, TIMES_BASELINE
from apps.audit.errors import ServiceError
from apps.contracts.money import NANO, MoneyError, dollars_read
from apps.ui import format as formatting

Unit = Literal["ratio", "us", "ms", "s", "per_s", "nano_per_h", "count", "percent", "times", "state"]
Source = Literal["traffic", "gauge", "budget", "anomaly", "provider", "slo"]

TRAFFIC_SCOPES = ("", "route", "provider", "key", "model", "team", "service", "feature")
SUMMED_SCOPES = ("", "route", "provider", "key")
"""What summaries are kept of; the others are read from the rollups of minutes."""


@dataclass(frozen=True, slots=True)
class Series:
    """unit: of values and thresholds. scopes: keys of ``choices.SCOPES`` that it can be told apart by. samples_of: what its samples count.

    baseline: it can be compared with what is usual at that hour. figure: which of its source's figures it is. least_bad: of a share, so
    many must have gone wrong before it says anything. least_rise: above its baseline it must be at least so much, too.
    installation: of the installation as a whole, so that only the organisation ``main`` has rules on it.
    """

    name: str
    label: str
    unit: Unit
    source: Source
    scopes: tuple[str, ...]
    samples_of: str
    figure: str = ""
    baseline: bool = False
    least_bad: int = 0
    least_rise: float = 0.0
    installation: bool = False


def _quantiles(kind: str, label: str) -> list[Series]:
    return [
        Series(
            f"{kind}_{q}", f"{label}, {q}", "us", "traffic", TRAFFIC_SCOPES, "answers measured", f"{kind}_{q}", baseline=True,
            least_rise=100_000.0,
        )
        for q in ("p50", "p95", "p99")
    ]  # fmt: skip


SERIES: dict[str, Series] = {
    series.name: series
    for series in (
        Series("error_rate", "Error rate", "ratio", "traffic", TRAFFIC_SCOPES, "requests", "errors", least_bad=3),
        Series(
            "attempt_error_rate", "Failed attempts at providers", "ratio", "traffic", ("", "provider", "model", "route"), "attempts",
            "attempt_errors", least_bad=3,
        ),
        Series("refused_rate", "Refused requests", "ratio", "traffic", TRAFFIC_SCOPES, "requests", "refused", least_bad=3),
        *_quantiles("latency", "Time to the whole answer"),
        *_quantiles("ttft", "Time to first token"),
        Series("requests_per_s", "Requests per second", "per_s", "traffic", TRAFFIC_SCOPES, "requests", "requests", baseline=True),
        Series("tokens_per_s", "Tokens per second", "per_s", "traffic", TRAFFIC_SCOPES, "requests", "tokens", baseline=True),
        Series("cost_per_hour", "Cost per hour", "nano_per_h", "traffic", TRAFFIC_SCOPES, "requests", "cost", baseline=True),
        Series("queue_depth", "Requests waiting at the proxies", "count", "gauge", ("", "route", "provider"), "minutes sampled"),
        Series("queue_wait_ms", "Wait for a place, p95", "ms", "gauge", ("", "route", "provider"), "minutes sampled"),
        Series("running", "Requests in flight", "count", "gauge", ("", "route", "provider"), "minutes sampled"),
        Series("breaker_open", "Proxies with an open breaker", "count", "gauge", ("", "provider"), "minutes sampled"),
        Series("celery_queue_depth", "Jobs waiting in Celery", "count", "gauge", ("", "queue"), "minutes sampled", installation=True),
        Series("journal_lag_s", "Settlement behind the proxies", "s", "gauge", ("",), "minutes sampled", installation=True),
        Series("budget_day_share", "Today's spend of a budget's share for a day", "percent", "budget", ("budget",), "looks"),
        Series("key_spend_times", "Spend of an hour beside what is usual for the key", "times", "anomaly", ("key",), "requests"),
        Series("provider_state", "State of a provider", "state", "provider", ("provider",), "attempts"),
        Series(SLO_SERIES, "Burn rate of an error budget", "times", "slo", TRAFFIC_SCOPES, "requests"),
    )
}  # fmt: skip

STATES = {1: "degraded", 2: "down"}
"""Values of ``provider_state``; 0: well."""


@dataclass(frozen=True, slots=True)
class Sample:
    """What one series is of one subject at one minute.

    value: None where nothing was measured; ``missing`` says why. expected: something should have been measured. samples: how many
    measurements it rests on. bad: of a share, how many went wrong. baseline: what is usual; ``learning``: not known for this hour of the
    week yet, the day before stands in. level, threshold: where the source judges by itself, as SLOs are. evidence: what a page shows
    beside it, JSON-able.
    """

    value: float | None
    samples: int = 0
    bad: int = 0
    baseline: float | None = None
    learning: bool = False
    missing: str = ""
    expected: bool = False
    level: str | None = None
    threshold: float | None = None
    evidence: Mapping[str, Any] = field(default_factory=dict)


def series_of(name: object) -> Series:
    """The series of that name. Raises ServiceError, which names those there are."""
    known = SERIES.get(name) if isinstance(name, str) else None
    if known is None or known.source == "slo":
        names = ", ".join(each.name for each in SERIES.values() if each.source != "slo")
        raise ServiceError(f"{str(name)[:60]!r} is no series that a rule can look at: choose one of {names}", "series")
    return known


def comparisons_of(series: Series) -> tuple[str, ...]:
    """How its values can be compared."""
    return (ABOVE, BELOW, TIMES_BASELINE) if series.baseline else (ABOVE, BELOW)


def scope_words(by: str, subject: str) -> str:
    """``route chat``; ``everything``."""
    return f"{by} {subject}" if by and subject else SCOPES.get(by, by)


# --- thresholds, as people write and read them -------------------------------------------------------------------------

_NUMBER = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,6})?)\s?([a-z%]*)", re.IGNORECASE)
_TIME_US = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "min": 60_000_000, "h": 3_600_000_000}
_EXAMPLES: dict[Unit, str] = {
    "ratio": "a percentage from 0% to 100%, such as 1% or 0.5%",
    "us": "a duration with its unit, such as 800ms or 1.5s",
    "ms": "a duration with its unit, such as 800ms or 1.5s",
    "s": "a duration with its unit, such as 30s or 2m",
    "per_s": "a number a second, such as 5 or 0.2",
    "nano_per_h": "dollars an hour, such as 12.50",
    "count": "a number, such as 1000",
    "percent": "a percentage, such as 120%",
    "times": "how many times as much, such as 2 or 1.5x",
    "state": "degraded or down",
}


def threshold_read(series: Series, comparison: str, text: object, *, field: str) -> float | None:
    """A threshold as a person wrote it, in the series' unit; nothing written: None. Raises ServiceError with what to write instead."""
    shown = "" if text is None else str(text).strip()
    if not shown or isinstance(text, bool):
        if shown:
            raise ServiceError(f"{shown!r} is no threshold: write {_EXAMPLES[series.unit]}", field)
        return None
    unit: Unit = "times" if comparison == TIMES_BASELINE else series.unit
    value = _read(unit, shown)
    if value is None or not math.isfinite(value) or value < 0:
        raise ServiceError(f"{shown[:40]!r} is no threshold of {series.label!r}: write {_EXAMPLES[unit]}", field)
    if unit == "ratio" and value > 1:
        raise ServiceError(f"{shown[:40]!r} is more than all there is: write {_EXAMPLES[unit]}", field)
    if comparison == TIMES_BASELINE and value <= 1:
        raise ServiceError(f"{shown[:40]!r} times what is usual would always hold: write a number above 1, such as 2", field)
    return value


def _read(unit: Unit, text: str) -> float | None:
    if unit == "state":
        return next((float(value) for value, name in STATES.items() if text.lower() in (name, str(value), f"{value}.0")), None)
    if unit == "nano_per_h":
        try:
            return float(dollars_read(text.removeprefix("$")))
        except MoneyError:
            return None
    match = _NUMBER.fullmatch(text)
    if match is None:
        return None
    number, suffix = Decimal(match[1]), match[2].lower()
    if unit in ("us", "ms", "s"):
        micros = _TIME_US.get(suffix)
        return None if micros is None else float(number * micros / {"us": 1, "ms": 1_000, "s": 1_000_000}[unit])
    if unit == "ratio":
        return float(number / 100) if suffix == "%" else (float(number) if not suffix and number <= 1 else None)
    allowed = {"percent": ("", "%"), "times": ("", "x"), "per_s": ("", "/s"), "count": ("",)}[unit]
    return float(number) if suffix in allowed else None


def value_text(series: Series, value: float | None) -> str:
    """A measured value or a threshold for people, in the series' own unit."""
    if value is None:
        return formatting.NOTHING
    unit = series.unit
    if unit in ("us", "ms", "s"):
        return formatting.duration(round(value * {"us": 1, "ms": 1_000, "s": 1_000_000}[unit]))
    if unit == "ratio":
        return f"{value * 100:.3g} %"
    if unit == "nano_per_h":
        return f"{formatting.dollars(round(value))} an hour"
    if unit == "state":
        return STATES.get(round(value), "well")
    number = f"{value:,.0f}" if value >= 1_000 or value == int(value) else f"{value:.3g}"
    return {"per_s": f"{number} a second", "percent": f"{number} %", "times": f"{number}×"}.get(unit, number)


def threshold_text(series: Series, comparison: str, bound: float | None) -> str:
    """A rule's threshold for people: ``2 times what is usual``, ``1 %``."""
    if bound is None:
        return formatting.NOTHING
    return f"{bound:.3g} times what is usual" if comparison == TIMES_BASELINE else value_text(series, bound)


def threshold_written(series: Series, comparison: str, bound: float | None) -> str:
    """As ``threshold_read`` takes it."""
    if bound is None:
        return ""
    if comparison == TIMES_BASELINE or series.unit == "times":
        return f"{bound:.12g}x"
    if series.unit in ("us", "ms", "s"):
        micros = bound * {"us": 1, "ms": 1_000, "s": 1_000_000}[series.unit]
        return f"{micros / 1_000_000:.12g}s" if micros >= 1_000_000 else f"{micros / 1_000:.12g}ms"
    if series.unit == "ratio":
        return f"{Decimal(repr(bound)) * 100:f}%"
    if series.unit == "nano_per_h":
        return f"{Decimal(round(bound)) / NANO:f}"
    return STATES.get(round(bound), "") if series.unit == "state" else f"{bound:.12g}{'%' if series.unit == 'percent' else ''}"
