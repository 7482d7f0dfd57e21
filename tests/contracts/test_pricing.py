"""Costs are exact and rounded up once; bounds hold for every answer a provider can give within them."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.contracts.money import MAX_NANO, MILLION
from apps.contracts.pricing import Price, PriceError, bound_nano, compile_prices, cost_nano, price_at
from apps.contracts.snapshot import PriceTier, PriceVersion
from apps.contracts.usage import Tokens

UNIT = st.integers(0, 200_000_000_000)  # up to $200 per million tokens
MAYBE = st.none() | UNIT


@st.composite
def prices(draw: st.DrawFn) -> PriceVersion:
    starts = draw(st.lists(st.integers(0, 3_000), unique=True, max_size=3))
    tiers = [
        PriceTier(from_input_tokens=start, input=draw(MAYBE), output=draw(MAYBE), cache_read=draw(MAYBE), cache_write=draw(MAYBE))
        for start in starts
    ]
    return PriceVersion(
        version="v", input=draw(UNIT), output=draw(UNIT), cache_read=draw(MAYBE), cache_write=draw(MAYBE), request=draw(UNIT), tiers=tiers
    )


def plain_cost(price: PriceVersion, tokens: Tokens) -> int:
    """The price list read aloud, in exact fractions."""
    tier = max((t for t in price.tiers if t.from_input_tokens <= tokens.input), key=lambda t: t.from_input_tokens, default=None)

    def unit(kind: str) -> int | None:
        own = getattr(tier, kind, None)
        return own if own is not None else getattr(price, kind)

    total = Fraction(0)
    for count, kind in (
        (tokens.input - tokens.cache_read - tokens.cache_write, "input"),
        (tokens.cache_read, "cache_read"),
        (tokens.cache_write, "cache_write"),
        (tokens.output, "output"),
    ):
        per_million = unit(kind)
        total += Fraction(count * (unit("input") if per_million is None else per_million), MILLION)
    return ceil(total + Fraction(price.request, MILLION))


@st.composite
def counts(draw: st.DrawFn, most_input: int = 6_000, most_output: int = 6_000) -> Tokens:
    total = draw(st.integers(0, most_input))
    read = draw(st.integers(0, total))
    return Tokens(input=total, output=draw(st.integers(0, most_output)), cache_read=read, cache_write=draw(st.integers(0, total - read)))


@given(prices(), counts())
def test_cost_is_the_price_list_read_aloud_and_rounded_up_once(price: PriceVersion, tokens: Tokens) -> None:
    assert Price(price).cost(tokens) == cost_nano(price, tokens) == plain_cost(price, tokens)


@given(prices(), st.integers(0, 5_000), st.integers(0, 3_000), st.integers(1, 4), st.data())
def test_no_answer_within_the_bounds_costs_more_than_the_bound(
    price: PriceVersion, input_bytes: int, max_output: int, n: int, data: st.DataObject
) -> None:
    tokens = data.draw(counts(input_bytes, max_output * n))
    assert Price(price).cost(tokens) <= bound_nano(price, input_bytes=input_bytes, max_output_tokens=max_output, n=n)


@given(prices(), st.integers(0, 5_000), st.integers(0, 3_000))
def test_without_tiers_and_caches_the_bound_is_the_cost_of_the_worst_answer(price: PriceVersion, input_bytes: int, output: int) -> None:
    plain = PriceVersion(version="v", input=price.input, output=price.output, request=price.request)
    assert Price(plain).bound(input_bytes, output) == Price(plain).cost(Tokens(input=input_bytes, output=output))


@given(prices(), st.builds(Tokens, **{kind: st.integers(-(10**19), 10**19) for kind in ("input", "output", "cache_read", "cache_write")}))
def test_counts_that_cannot_be_meant_stay_within_int64(price: PriceVersion, tokens: Tokens) -> None:
    assert 0 <= Price(price).cost(tokens) <= MAX_NANO


def test_cached_tokens_beyond_the_input_are_charged_as_input_of_their_own() -> None:
    price = PriceVersion(version="v", input=10 * MILLION, output=0, cache_read=MILLION)
    assert cost_nano(price, Tokens(input=0, cache_read=7)) == 7


def test_a_tier_prices_the_whole_request() -> None:
    price = Price(PriceVersion(version="v", input=MILLION, output=MILLION, tiers=[PriceTier(from_input_tokens=100, input=3 * MILLION)]))
    assert price.cost(Tokens(input=99, output=1)) == 100
    assert price.cost(Tokens(input=100, output=1)) == 301


def test_the_bound_leaves_out_tiers_that_the_input_cannot_reach() -> None:
    price = Price(PriceVersion(version="v", input=MILLION, output=0, tiers=[PriceTier(from_input_tokens=1_000, input=9 * MILLION)]))
    assert price.bound(999, 0) == 999
    assert price.bound(1_000, 0) == 9_000


@pytest.mark.parametrize(
    ("price", "says"),
    [
        (PriceVersion(version="v", input=-1, output=0), "input is -1"),
        (PriceVersion(version="v", input=0, output=2**63), "output is"),
        (PriceVersion(version="v", input=0, output=0, tiers=[PriceTier(from_input_tokens=-5)]), "from_input_tokens is negative"),
        (PriceVersion(version="v", input=0, output=0, tiers=[PriceTier(from_input_tokens=5)] * 2), "two tiers start at 5"),
        (PriceVersion(version="v", input=0, output=0, tiers=[PriceTier(from_input_tokens=5, output=-2)]), "tiers[0].output is -2"),
        (PriceVersion(version="v", input=0, output=0, valid_from_ms=5, valid_to_ms=5), "valid_to_ms"),
    ],
)
def test_a_price_that_cannot_be_charged_is_refused(price: PriceVersion, says: str) -> None:
    with pytest.raises(PriceError) as refused:
        Price(price)
    assert says in str(refused.value)


def test_price_at_chooses_the_version_in_force_and_the_later_where_two_overlap() -> None:
    versions = [
        PriceVersion(version="old", input=1, output=1, valid_to_ms=1_000),
        PriceVersion(version="new", input=2, output=2, valid_from_ms=1_000, valid_to_ms=3_000),
        PriceVersion(version="promotion", input=0, output=0, valid_from_ms=2_000, valid_to_ms=2_500),
    ]
    found = {at: price_at(compile_prices(versions), at) for at in (0, 999, 1_000, 2_000, 2_499, 2_500, 3_000)}
    assert {at: price.version if price else None for at, price in found.items()} == {
        0: "old",
        999: "old",
        1_000: "new",
        2_000: "promotion",
        2_499: "promotion",
        2_500: "new",
        3_000: None,
    }
    assert price_at(versions, 999) is versions[0]
    assert price_at([], 0) is None
