"""Our integers against the price book's own calculation, to the nano-dollar, rounded up."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from decimal import ROUND_CEILING, Decimal

import pytest
from genai_prices import Usage, calc_price, data_snapshot
from genai_prices.types import ModelPrice, TieredPrices, TimeOfDateConstraint

from apps.contracts.money import MILLION, NANO, ceil_div
from apps.contracts.pricing import Price
from apps.contracts.tariff import Layer, Tariff
from apps.contracts.usage import TokenDetails, Tokens
from apps.providers import pricebook
from apps.providers.rules import PriceSpec, price_version

MODELS = [
    ("openai", "gpt-4o-mini"),
    ("openai", "gpt-4o-mini-2024-07-18"),
    ("openai", "gpt-4.1-nano"),
    ("openai", "gpt-5.4"),
    ("openai", "gpt-5.6-luna"),
    ("openai", "text-embedding-3-small"),
    ("openai", "o4-mini"),
    ("anthropic", "claude-sonnet-4-5"),
    ("anthropic", "claude-opus-4-6"),
    ("anthropic", "claude-haiku-5-5"),
    ("groq", "llama-3.3-70b-versatile"),
    ("mistral", "mistral-small-latest"),
    ("perplexity", "sonar"),
]
USAGES = [
    (0, 0, 0, 0),
    (1, 1, 0, 0),
    (17, 3, 5, 0),
    (999, 1001, 998, 1),
    (123_457, 7_919, 100_003, 0),
    (200_000, 10, 0, 0),
    (200_001, 10, 199_999, 2),
    (272_000, 99, 0, 0),
    (272_001, 99, 271_001, 1_000),
    (999_983, 65_537, 0, 0),
]
"""(input with cached, output, cache read, cache write) tokens; around the tiers' borders, and primes."""


def cost(spec: PriceSpec, usage: tuple[int, int, int, int]) -> int:
    """As the contract words it, written apart from the proxy's own code."""
    total, output, read, write = usage
    price = {kind: getattr(spec, kind) for kind in ("input", "output", "cache_read", "cache_write")}
    for tier in spec.tiers:
        if total >= (tier["from_input_tokens"] or 0):
            price |= {kind: value for kind, value in tier.items() if kind in price and value is not None}
    read_price = price["input"] if price["cache_read"] is None else price["cache_read"]
    write_price = price["input"] if price["cache_write"] is None else price["cache_write"]
    units = (total - read - write) * price["input"] + output * price["output"] + read * read_price + write * write_price + spec.request
    return ceil_div(units, MILLION)


@pytest.mark.parametrize(("provider", "model"), MODELS)
@pytest.mark.parametrize("usage", USAGES)
def test_costs_agree_with_the_book(provider: str, model: str, usage: tuple[int, int, int, int]) -> None:
    specs = pricebook.book_prices(provider, model)
    assert specs, f"the book has no price for {provider}/{model}"
    total, output, read, write = usage
    for spec in specs:
        at = spec.valid_from or (spec.valid_to - timedelta(seconds=1) if spec.valid_to else datetime.now(UTC))
        theirs = calc_price(
            Usage(input_tokens=total, output_tokens=output, cache_read_tokens=read, cache_write_tokens=write),
            model,
            provider_id=provider,
            genai_request_timestamp=at,
        ).total_price
        assert cost(spec, usage) == int((theirs * NANO).to_integral_value(rounding=ROUND_CEILING))


def test_versions_have_no_gap_and_start_at_the_beginning() -> None:
    for provider in data_snapshot.get_snapshot().providers:
        if provider.id not in ("openai", "anthropic", "deepseek", "google", "mistral"):
            continue
        for info in provider.models:
            specs = pricebook.book_prices(provider.id, info.id)
            for earlier, later in itertools.pairwise(specs):
                assert earlier.valid_to is not None and earlier.valid_to == later.valid_from
            if specs:
                assert specs[-1].valid_to is None


