"""Costs are exact and rounded up once; bounds hold for every answer a provider can give within them."""

from __future__ import annotations

from fractions import Fraction
from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.contracts.money import MAX_NANO, MILLION
from apps.contracts.pricing import KINDS, WHOLE, Price, PriceError, bound_nano, compile_prices, cost_nano, price_at
from apps.contracts.snapshot import OffPeak, PriceTier, PriceVersion
from apps.contracts.usage import TokenDetails, Tokens

UNIT = st.integers(0, 200_000_000_000)  # up to $200 per million tokens
MAYBE = st.none() | UNIT
SHARE = st.integers(0, WHOLE)


@st.composite
def prices(draw: st.DrawFn) -> PriceVersion:
    """Any price: tiers, kinds with prices of their own, batch work."""

    def kinds() -> dict[str, int | None]:
        own = draw(st.booleans())  # half of all prices know nothing of reasoning, sound and pictures, as most do
        return {
            kind: draw(MAYBE) if own or (stand_in == "input" and "cache" in kind) else None for kind, stand_in in KINDS.items() if stand_in
        }

    starts = draw(st.lists(st.integers(0, 3_000), unique=True, max_size=3))
    tiers = [PriceTier(from_input_tokens=start, input=draw(MAYBE), output=draw(MAYBE), **kinds()) for start in starts]
    return PriceVersion(
        version="v",
        input=draw(UNIT),
        output=draw(UNIT),
        request=draw(UNIT),
        batch_discount=draw(st.just(0) | SHARE),
        tiers=tiers,
        **kinds(),
    )


def plain_cost(price: PriceVersion, tokens: Tokens, *, negotiated: int = 0, off_peak: int = 0) -> int:
    """The price list read aloud, in exact fractions."""
    tier = max((t for t in price.tiers if t.from_input_tokens <= tokens.input), key=lambda t: t.from_input_tokens, default=None)
    details = tokens.details or TokenDetails()

    def unit(kind: str) -> int:
        own = getattr(tier, kind, None)
        amount = own if own is not None else getattr(price, kind)
        return unit(KINDS[kind]) if amount is None else amount

    counted = {
        "cache_read": tokens.cache_read,
        "cache_write": tokens.cache_write,
        "reasoning": tokens.reasoning,
        "audio_input": details.audio_input,
        "audio_output": details.audio_output,
        "image_input": details.image_input,
        "image_output": details.image_output,
    }
    for whole, total in (("input", tokens.input), ("output", tokens.output)):
        counted[whole] = total - sum(count for kind, count in counted.items() if KINDS[kind] == whole)
    total = sum(Fraction(count * unit(kind), MILLION) for kind, count in counted.items()) + Fraction(price.request, MILLION)
    taken = max(off_peak, price.batch_discount if details.batch else 0)
    return ceil(total * Fraction(WHOLE - taken, WHOLE) * Fraction(WHOLE - negotiated, WHOLE))


@st.composite
def counts(draw: st.DrawFn, most_input: int = 6_000, most_output: int = 6_000, *, sound: bool = True) -> Tokens:
    """What a provider may report. sound: also tokens of sound that came in."""

    def part(of: int) -> int:
        return draw(st.integers(0, of))

    total, output = part(most_input), part(most_output)
    read = part(total)
    write = part(total - read)
    reasoning = part(output)
    details = None
    if draw(st.booleans()):
        sound_in = part(total - read - write) if sound else 0
        sound_out = part(output - reasoning)
        details = TokenDetails(
            audio_input=sound_in,
            image_input=part(total - read - write - sound_in),
            audio_output=sound_out,
            image_output=part(output - reasoning - sound_out),
            batch=draw(st.booleans()),
        )
    return Tokens(input=total, output=output, cache_read=read, cache_write=write, reasoning=reasoning, details=details)


