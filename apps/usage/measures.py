"""What is counted and measured of traffic: totals, quantiles, groups, and series of them.

Durations are microseconds, money is nano-dollars. Quantiles are exact to the histogram's 1.1%. Histograms are merged here and
not in SQL: decoding JSON and adding in dicts costs a tenth of unnesting jsonb and grouping it.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from itertools import accumulate

import msgspec

from apps.contracts.histogram import midpoint

QUANTILES = (0.50, 0.95, 0.99)


@dataclass(frozen=True, slots=True)
class Totals:
    """Sums over rollup rows; see ``apps.usage.models.Rollup`` for what counts where."""

    requests: int = 0
    ok: int = 0
    error: int = 0
    cancelled: int = 0
    refused: int = 0
    unknown: int = 0
    estimated: int = 0
    attempts: int = 0
    attempt_errors: int = 0
    tokens_input: int = 0
    tokens_output: int = 0
    tokens_cache_read: int = 0
    cost_nano: int = 0

    @property
    def failed(self) -> int:
        """Requests whose app got an error or no known end; refusals and cancellations are no failures of ours."""
        return self.error + self.unknown

    def __add__(self, other: Totals) -> Totals:
        return Totals(*(getattr(self, name) + getattr(other, name) for name in COUNTS))


COUNTS = tuple(item.name for item in fields(Totals))
SUMS = ", ".join(f"sum({name})::bigint" for name in COUNTS)


@dataclass(frozen=True, slots=True)
class Latency:
    """Three quantiles in microseconds; None where nothing was measured. ``count``: measurements."""

    p50: float | None = None
    p95: float | None = None
    p99: float | None = None
    count: int = 0


@dataclass(frozen=True, slots=True)
class Point:
    """One step of a series: ``seconds`` from ``at``; fewer than the step's where it is not over yet.

    gap, classes: gaps between tokens and failures by class (``apps.usage.rollups.Cell``), where they were asked for
    (``apps.usage.detail``).
    """

    at: datetime
    seconds: float
    totals: Totals = field(default_factory=Totals)
    total: Latency = field(default_factory=Latency)
    first_token: Latency = field(default_factory=Latency)
    gap: Latency = field(default_factory=Latency)
    classes: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Group:
    """One value of a dimension; empty where a request was refused before it had one."""

    value: str
    totals: Totals
    total: Latency
    first_token: Latency


@dataclass(frozen=True, slots=True)
class Series:
    """A range in steps, without holes: a step without traffic is a point of zeros.

    ``totals``, ``total``, ``first_token`` are of ``[start, end)`` exactly; the first point is a whole step, which may begin before.
    ``gap``, ``classes``: as of its points.
    """

    start: datetime
    end: datetime
    step: timedelta
    points: list[Point]
    totals: Totals
    total: Latency
    first_token: Latency
    gap: Latency = field(default_factory=Latency)
    classes: dict[str, int] = field(default_factory=dict)


def joined(*columns: str) -> str:
    """SQL that joins documents ``{key: count}`` with commas, for ``latency_of`` and ``classes_of``."""
    return ", ".join(f"string_agg({name}::text, ',') FILTER (WHERE {name} <> '{{}}')" for name in columns)


HISTOGRAMS = joined("h_total", "h_first_token")
DETAILS = joined("h_total", "h_first_token", "h_gap", "classes")
_decode = msgspec.json.Decoder(list[dict[int, int]]).decode
_decode_classes = msgspec.json.Decoder(list[dict[str, int]]).decode


def histogram_of(texts: str | None) -> dict[int, int]:
    """The sum of histograms that were joined with commas."""
    if not texts:
        return {}
    first, *rest = _decode(f"[{texts}]")
    get = first.get
    for histogram in rest:
        for index, count in histogram.items():
            first[index] = get(index, 0) + count
    return first


def quantiles_of(histogram: Mapping[int, int]) -> Latency:
    """The quantiles of a histogram, each as ``apps.contracts.histogram.quantile`` says it."""
    if not histogram:
        return Latency()
    indices = sorted(histogram)
    seen = list(accumulate(map(histogram.__getitem__, indices)))  # up to and with each index
    total = seen[-1]
    return Latency(*(midpoint(indices[bisect_left(seen, max(1, math.ceil(q * total)))]) for q in QUANTILES), count=total)


def latency_of(texts: str | None) -> Latency:
    """The quantiles of histograms that were joined with commas."""
    return quantiles_of(histogram_of(texts))


def classes_of(texts: str | None) -> dict[str, int]:
    """Failures by class, of documents that were joined with commas; the most frequent first."""
    found: dict[str, int] = {}
    for one in _decode_classes(f"[{texts}]") if texts else ():
        for name, count in one.items():
            found[name] = found.get(name, 0) + count
    return dict(sorted(found.items(), key=lambda pair: (-pair[1], pair[0])))
