"""One process's limits: what is refused and why, exact times and headers, fairness between keys, and life without Redis."""

from __future__ import annotations

import asyncio
import re
from types import SimpleNamespace
from typing import Any

import pytest

from apps.contracts.limits import AmountError, amount_read
from apps.contracts.snapshot import LimitFragment
from apps.contracts.usage import Tokens
from apps.proxy.limits import WAIT
from apps.proxy.limits_fake import FakeBook, FakePool
from apps.proxy.limits_shares import TTL_SECONDS
from apps.proxy.limits_table import LimitTable
from apps.proxy.resilience import CompileError
from apps.proxy.steps.limit import limit
from tests.proxy.limiting import Proxy, Request, fragment


class Clock:
    def __init__(self) -> None:
        self.at = 5_000.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def clock() -> Clock:
    return Clock()


def alone(clock: Clock, *fragments: Any, proxies: int = 1) -> Proxy:
    return Proxy(*fragments, pool=None, now=clock, proxies=proxies)


def test_a_refused_request_takes_nothing_of_any_limit(clock: Clock) -> None:
    proxy = alone(clock, fragment(amount=10), fragment("tokens_per_minute", 100, id="l-2", name="tokens"))
    assert proxy.admit(Request(tokens=80)) is None
    refused = Request(tokens=30)
    refusal = proxy.admit(refused)
    assert refusal is not None and refusal.code == "rate_limit_exceeded" and not refused.holds
    assert [window.used for window in proxy.windows] == [1, 80]
    assert refusal.detail is not None and refusal.detail["limit"] == "tokens"
    assert (
        "allows 100 tokens per minute: 80 are used or reserved and this request could use up to 30. Try again in 61 s." in refusal.message
    )


def test_tokens_are_settled_to_what_was_used(clock: Clock) -> None:
    proxy = alone(clock, fragment("tokens_per_minute", 100))
    requests = [Request(tokens=50), Request(tokens=50)]
    assert [proxy.admit(request) for request in requests] == [None, None] and proxy.admit(Request(tokens=1)) is not None
    requests[0].answered(10)
    proxy.end(requests[0])
    assert proxy.windows[0].used == 60
    proxy.end(requests[1])  # it never reached a provider
    proxy.end(requests[1])
    assert proxy.windows[0].used == 10
    over = Request(tokens=20)
    assert proxy.admit(over) is None
    over.answered(120)  # the provider used more than the bound: counted, and nothing more fits
    proxy.end(over)
    assert proxy.windows[0].used == 130 and proxy.admit(Request(tokens=1)) is not None


def test_retry_after_is_exact(clock: Clock) -> None:
    proxy = alone(clock, fragment(amount=2))
    for _ in range(2):
        assert proxy.admit(Request()) is None
        clock.at += 10
    refusal = proxy.admit(Request())
    assert refusal is not None and refusal.detail is not None
    wait = refusal.detail["retry_after_ms"] / 1000
    assert 40 <= wait <= 40.1 and refusal.detail["retry_after_seconds"] == 41
    clock.at += wait - 0.01
    assert proxy.admit(Request()) is not None
    clock.at += 0.01
    assert proxy.admit(Request()) is None and proxy.admit(Request()) is not None


def test_headers_have_openais_names_and_the_tightest_limit(clock: Clock) -> None:
    wide = fragment(amount=100, id="l-2", scope="route", name="wide")
    proxy = alone(
        clock, fragment(amount=3), wide, fragment("tokens_per_day", 1_000, id="l-3"), fragment("concurrent_requests", 9, id="l-4")
    )
    request = Request(tokens=50)
    assert proxy.admit(request) is None
    head = proxy.limits.headers(request).decode()  # type: ignore[arg-type]
    found = dict(line.split(": ") for line in head.strip().split("\r\n"))
    assert found["x-ratelimit-limit-requests"] == "3" and found["x-ratelimit-remaining-requests"] == "2"
    assert found["x-ratelimit-limit-tokens"] == "1000" and found["x-ratelimit-remaining-tokens"] == "950"
    assert re.fullmatch(r"600\d\dms", found["x-ratelimit-reset-requests"]) and len(found) == 6


def test_a_request_that_can_never_fit_says_what_would(clock: Clock) -> None:
    proxy = alone(clock, fragment("tokens_per_minute", 100))
    request = Request(tokens=60)
    request.max_output = 50
    refusal = proxy.admit(request)
    assert refusal is not None and refusal.code == "request_exceeds_limit" and "at most 40 tokens of output" in refusal.message
    request.input_bound = 200
    refusal = proxy.admit(request)
    assert refusal is not None and "Send a shorter input" in refusal.message and refusal.param is None