@given(prices(), counts())
def test_cost_is_the_price_list_read_aloud_and_rounded_up_once(price: PriceVersion, tokens: Tokens) -> None:
    assert Price(price).cost(tokens) == cost_nano(price, tokens) == plain_cost(price, tokens)


@given(prices(), st.integers(0, 5_000), st.integers(0, 3_000), st.integers(1, 4), st.data())
def test_no_answer_within_the_bounds_costs_more_than_the_bound(
    price: PriceVersion, input_bytes: int, max_output: int, n: int, data: st.DataObject
) -> None:
    tokens = data.draw(counts(input_bytes, max_output * n, sound=False))
    assert Price(price).cost(tokens) <= bound_nano(price, input_bytes=input_bytes, max_output_tokens=max_output, n=n)


@given(prices(), counts(), SHARE, SHARE)
def test_discounts_come_off_the_exact_sum_before_it_is_rounded(price: PriceVersion, tokens: Tokens, negotiated: int, off_peak: int) -> None:
    """What was negotiated comes off what the larger of batch and off-peak leaves; one rounding, upwards, at the very end."""
    compiled = Price(price, negotiated=negotiated, off_peak=off_peak)
    assert compiled.cost(tokens) == plain_cost(price, tokens, negotiated=negotiated, off_peak=off_peak)


@given(prices(), counts(sound=False), SHARE, SHARE)
def test_a_discounted_bound_holds_for_discounted_costs_and_no_discount_makes_dearer(
    price: PriceVersion, tokens: Tokens, negotiated: int, off_peak: int
) -> None:
    compiled = Price(price, negotiated=negotiated, off_peak=off_peak)
    assert compiled.cost(tokens) <= compiled.bound(tokens.input, tokens.output)
    assert compiled.cost(tokens) <= Price(price).cost(tokens)


def test_a_discount_that_leaves_whole_nano_dollars_costs_no_larger_division() -> None:
    price = PriceVersion(version="v", input=150_000_000, output=600_000_000)
    assert Price(price, negotiated=2_000)._divisor == Price(price)._divisor == MILLION
    assert Price(price, negotiated=2_000).cost(Tokens(input=1, output=1)) == 600


def test_the_label_says_what_was_taken_off() -> None:
    price = PriceVersion(version="manual:2026-11-21:0123456789ab", input=1, output=1)
    assert Price(price, negotiated=1_250, off_peak=5_000).version == "manual:2026-11-21:0123456789ab~50%-off-peak~12.5%"
    assert Price(price).version == price.version


def test_reasoning_beyond_the_output_is_charged_as_output_of_its_own() -> None:
    price = Price(PriceVersion(version="v", input=0, output=MILLION, reasoning=2 * MILLION))
    assert price.cost(Tokens(output=3, reasoning=5)) == 10


def test_all_off_is_free_and_a_cent_of_a_percent_is_not() -> None:
    price = PriceVersion(version="v", input=MILLION, output=0)
    assert Price(price, negotiated=WHOLE).cost(Tokens(input=1_000_000)) == 0
    assert Price(price, negotiated=WHOLE - 1).cost(Tokens(input=1)) == 1


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
        (PriceVersion(version="v", input=0, output=0, audio_input=-1), "audio_input is -1"),
        (PriceVersion(version="v", input=0, output=0, batch_discount=10_001), "batch_discount is 10001"),
        (PriceVersion(version="v", input=0, output=0, off_peak=[OffPeak(from_minute=5, to_minute=5, discount=1)]), "two different minutes"),
        (PriceVersion(version="v", input=0, output=0, off_peak=[OffPeak(from_minute=0, to_minute=1_440, discount=1)]), "0 to 1439"),
        (
            PriceVersion(
                version="v",
                input=0,
                output=0,
                off_peak=[OffPeak(from_minute=1_400, to_minute=60, discount=1), OffPeak(from_minute=59, to_minute=90, discount=1)],
            ),
            "overlaps",
        ),
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