def test_prices_by_the_time_of_day_are_never_too_low_and_exact_where_one_discount_makes_them() -> None:
    found = exact = 0
    for provider in data_snapshot.get_snapshot().providers:
        for info in provider.models:
            if isinstance(info.prices, ModelPrice):
                continue
            if not any(isinstance(price.constraint, TimeOfDateConstraint) for price in info.prices):
                continue
            found += 1
            for spec in pricebook.book_prices(provider.id, info.id):
                day = spec.valid_from or (spec.valid_to - timedelta(days=1) if spec.valid_to else datetime(2026, 11, 1, tzinfo=UTC))
                tariff = Tariff([Layer([price_version(spec._replace(valid_from=None, valid_to=None), "v")])])
                for hour in range(24):
                    moment = day.replace(hour=hour, minute=31)
                    price = tariff.at(int(moment.timestamp() * 1000))
                    assert price is not None
                    ours = price.cost(Tokens(input=1_000_000, output=1_000_000))
                    then = info.get_prices(moment)
                    assert isinstance(then.input_mtok, Decimal) and isinstance(then.output_mtok, Decimal)
                    theirs = (then.input_mtok + then.output_mtok) * NANO
                    assert ours == theirs if spec.off_peak else ours >= theirs
                exact += bool(spec.off_peak)
    assert found, "the book has no such model any more: this test needs another"
    assert exact, "no off-peak hours are taken from the book"


def test_sound_pictures_and_reasoning_cost_what_the_book_says() -> None:
    """For every model with a price for one of them: a request of text and that kind."""
    usages = {
        "audio_input": (("input_audio_tokens", 300), Tokens(input=1_000, output=700, details=TokenDetails(audio_input=300))),
        "audio_output": (("output_audio_tokens", 300), Tokens(input=1_000, output=700, details=TokenDetails(audio_output=300))),
        "image_input": (("input_image_tokens", 300), Tokens(input=1_000, output=700, details=TokenDetails(image_input=300))),
        "reasoning": (("output_reasoning_tokens", 300), Tokens(input=1_000, output=700, reasoning=300)),
    }
    seen: set[str] = set()
    for provider in data_snapshot.get_snapshot().providers:
        for info in provider.models:
            for spec in pricebook.book_prices(provider.id, info.id)[-1:]:
                for kind, ((name, count), tokens) in usages.items():
                    if getattr(spec, kind) is None or spec.off_peak or provider.find_model(info.id) is not info:
                        continue
                    usage = Usage(input_tokens=1_000, output_tokens=700, **{name: count})
                    theirs = calc_price(usage, info.id, provider_id=provider.id).total_price * NANO
                    assert Price(price_version(spec, "")).cost(tokens) == int(theirs.to_integral_value(rounding=ROUND_CEILING)), info.id
                    seen.add(kind)
    assert {"audio_input", "audio_output", "image_input"} <= seen


def test_models_that_bill_text_by_other_units_stay_unpriced() -> None:
    skipped = 0
    for provider in data_snapshot.get_snapshot().providers:
        for info in provider.models:
            if isinstance(info.prices, ModelPrice) and (vars(info.prices).keys() & {"output_citation_mtok", "input_mchars"}):
                skipped += 1
                assert pricebook.book_prices(provider.id, info.id) == [] or provider.find_model(info.id) is not info
    assert skipped


def test_unknown_models_and_lists_have_no_price() -> None:
    assert pricebook.book_prices("openai", "no-such-model") == []
    assert pricebook.book_prices("no-such-list", "gpt-4o-mini") == []


@pytest.mark.parametrize(
    ("url", "price_list"),
    [("https://api.openai.com/v1", "openai"), ("https://api.deepseek.com", "deepseek"), ("http://127.0.0.1:8000/v1", None)],
)
def test_the_list_follows_the_address(url: str, price_list: str | None) -> None:
    assert pricebook.price_list_of(url) == price_list


def test_tiers_start_one_token_after_the_books() -> None:
    info = data_snapshot.get_snapshot().find_provider_model("gpt-5.4", None, "openai", None)[1]
    assert isinstance(info.prices, ModelPrice)
    theirs = info.prices.input_mtok
    assert isinstance(theirs, TieredPrices)
    (spec,) = pricebook.book_prices("openai", "gpt-5.4")
    assert [tier["from_input_tokens"] for tier in spec.tiers] == [tier.start + 1 for tier in theirs.tiers]
