"""The invariant of money: for anything that a provider honours, what is settled is never more than what was reserved."""

from __future__ import annotations

import base64
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.contracts.metering import ANY, BESIDE, HOUR, UNITS, WHOLE, amount_of, meter_of
from apps.contracts.pricing import UNITS_ONLY, Price
from apps.contracts.snapshot import PriceTier, PriceVersion
from apps.contracts.usage import TokenDetails, Tokens
from apps.proxy.bounds import Extras, most_of, priced_by
from apps.proxy.caller import Caller
from apps.proxy.demand import TOOL_TOKENS, chat_demand
from apps.proxy.dialects import FRONTS, NATIVES
from apps.proxy.dialects.openai import IMAGE_TOKENS, chat_extras
from tests.conformance.test_operations import wav
from tests.scale import examples

AMOUNTS = st.integers(0, 10**15)
MAYBE = st.none() | AMOUNTS
QUALITIES, SIZES = ("", "hd", "low"), ("", "1024x1024", "512x512")


@st.composite
def prices(draw: st.DrawFn) -> Price:
    kinds = ("cache_read", "cache_write", "reasoning", "audio_input", "audio_output", "image_input", "image_output")
    names = [meter_of("image", quality, size) for quality in QUALITIES for size in SIZES]
    names += [unit for unit in UNITS if unit != "image"]
    units = draw(st.dictionaries(st.sampled_from(names), AMOUNTS, max_size=6))
    if units and draw(st.booleans()):
        return Price(UNITS_ONLY, negotiated=draw(st.integers(0, 10_000)), units=units)
    tiers = [PriceTier(from_input_tokens=draw(st.integers(1, 5_000)), input=draw(MAYBE), output=draw(MAYBE))] if draw(st.booleans()) else []
    version = PriceVersion(
        version="v",
        input=draw(AMOUNTS),
        output=draw(AMOUNTS),
        request=draw(st.sampled_from((0, 1, 10**15))),
        tiers=tiers,
        batch_discount=draw(st.sampled_from((0, 5_000))),
        **{kind: draw(MAYBE) for kind in kinds},  # type: ignore[arg-type]
    )
    return Price(version, negotiated=draw(st.integers(0, 10_000)), units=units)


@st.composite
def used(draw: st.DrawFn, most_input: int, most_output: int) -> Tokens:
    """Any tokens up to these counts, split into kinds as providers may."""
    entered, given_ = draw(st.integers(0, most_input)), draw(st.integers(0, most_output))
    read = draw(st.integers(0, entered))
    write = draw(st.integers(0, entered - read))
    sound = draw(st.integers(0, entered - read - write))
    picture = draw(st.integers(0, entered - read - write - sound))
    reasoning = draw(st.integers(0, given_))
    spoken = draw(st.integers(0, given_ - reasoning))
    details = TokenDetails(
        audio_input=sound,
        image_input=picture,
        audio_output=spoken,
        batch=draw(st.booleans()),
        cache_write_hour=draw(st.integers(0, write)),
    )
    return Tokens(input=entered, output=given_, cache_read=read, cache_write=write, reasoning=reasoning, details=details)


@settings(max_examples=examples(200))
@given(st.data(), prices(), st.integers(0, 20_000), st.integers(0, 5_000))
def test_no_cost_within_the_counts_is_more_than_the_bound(data: st.DataObject, price: Price, entered: int, given_: int) -> None:
    """Images may turn out to be of any quality and size where the request left them open."""
    tokens = data.draw(used(entered, given_))
    assert tokens.details is not None
    bounds: dict[str, int] = {}
    open_quality, open_size = data.draw(st.booleans()), data.draw(st.booleans())
    for unit in data.draw(st.lists(st.sampled_from([*WHOLE, *BESIDE]), unique=True, max_size=3)):
        most = data.draw(st.integers(0, 50))
        made = data.draw(st.integers(0, most))
        if unit == "image":
            quality, size = data.draw(st.sampled_from(("hd", "low", "other"))), data.draw(st.sampled_from(("1024x1024", "9x9")))
            bounds[meter_of(unit, ANY if open_quality else quality, ANY if open_size else size)] = most
            tokens.details.meters[meter_of(unit, quality, size)] = made
        else:
            bounds[unit] = most
            tokens.details.meters[unit] = made
    assert price.cost(tokens) <= price.bound_metered(entered, given_, bounds)


