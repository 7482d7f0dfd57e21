"""What a target costs in the proxy: by its page and region, as another model, by the route's default; and what answers report."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from apps.contracts.snapshot import (
    DiscountFragment,
    Endpoint,
    Fragment,
    OffPeak,
    PriceFragment,
    PriceVersion,
    ProviderFragment,
    RouteFragment,
    Target,
)
from apps.contracts.usage import TokenDetails, Tokens, tokens_total
from apps.proxy.compiler import compile_config
from apps.proxy.dialects.openai import OpenAIDialect, OpenAIStream
from apps.proxy.errors import Refusal
from apps.proxy.flight import Refused, _priced
from apps.proxy.resilience import CompileError
from apps.proxy.runtime import CompiledTarget

ORG = "o"
DAY = 86_400_000


def version(label: str, **facts: Any) -> PriceVersion:
    return PriceVersion(**({"version": label, "input": 1_000_000, "output": 2_000_000} | facts))


def page(model: str, *versions: PriceVersion, like: str = "") -> PriceFragment:
    return PriceFragment(id=f"p/{model}", provider="local", model=model, versions=list(versions), like=like)


def target(*more: Fragment, model: str = "m", endpoint: str = "", **route: Any) -> CompiledTarget:
    """The one target of the one route, compiled."""
    provider = ProviderFragment(
        id="p",
        name="local",
        kind="openai",
        organisation=ORG,
        endpoints=[
            Endpoint(name="us", base_url="https://us.example/v1", region="us"),
            Endpoint(name="eu", base_url="https://eu.example/v1", region="eu"),
        ],
    )
    chat = RouteFragment(id="r", name="chat", organisation=ORG, targets=[Target(provider="local", model=model, endpoint=endpoint)], **route)
    full: dict[str, dict[str, Fragment]] = {"providers": {"p": provider}, "routes": {"r": chat}, "prices": {}, "discounts": {}}
    for fragment in more:
        full["prices" if isinstance(fragment, PriceFragment) else "discounts"][fragment.id] = fragment
    return compile_config(full, version=1).tables[ORG]["chat"].targets[0]


def label(found: CompiledTarget, now_ms: int = 0) -> str | None:
    price = found.prices.at(now_ms) if found.prices is not None else None
    return price.version if price is not None else None


def test_the_endpoints_region_decides() -> None:
    prices = page("m", version("all"), version("eu", region="eu"))
    assert label(target(prices, endpoint="eu")) == "eu"
    assert label(target(prices, endpoint="us")) == label(target(prices)) == "all"


def test_what_was_negotiated_comes_off_and_is_named_in_the_record() -> None:
    deal = DiscountFragment(id="d", organisation=ORG, provider="p", discount=1_000, valid_to_ms=DAY)
    found = target(page("m", version("v", off_peak=[OffPeak(from_minute=0, to_minute=60, discount=5_000)])), deal)
    assert [label(found, at) for at in (0, 3_600_000, DAY, DAY + 3_600_000)] == ["v~50%-off-peak~10%", "v~10%", "v~50%-off-peak", "v"]


def test_without_a_price_the_routes_default_holds_then_what_the_route_says() -> None:
    other = page("other", version("other"))
    assert target(other).prices is None
    assert label(target(other, default_price="local/other")) == "other"
    assert label(target(other, page("m", version("own", valid_from_ms=5)), default_price="local/other"), 4) == "other"
    assert label(target(other, page("m", version("own", valid_from_ms=5)), default_price="local/other"), 5) == "own"
    assert label(target(unpriced="zero")) == "unpriced:zero"
    ended = page("other", version("other", valid_to_ms=5))
    assert [label(target(ended, default_price="local/other", unpriced="zero"), at) for at in (4, 5)] == ["other", "unpriced:zero"]


def test_a_default_that_nobody_priced_and_a_circle_do_not_compile() -> None:
    with pytest.raises(CompileError, match="no price of 'nobody' at 'local'") as refused:
        target(default_price="local/nobody")
    assert (refused.value.section, refused.value.field) == ("routes", "default_price")
    with pytest.raises(CompileError, match="local/m is priced like local/n is priced like local/m") as refused:
        target(page("m", like="p/n"), page("n", like="p/m"))
    assert refused.value.section == "prices"


def reserved(found: CompiledTarget, *, unbounded: str = "") -> int:
    """What an attempt at it would reserve under a hard budget."""
    exchange = SimpleNamespace(started_us=0, input_bound=100, max_output=50, n=1, unbounded=unbounded, extras=None)
    return _priced(cast(Any, exchange), found, None, cast(Any, SimpleNamespace(hard=True, too_many=False)))[1]


def test_an_unpriced_model_is_refused_under_a_hard_budget_and_a_free_one_always_passes() -> None:
    with pytest.raises(Refused) as refused:
        reserved(target())
    refusal: Refusal = refused.value.refusal
    assert refusal.code == "unpriced_model" and "default_price" in refusal.message and "unpriced: zero" in refusal.message
    assert reserved(target(unpriced="zero")) == 0
    free = target(page("m", version("free", input=0, output=0)))
    assert reserved(free) == reserved(free, unbounded="sound") == 0
    assert reserved(target(page("m", version("v")))) == 200


ANSWER = (
    b'{"object":"chat.completion","choices":[],"usage":{"prompt_tokens":9,"completion_tokens":7,"total_tokens":16,'
    b'"prompt_tokens_details":{"cached_tokens":2,"audio_tokens":3},"completion_tokens_details":{"reasoning_tokens":1,"audio_tokens":4}}%b}'
)
PLAIN = (
    b'{"object":"chat.completion","usage":{"prompt_tokens":9,"completion_tokens":7,'
    b'"prompt_tokens_details":{"audio_tokens":0},"completion_tokens_details":null}%b}'
)


def tokens(body: bytes) -> Tokens:
    answer = OpenAIDialect().answer(body)
    assert answer is not None and answer.tokens is not None
    return answer.tokens


def test_sound_is_counted_apart_and_batch_work_is_what_the_answer_says() -> None:
    assert tokens(ANSWER % b"").details == TokenDetails(audio_input=3, audio_output=4)
    assert tokens(PLAIN % b"").details is None
    assert tokens(PLAIN % b',"service_tier":"default"').details is None
    for tier in (b"flex", b"batch"):
        assert tokens(PLAIN % b',"service_tier":"%b"' % tier).details == TokenDetails(batch=True)


@pytest.mark.parametrize("tier", [b"null", b"7", b'["flex"]', b'{"flex":1}'])
def test_a_strange_service_tier_breaks_nothing(tier: bytes) -> None:
    assert tokens(PLAIN % b',"service_tier":%b' % tier).details is None


def test_a_stream_says_so_too() -> None:
    stream = OpenAIStream(hide_usage=False)
    stream.feed(b'data: {"choices":[{"delta":{"content":"x"}}]}\n\n')
    stream.feed(b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":7},"service_tier":"flex"}\n\ndata: [DONE]\n\n')
    stream.close()
    assert stream.tokens is not None and stream.tokens.details == TokenDetails(batch=True)


def test_attempts_are_summed_by_kind() -> None:
    parts = [tokens(ANSWER % b""), tokens(ANSWER % b""), Tokens(input=1, output=1)]
    assert tokens_total(parts) == Tokens(
        input=19, output=15, cache_read=4, reasoning=2, details=TokenDetails(audio_input=6, audio_output=8)
    )
    assert tokens_total([Tokens(input=1)]).details is None
