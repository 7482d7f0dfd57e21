"""OpenTelemetry exponential histograms, scale 5: sparse, mergeable, at most 1.1% relative error.

A histogram is ``{index: count}``; index i holds values in (base**i, base**(i+1)] with
``base = 2**(2**-5)``. Merging is adding counts, so processes, minutes and routes add up.
Values are integers in microseconds here; zero and below are counted at ``ZERO``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, MutableMapping
from functools import lru_cache

SCALE = 5
ZERO = -(2**31)
"""Index under which values <= 0 are counted."""

_PER_OCTAVE = 2**SCALE
_log2 = math.log2


def index_of(value: float) -> int:
    """Bucket index of a value: ``ceil(log2(value) * 32) - 1``."""
    return math.ceil(_log2(value) * _PER_OCTAVE) - 1 if value > 0 else ZERO


index_of_whole = lru_cache(maxsize=16_384)(index_of)
"""The same for whole numbers, of which most come again: a look-up."""


def upper_bound(index: int) -> float:
    """Inclusive upper edge of a bucket, in the unit of the values."""
    return 0.0 if index == ZERO else 2.0 ** ((index + 1) / _PER_OCTAVE)


def midpoint(index: int) -> float:
    """The value with the least worst-case relative error in a bucket."""
    if index == ZERO:
        return 0.0
    low: float
    high: float
    low, high = 2.0 ** (index / _PER_OCTAVE), 2.0 ** ((index + 1) / _PER_OCTAVE)
    return 2 * low * high / (low + high)


def add(histogram: MutableMapping[int, int], value: float, count: int = 1) -> None:
    """Count a value in place."""
    index = index_of(value)
    histogram[index] = histogram.get(index, 0) + count


def merge(into: MutableMapping[int, int], other: Mapping[int, int]) -> None:
    """Add another histogram's counts in place."""
    for index, count in other.items():
        into[index] = into.get(index, 0) + count


def quantile(histogram: Mapping[int, int], q: float) -> float | None:
    """The q-quantile (0..1) by nearest rank; None for an empty histogram."""
    total = sum(histogram.values())
    if total == 0:
        return None
    rank, seen = max(1, math.ceil(q * total)), 0
    for index in sorted(histogram):
        seen += histogram[index]
        if seen >= rank:
            return midpoint(index)
    return None  # unreachable: seen reaches total