def test_an_explanation_names_the_limit_and_takes_nothing(clock: Clock) -> None:
    proxy = alone(clock, fragment(amount=1))
    dry = {b"x-bulkhead-explain": b"dry-run"}
    assert proxy.admit(Request(headers=dry)) is None and proxy.admit(Request()) is None
    refusal = proxy.admit(Request(headers=dry))
    assert refusal is not None and refusal.detail is not None and refusal.detail["limit"] == "tests"
    assert proxy.windows[0].used == 1


def test_requests_at_once(clock: Clock) -> None:
    proxy = alone(clock, fragment("concurrent_requests", 2))
    first, second, third = Request(), Request(), Request()
    assert proxy.admit(first) is None and proxy.admit(second) is None
    refusal = proxy.admit(third)
    assert refusal is not None and "2 requests at once: 2 are running" in refusal.message
    first.answered(5)
    proxy.end(first)
    proxy.end(first)
    assert proxy.windows[0].used == 1 and proxy.admit(third) is None


def test_a_shared_limit_is_fair_between_keys(clock: Clock) -> None:
    """One key asks for twenty times what another does: that one gets all it asks for, and nothing is left unused."""
    proxy = alone(clock, fragment(amount=120, scope="route"))
    got = {"greedy": 0, "modest": 0}
    asked = dict(got)
    for tick in range(6_000):  # five minutes
        clock.at += 0.05
        for key in ("greedy", "greedy") + (("modest",) if tick % 20 == 10 else ()):
            asked[key] += tick >= 3_600
            got[key] += proxy.admit(Request(key)) is None and tick >= 3_600
        if tick % 4 == 0:
            proxy.keeper.tick()
    assert asked["modest"] == 120 and got["modest"] >= 110
    assert 228 <= got["greedy"] + got["modest"] <= 240, "two minutes of a limit of 120"


def test_without_redis_each_keeps_its_part_and_no_less_than_one(clock: Clock) -> None:
    for amount, proxies, part in ((40, 4, 10), (3, 4, 1)):
        proxy = alone(clock, fragment(amount=amount), proxies=proxies)
        codes = [proxy.admit(Request()) is None for _ in range(amount)]
        assert codes.count(True) == part and proxy.keeper.detail() == {"limits": "local"} and proxy.keeper.state == "none"


def test_away_and_back(clock: Clock) -> None:
    """A share is used while it lasts, then an equal part; afterwards what was used is claimed, so that it counts."""

    async def play() -> None:
        book = FakeBook(lambda: int(clock.at * 1000))
        pool = FakePool(book, "boot-1")
        proxy = Proxy(fragment(amount=40), pool=pool, now=clock)
        window = proxy.windows[0]
        assert proxy.admit(Request()) is WAIT
        await proxy.keeper._sync(proxy.keeper.due())
        assert proxy.admit(Request()) is None and window.share >= 10
        book.sync("boot-2", [], 8_000, 1)
        clock.at += 1
        await proxy.keeper._sync(proxy.keeper.due())
        assert proxy.limits.proxies == 2
        pool.away = True
        await proxy.keeper._sync([])
        assert not proxy.limits.away, "a share outlives a hiccup"
        clock.at += TTL_SECONDS
        await proxy.keeper._sync([])
        assert proxy.limits.away and proxy.keeper.state == "away"
        assert [proxy.admit(Request()) is None for _ in range(30)].count(True) == 19, "an equal part, less what it has used"
        pool.away = False
        await proxy.keeper._sync([])
        await proxy.keeper._sync(proxy.keeper.due())
        assert not proxy.limits.away and not window.local and book.states["l-1"].holders["boot-1"].units >= 20

    asyncio.run(play())


def test_a_pool_that_hangs_holds_nobody_up(clock: Clock) -> None:
    class Hanging:
        async def sync(self, asks: Any, ttl_ms: int, number: int) -> Any:
            await asyncio.sleep(3_600)

    async def play() -> None:
        proxy = Proxy(fragment(amount=4), pool=Hanging(), now=clock)
        task = asyncio.create_task(proxy.keeper.run())
        request = Request()
        assert proxy.admit(request) is WAIT
        async with asyncio.timeout(60):
            refusal = await proxy.keeper.wait(request, proxy.windows)  # type: ignore[arg-type]
        assert (
            refusal is not None and refusal.code == "limit_unavailable" and refusal.detail == {"limit": "tests", "retry_after_seconds": 1}
        )
        task.cancel()

    asyncio.run(play())