def test_an_image_of_open_size_may_be_one_without_a_price_and_then_its_tokens_cost() -> None:
    price = Price(PriceVersion(version="v", input=1_000_000, output=0), units={meter_of("image", "hd", "1024x1024"): 1})
    tokens = Tokens(input=7, output=0, details=TokenDetails(meters={meter_of("image", "hd", "9x9"): 1}))
    assert price.cost(tokens) == 7
    assert price.bound_metered(7, 0, {meter_of("image", "hd", ANY): 1}, dear=False) == 8
    assert price.bound_metered(7, 0, {meter_of("image", "hd", "1024x1024"): 1}) == 1


@settings(max_examples=examples(200))
@given(st.data(), prices(), st.integers(0, 20_000), st.integers(0, 5_000))
def test_neither_is_it_of_text_and_tools_where_nothing_is_dear(data: st.DataObject, price: Price, entered: int, given_: int) -> None:
    tokens = data.draw(used(entered, given_))
    assert tokens.details is not None
    tokens.details.audio_input = tokens.details.cache_write_hour = 0
    assert price.cost(tokens) <= price.bound_metered(entered, given_, {}, dear=False) <= price.bound_metered(entered, given_, {})


def test_the_price_that_says_most_wins_and_the_unsaid_is_the_dearest() -> None:
    known = {"image": 1, "image:hd:": 5, "image::512x512": 3, "image:hd:512x512": 4}
    asked = {"image": 1, "image:low:": 1, "image:hd:": 5, "image:hd:9x9": 5, "image:low:512x512": 3, "image:hd:512x512": 4, "image:*:*": 5}
    assert {meter: amount_of(known, meter) for meter in asked} == asked
    assert amount_of(known, "image:*:512x512") == 4 and amount_of(known, "second") is None


def test_an_hours_cache_costs_twice_the_input_or_its_own_price() -> None:
    version = PriceVersion(version="v", input=3_000_000_000, output=0, cache_write=3_750_000_000)
    written = Tokens(input=1_000_000, cache_write=1_000_000, details=TokenDetails(cache_write_hour=400_000))
    assert Price(version).cost(written) == 600_000 * 3_750 + 400_000 * 6_000
    assert Price(version, units={HOUR: 5_000_000_000}).cost(written) == 600_000 * 3_750 + 400_000 * 5_000


def test_what_is_billed_whole_pays_for_no_tokens_and_what_is_beside_does() -> None:
    price = Price(PriceVersion(version="v", input=10**9, output=10**9), units={"image": 40 * 10**12, "web_search": 10 * 10**12})
    made = Tokens(input=100, output=1_000, details=TokenDetails(meters={"image": 2}))
    assert price.cost(made) == 80_000_000
    searched = Tokens(input=100, output=1_000, details=TokenDetails(meters={"web_search": 3}))
    assert price.cost(searched) == 30_000_000 + 1_100 * 1_000


# --- requests ---


def exchange_of(payload: dict[str, Any], caller: Caller | None = None, body: bytes = b"{}") -> Any:
    extra, unbounded = chat_extras(payload)
    if caller is not None and caller.own is not None and not unbounded:
        unbounded = f"{caller.own.field} is not known to the proxy"
    found = SimpleNamespace(
        payload=payload,
        caller=caller,
        unbounded=unbounded,
        request=SimpleNamespace(body=body),
        input_bound=1_000 + extra,
        max_output=100,
        n=1,
        extras=None,
    )
    found.extras = chat_demand(cast(Any, found))
    return found


def anthropic(asked: dict[str, Any]) -> Any:
    caller = Caller(FRONTS["anthropic"], NATIVES["anthropic"])
    asked = {"model": "claude", "max_tokens": 100, "messages": [{"role": "user", "content": "hi"}], **asked}
    return exchange_of(cast(Any, caller.read(asked)), caller)


def target(window: int = 0) -> Any:
    return SimpleNamespace(window=window, model="claude")


