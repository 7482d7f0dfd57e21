"""Exponential histograms: quantiles within 2% of exact, merging is adding."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from apps.contracts import histogram

values = st.lists(st.integers(min_value=1, max_value=10**12), min_size=1, max_size=300)


def build(numbers: list[int]) -> dict[int, int]:
    counts: dict[int, int] = {}
    for number in numbers:
        histogram.add(counts, number)
    return counts


@given(values, st.sampled_from([0.0, 0.25, 0.5, 0.9, 0.95, 0.99, 1.0]))
def test_quantiles_are_within_two_percent_of_exact(numbers: list[int], q: float) -> None:
    exact = sorted(numbers)[max(1, math.ceil(q * len(numbers))) - 1]
    found = histogram.quantile(build(numbers), q)
    assert found is not None
    assert abs(found - exact) <= 0.02 * exact


@given(values, values)
def test_merging_equals_counting_together(left: list[int], right: list[int]) -> None:
    merged = build(left)
    histogram.merge(merged, build(right))
    assert merged == build(left + right)


@given(st.integers(min_value=1, max_value=10**15))
def test_a_value_lies_in_its_bucket(value: int) -> None:
    index = histogram.index_of(value)
    assert histogram.upper_bound(index - 1) * (1 - 1e-9) <= value <= histogram.upper_bound(index) * (1 + 1e-9)


def test_zero_and_below_have_their_own_bucket() -> None:
    counts = build([0, -5])
    assert counts == {histogram.ZERO: 2}
    assert histogram.quantile(counts, 0.5) == 0.0


def test_an_empty_histogram_has_no_quantile() -> None:
    assert histogram.quantile({}, 0.5) is None