def test_what_applies_is_decided_by_key_team_route_and_model() -> None:
    scopes = {"key": "k-1", "route": "r-1", "model": "gpt", "team": "search", "organisation": "o-1"}
    fragments = {
        scope: fragment(id=scope, scope=scope, amount=5).__class__(  # type: ignore[arg-type]
            id=scope, name=scope, organisation="o-1", scope=scope, scope_id=id, kind="requests_per_minute", amount=5
        )
        for scope, id in scopes.items()
    }
    table = LimitTable(fragments, 1)
    key, route = SimpleNamespace(id="k-1", organisation="o-1", team="search"), SimpleNamespace(id="r-1")
    assert [one.scope for one in table.applying(key, route, "gpt")] == list(scopes)  # type: ignore[arg-type]
    stranger = SimpleNamespace(id="k-1", organisation="o-2", team="search")
    assert table.applying(stranger, route, "gpt") == []  # type: ignore[arg-type]
    other = SimpleNamespace(id="k-2", organisation="o-1", team="")
    assert [one.scope for one in table.applying(other, SimpleNamespace(id="r-2"), "x")] == ["organisation"]  # type: ignore[arg-type]
    assert limit(None, SimpleNamespace(limits=None)) is None  # type: ignore[arg-type]
    with pytest.raises(CompileError, match="amount"):
        LimitTable({"l": fragment(amount=0)}, 1)


def of_models(clock: Clock, **amounts: int) -> tuple[Proxy, LimitTable]:
    """A proxy by itself, with a limit on tokens for each model; a request is admitted as one whose first target the first model is."""
    fragments = {
        model: LimitFragment(
            id=model, name=model, organisation="o-1", scope="model", scope_id=model, kind="tokens_per_minute", amount=amount
        )
        for model, amount in amounts.items()
    }
    proxy = alone(clock, next(iter(fragments.values())))
    return proxy, LimitTable(fragments, 1)


def asked(proxy: Proxy, *calls: tuple[str, int], tokens: int = 50) -> Request:
    """A request of at most so many tokens whose attempts used these of each model."""
    request = Request(tokens=tokens)
    request.key.organisation = "o-1"
    assert proxy.admit(request) is None
    request.attempts = [SimpleNamespace(model=model, tokens=Tokens(input=used)) for model, used in calls]
    return request


def test_each_models_own_calls_count_against_its_limits(clock: Clock) -> None:
    proxy, table = of_models(clock, one=100, two=60)
    moved = asked(proxy, ("one", 0), ("two", 7))
    assert proxy.limits.admit_model(moved, table, "one") is None and len(moved.holds) == 1  # the step took these
    assert proxy.limits.admit_model(moved, table, "two") is None and len(moved.holds) == 2
    assert proxy.limits.admit_model(moved, table, "three") is None and len(moved.holds) == 2  # nothing limits it
    windows = proxy.limits.windows
    assert (windows["one"].used, windows["two"].used) == (50, 50)
    stuck = asked(proxy, ("one", 9))
    refusal = proxy.limits.admit_model(stuck, table, "two")
    assert refusal is not None and refusal.code == "rate_limit_exceeded" and refusal.detail is not None
    assert refusal.detail["limit"] == "two" and [hold[0].id for hold in stuck.holds] == ["one"], "what it holds already, it keeps"
    proxy.end(moved)
    proxy.end(stuck)
    assert (windows["one"].used, windows["two"].used) == (9, 7)


def test_a_model_that_was_not_asked_gets_everything_back(clock: Clock) -> None:
    proxy, table = of_models(clock, one=100, two=60)
    elsewhere = asked(proxy, ("three", 40))
    assert proxy.limits.admit_model(elsewhere, table, "two") is None
    proxy.end(elsewhere)
    assert [window.used for window in proxy.limits.windows.values()] == [0, 0]
    assert not LimitTable({"l": fragment(amount=1)}, 1).models


@pytest.mark.parametrize("text", ["", "x", "1.5", "1e3", "0", "-1", "nan", "inf", "1000000000001", "9" * 31, "１"])
def test_amounts_that_are_none(text: str) -> None:
    with pytest.raises(AmountError):
        amount_read(text)
    assert amount_read(" 600 ") == 600