PRICE = Price(PriceVersion(version="v", input=10**9, output=10**9))
SEARCHES = Price(PriceVersion(version="v", input=10**9, output=10**9), units={"web_search": 10 * 10**12})
CLIENT_TOOL = {"name": "f", "input_schema": {"type": "object"}}


def test_hidden_prompts_of_tools_are_in_the_bound() -> None:
    plain = exchange_of({"messages": [{"role": "user", "content": "hi"}]})
    assert plain.extras is None
    tools = exchange_of({"messages": [], "tools": [{"type": "function", "function": {"name": "f"}}]})
    assert most_of(tools, target(), PRICE) == (PRICE.bound(1_000 + TOOL_TOKENS, 100), "")


def test_an_hours_cache_is_in_the_bound() -> None:
    marked = exchange_of({"messages": []}, body=b'{"cache_control":{"type":"ephemeral","ttl":"1h"}}')
    amount, why = most_of(marked, target(), PRICE)
    assert (amount, why) == (2 * 1_000 * 1_000 + 100 * 1_000, "")


def test_sound_in_a_message_is_bounded_by_its_length_or_refused() -> None:
    def message(data: bytes) -> Any:
        part = {"type": "input_audio", "input_audio": {"data": base64.b64encode(data).decode(), "format": "wav"}}
        return exchange_of({"messages": [{"role": "user", "content": [part]}]})

    amount, why = most_of(message(wav(2)), target(), PRICE)
    assert why == "" and amount >= (1_000 + 2 * 10) * 1_000, "OpenAI counts ten tokens a second"
    assert "wav, mp3" in most_of(message(b"\x1aE\xdf\xa3" + bytes(99)), target(), PRICE)[1]
    assert most_of(message(b"\x1aE\xdf\xa3" + bytes(99)), target(window=8_000), PRICE)[1] == ""


def test_a_file_is_bounded_by_the_window_or_refused() -> None:
    parts = [{"type": "file", "file": {"file_data": "x"}}, {"type": "image_url", "image_url": {"url": "https://x.test/y.png"}}]
    sent = exchange_of({"messages": [{"role": "user", "content": parts}]})
    assert "context window" in most_of(sent, target(), PRICE)[1]
    amount, why = most_of(sent, target(window=200_000), PRICE)
    assert (amount, why) == (PRICE.bound(200_000, 100), "")
    assert sent.extras.input >= IMAGE_TOKENS


@pytest.mark.parametrize(
    ("tools", "window", "price", "says"),
    [
        ([{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}], 200_000, SEARCHES, ""),
        ([{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}, CLIENT_TOOL], 200_000, SEARCHES, ""),
        ([{"type": "web_search_20250305", "name": "web_search"}], 200_000, SEARCHES, "set max_uses"),
        ([{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}], 200_000, PRICE, "no price for them"),
        ([{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}], 0, SEARCHES, "context window"),
        ([{"type": "code_execution_20250522", "name": "code_execution"}], 200_000, SEARCHES, "'code_execution_20250522'"),
        ([{"type": "bash_20250124", "name": "bash"}], 0, PRICE, ""),
    ],
)
def test_tools_of_the_provider(tools: list[Any], window: int, price: Price, says: str) -> None:
    sent = anthropic({"tools": tools})
    amount, why = most_of(sent, target(window), price)
    assert says in why if says else why == "", why
    if not says and window:  # it reads its input again with each search, up to the window each time
        assert amount >= price.cost(Tokens(input=4 * window, output=100, details=TokenDetails(meters={"web_search": 3})))


def test_something_else_that_is_not_known_stays_refused() -> None:
    sent = anthropic({"tools": [{"type": "web_search_20250305", "name": "web_search", "max_uses": 3}], "container": "c-1"})
    assert "is not known to the proxy" in most_of(sent, target(200_000), SEARCHES)[1]


def test_prices_of_units_alone_price_no_tokens() -> None:
    """Else a chat at such a model would be booked at nothing."""
    only = Price(UNITS_ONLY, units={"image": 10**12})
    chat = exchange_of({"messages": []})
    assert priced_by(chat, only) is None
    chat.extras = Extras(meters={"image:hd:": 1})
    assert priced_by(chat, only) is only
