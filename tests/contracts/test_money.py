"""Money is exact: text in, integers inside, text out, and no float anywhere."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.contracts.money import MAX_NANO, NANO, MoneyError, ceil_div, dollars_text, from_dollars


@given(st.integers(-MAX_NANO, MAX_NANO))
def test_an_amount_survives_the_way_through_text(nano: int) -> None:
    assert from_dollars(dollars_text(nano)) == nano
    assert from_dollars(Decimal(nano).scaleb(-9)) == nano
    assert "E" not in dollars_text(nano)


@given(st.decimals(min_value=0, max_value=9_000_000_000, allow_nan=False, allow_infinity=False, places=15))
def test_dollars_finer_than_a_nano_dollar_round_up(amount: Decimal) -> None:
    assert from_dollars(amount) == ceil(Fraction(amount) * NANO)


@given(st.integers(-(10**30), 10**30), st.integers(1, 10**12))
def test_ceil_div_is_division_rounded_up(numerator: int, denominator: int) -> None:
    assert ceil_div(numerator, denominator) == ceil(Fraction(numerator, denominator))


@pytest.mark.parametrize("value", [0.1, True, float("nan"), "NaN", "Infinity", "-inf", "1,50", "", "five", "1e400", "9300000000", None])
def test_what_is_no_exact_amount_is_refused_with_what_to_write(value: object) -> None:
    with pytest.raises(MoneyError) as refused:
        from_dollars(value)  # type: ignore[arg-type]
    assert repr(value) in str(refused.value)


@pytest.mark.parametrize(("nano", "text"), [(0, "0"), (5 * NANO, "5"), (12_500, "0.0000125"), (-1, "-0.000000001"), (10 * NANO, "10")])
def test_text_is_plain(nano: int, text: str) -> None:
    assert dollars_text(nano) == text
