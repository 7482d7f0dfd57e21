"""Pure decisions of the pages: a price from a day on, what it means for a request, and the state of a provider."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.providers import choices
from apps.providers.rules import (
    PriceSpec,
    check_prices,
    example_cost,
    price_in_force,
    prices_changed,
    provider_state,
)

START = datetime(2026, 1, 1, tzinfo=UTC)
days = st.integers(0, 400).map(lambda day: START + timedelta(days=day))
amounts = st.integers(0, 10**12)


def test_what_held_before_ends_and_what_was_planned_is_dropped() -> None:
    old, planned = PriceSpec(1, 1, valid_to=START + timedelta(days=90)), PriceSpec(2, 2, valid_from=START + timedelta(days=90))
    new = PriceSpec(3, 3, valid_from=START + timedelta(days=30))
    assert prices_changed([old, planned], new) == [old._replace(valid_to=new.valid_from), new]
    assert prices_changed([old, planned], new._replace(valid_from=None)) == [new._replace(valid_from=None)]


@given(st.lists(days, unique=True, max_size=6), st.one_of(st.none(), days), st.datetimes(datetime(2025, 1, 1), datetime(2028, 1, 1)))
def test_a_change_of_price_leaves_no_overlap_and_touches_only_what_comes_after(
    starts: list[datetime], begin: datetime | None, naive: datetime
) -> None:
    at = naive.replace(tzinfo=UTC)
    bounds = [None, *sorted(starts), None]
    current = [PriceSpec(n, n, valid_from=low, valid_to=high) for n, (low, high) in enumerate(pairwise(bounds))]
    changed = check_prices(prices_changed(current, new := PriceSpec(99, 99, valid_from=begin)))
    expected = new if begin is None or at >= begin else price_in_force(current, at)
    found = price_in_force(changed, at)
    assert found is not None and expected is not None and found.input == expected.input


@given(amounts, amounts, amounts)
def test_the_example_rounds_up_and_never_below_what_it_costs(per_input: int, per_output: int, per_request: int) -> None:
    cost = example_cost(PriceSpec(per_input, per_output, request=per_request))
    exact = 1_000 * per_input + 500 * per_output + per_request
    assert cost * 10**6 >= exact > (cost - 1) * 10**6


def test_a_tier_that_the_example_reaches_counts() -> None:
    tiers = ({"from_input_tokens": 800, "input": 2_000_000}, {"from_input_tokens": 2_000, "input": 9_000_000})
    assert example_cost(PriceSpec(1_000_000, 0, tiers=tiers)) == 2_000


@pytest.mark.parametrize(
    ("checks", "attempts", "failed", "state"),
    [
        ((), 0, 0, "unchecked"),
        (("up",), 0, 0, "up"),
        (("up", "down"), 0, 0, "down"),
        (("up", "refused", "failing"), 0, 0, "refused"),
        (("stale",), 0, 0, "stale"),
        (("stale",), 100, 0, "answering"),
        ((), 100, 0, "answering"),
        (("up",), 100, 4, "up"),
        (("up",), 100, 5, "degraded"),
        (("up",), 100, 50, "failing_traffic"),
        (("up",), 4, 4, "up"),
        (("down",), 100, 100, "down"),
        (("refused",), 100, 90, "refused"),
        (("failing",), 100, 10, "failing"),
    ],
)
def test_the_state_is_the_worst_that_is_known(checks: tuple[str, ...], attempts: int, failed: int, state: str) -> None:
    assert provider_state(enabled=True, checks=checks, attempts=attempts, failed=failed) == state
    assert provider_state(enabled=False, checks=checks, attempts=attempts, failed=failed) == "disabled"
    assert state in choices.PROVIDER_STATES


def test_unknown_is_never_green() -> None:
    for value, status in choices.PROVIDER_STATES.items():
        assert (status.tone == "good") == (value in ("up", "answering"))
