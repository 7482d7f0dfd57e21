"""The estimator's arithmetic: exact, monotone, and the break-even is where it says."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.budgets.estimating import (
    HOURS_A_MONTH,
    Hosting,
    Meeting,
    cents_up,
    hosted_cost,
    meeting,
    month_cost,
    quantile,
    replicas_for,
    request_cost,
    volumes,
)
from apps.contracts.pricing import Price
from apps.contracts.snapshot import PriceTier, PriceVersion
from apps.contracts.usage import Tokens
from tests.scale import examples

HOSTINGS = st.builds(
    Hosting,
    per_hour=st.integers(0, 20 * 10**9),
    gpus=st.integers(1, 16),
    tokens_a_second=st.integers(1, 50_000),
    busy_percent=st.integers(1, 100),
)
EACH = st.fractions(min_value=0, max_value=10**9, max_denominator=10_000)
TOKENS = st.fractions(min_value=Fraction(1, 10), max_value=10**6, max_denominator=100)


def price(**amounts: int) -> Price:
    return Price(PriceVersion(version="v", **amounts))


def test_a_month_is_priced_request_by_request_and_rounded_up_once() -> None:
    uses = [Tokens(input=1000, output=500), Tokens(input=3000, output=1500, cache_read=1000)]
    each = request_cost({price(input=10**9, output=4 * 10**9, cache_read=10**8): 24}, uses)
    assert each == Fraction((1000 + 2000 + 2000 + 100 + 6000) * 1000, 2)
    assert month_cost(each, 3) == -(-each * 3 // 1) == 16_650_000
    assert month_cost(Fraction(1, 3), 1) == 1, "never less than it costs"


def test_long_requests_are_at_their_own_tier_and_cheap_hours_weigh_as_they_last() -> None:
    tiered = Price(PriceVersion(version="v", input=10**9, output=0, tiers=(PriceTier(from_input_tokens=1000, input=2 * 10**9),)))
    uses = [Tokens(input=500), Tokens(input=1500)]  # their mean, 1000 tokens each, would be another sum
    assert request_cost({tiered: 1}, uses) == Fraction(500_000 + 3_000_000, 2)
    assert request_cost({price(input=10**9, output=0): 18, price(input=0, output=0): 6}, [Tokens(input=1000)]) == 750_000


@settings(max_examples=examples(150), deadline=None)
@given(each=EACH, hosting=HOSTINGS, tokens=TOKENS, requests=st.integers(1, 10**9), more=st.integers(1, 10**9))
def test_more_requests_never_cost_less(each: Fraction, hosting: Hosting, tokens: Fraction, requests: int, more: int) -> None:
    assert month_cost(each, requests) <= month_cost(each, requests + more)
    assert hosted_cost(requests, hosting, tokens) <= hosted_cost(requests + more, hosting, tokens)
    assert replicas_for(requests, hosting, tokens) >= 1


@settings(max_examples=examples(300), deadline=None)
@given(each=EACH, hosting=HOSTINGS, tokens=TOKENS, probes=st.lists(st.integers(0, 10**12), min_size=3, max_size=12))
def test_the_break_even_is_where_it_says(each: Fraction, hosting: Hosting, tokens: Fraction, probes: list[int]) -> None:
    at, surely = meeting(each, hosting, tokens)

    def pays(requests: int) -> bool:
        return hosted_cost(requests, hosting, tokens) <= each * requests

    if at is None:
        assert surely is None
        assert not any(pays(probe + 1) for probe in probes)
        return
    assert pays(at)
    assert at == 1 or not pays(at - 1)
    assert not any(pays(1 + probe % at) for probe in probes if 1 + probe % at < at)
    if surely is not None:
        assert surely >= at and all(pays(surely + probe) for probe in probes)


def test_a_break_even_by_hand() -> None:
    """One GPU at $2 an hour is $1,460 a month; half busy at 1,000 tokens a second it serves 1.314 million requests of 1,000 tokens."""
    hosting = Hosting(per_hour=2 * 10**9, gpus=1, tokens_a_second=1000, busy_percent=50)
    tokens = Fraction(1000)
    assert hosting.replica_month == 2 * HOURS_A_MONTH * 10**9
    assert replicas_for(1_314_000, hosting, tokens) == 1 and replicas_for(1_314_001, hosting, tokens) == 2
    assert meeting(Fraction(2_000_000), hosting, tokens) == Meeting(730_000, 2 * 1_314_000 + 1), "at $0.002 a request"
    assert meeting(Fraction(1_000_000), hosting, tokens) == Meeting(None, None), "at $0.001 a full replica costs more than it saves"
    assert meeting(Fraction(0), hosting, tokens) == Meeting(None, None), "nothing is cheaper than free"
    rows = volumes(1_000_000, Fraction(2_000_000), hosting, tokens)
    assert [(row.requests, row.replicas, row.hosted_wins) for row in rows] == [
        (100_000, 1, False), (500_000, 1, False), (1_000_000, 1, True), (2_000_000, 2, True), (3_000_000, 3, True), (10_000_000, 8, True),
    ]  # fmt: skip


@pytest.mark.parametrize(("nano", "cents"), [(0, 0), (1, 10_000_000), (10_000_000, 10_000_000), (10_000_001, 20_000_000)])
def test_limits_are_whole_cents(nano: int, cents: int) -> None:
    assert cents_up(nano) == cents


def test_quantiles_are_of_what_was_seen() -> None:
    assert [quantile([1, 2, 3, 4], share) for share in (0.0, 0.5, 0.95, 1.0)] == [1, 2, 4, 4]
