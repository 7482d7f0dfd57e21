"""Two proxy processes and one real Redis: what one finds out the other knows, one of them probes, a call is made once; and all of it
goes on, proxy by proxy, when Redis is killed."""

from __future__ import annotations

import itertools
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
from msgspec.structs import replace

from apps.contracts.snapshot import BreakerPolicy, ProviderFragment
from apps.proxy.breaker import FRESH_SECONDS
from apps.simulator.harness import SimulatorServer
from controlplane.launcher.redis import Redis
from tests.conftest import make_short_dir
from tests.proxy.lab import Got, Lab, at, both, keys, prices, providers, route, until
from tests.proxy.standalone import StandaloneProxy

pytestmark = pytest.mark.kill

HOLDS = BreakerPolicy(consecutive=3, open_ms=40_000)
PROBES = BreakerPolicy(consecutive=3, open_ms=1_000)
TRIES = 6
"""On a machine that pauses for a second now and then."""
ROUTES = [
    route("hinted", both("hinted"), breaker=HOLDS),
    *(route(f"card-{n}", [at("card", f"card-{n}"), at("west", f"card-{n}")], breaker=HOLDS) for n in range(TRIES)),
    *(route(f"marker-{n}", both(f"marker-{n}"), breaker=HOLDS) for n in range(TRIES)),
    route("turns", both("turns"), breaker=PROBES),
    route("two-once", both("two-once")),
]
_names = itertools.count()


@dataclass
class Two:
    """``second`` reaches the provider ``card``, ``first`` does not: its network card is bad."""

    first: Lab
    second: Lab
    redis: Redis

    def open_first(self, name: str) -> None:
        """Opens the first proxy's breaker of ``name`` at east, by its own evidence."""
        self.first.script("east", name, "503x1000")
        while self.first.breaker(f"east/main/{name}") != "open":
            assert self.first.ask(name).whole
        self.first.script("east", name)


@pytest.fixture(scope="module")
def the_two(east: SimulatorServer, west: SimulatorServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Two]:
    folder, home = tmp_path_factory.mktemp("two"), make_short_dir("two")
    server = Redis(home / "redis", log=home / "redis.log")
    with ExitStack() as stack:
        server.start()
        stack.callback(shutil.rmtree, home, ignore_errors=True)
        stack.callback(server.stop)
        labs = []
        for name, card in (("first", "http://127.0.0.1:9/v1"), ("second", west.base_url)):
            config = [*providers(east.base_url, west.base_url), _card(card), *keys(), *prices(ROUTES), *ROUTES]
            environ = {"BULKHEAD_PROXY_REDIS_URL": server.proxy_url}
            proxy = stack.enter_context(StandaloneProxy(config, folder, name=name, environ=environ))
            labs.append(Lab(proxy, east, west, stack.enter_context(httpx.Client(base_url=proxy.url, timeout=60))))
        yield Two(*labs, server)
        for lab in labs:
            said = lab.proxy.log.read_text()
            assert "failed inside the proxy" not in said and "never retrieved" not in said, said[-4000:]


def _card(url: str) -> ProviderFragment:
    found = next(each for each in providers(url, url) if isinstance(each, ProviderFragment))
    return replace(found, id="p-card", name="card")


@pytest.fixture
def two(the_two: Two) -> Iterator[Two]:
    if the_two.redis.process is None:
        the_two.redis.start()
    yield the_two
    for lab in (the_two.first, the_two.second):
        lab.join()
        until(lambda lab=lab: not lab.leaks(), "every slot is given back")


def test_what_one_finds_out_costs_the_other_nothing(two: Two) -> None:
    two.open_first("hinted")
    until(lambda: two.second.breaker("east/main/hinted") == "open", "the other heard")
    seen = len(two.first.seen("east", "hinted"))
    got = two.second.ask("hinted")
    assert got.whole and two.second.roles(got) == [("west", "first", "ok")] and len(two.first.seen("east", "hinted")) == seen


def test_a_bad_network_card_closes_a_provider_for_nobody_else(two: Two) -> None:
    """The others are deaf to it who had a success within ``FRESH_SECONDS``: what a pause of this machine spoilt is done again."""
    assert any(deaf_by_success(two, f"card-{n}", f"marker-{n}") for n in range(TRIES)), "the machine paused each time"


def deaf_by_success(two: Two, card: str, marker: str) -> bool:
    """Whether the second proxy had successes often enough; asserts that it was deaf then."""
    target, asked_at = f"card/main/{card}", time.monotonic()
    well, often = True, True

    def ask() -> None:
        nonlocal asked_at, well, often
        before, asked_at = asked_at, time.monotonic()
        well = two.second.ask(card).headers["x-bulkhead-target"] == target and well
        often = time.monotonic() - before < FRESH_SECONDS and often

    def heard() -> bool:
        ask()
        return two.second.breaker(f"east/main/{marker}") == "open"

    ask()
    while two.first.breaker(target) != "open":
        assert two.first.ask(card).whole
        ask()
    two.first.script("east", marker, "503x1000")
    while two.first.breaker(f"east/main/{marker}") != "open":
        assert two.first.ask(marker).whole
        ask()
    two.first.script("east", marker)
    until(heard, "a later hint came")
    ask()
    if often:
        assert well and two.second.breaker(target) == "closed", "its own success counts for more"
    return often


def test_one_of_them_asks(two: Two) -> None:
    target = "east/main/turns"
    two.open_first("turns")
    for seconds in (4, 12, 36):  # as long as the others take: a busy machine needs more
        until(lambda: two.second.breaker(target) == "open", "both leave it alone")
        answers, in_time = asks_while_one_stalls(two, seconds)
        assert all(got.whole for got in answers)
        until(lambda: all(lab.ask("turns").headers["x-bulkhead-target"] == target for lab in (two.first, two.second)), "both are back")
        if in_time:
            break
        two.open_first("turns")
    assert in_time
    assert len([got for got in answers if got.headers["x-bulkhead-target"] == target]) == 1, "one request of all was sent there"


def asks_while_one_stalls(two: Two, seconds: int) -> tuple[list[Got], bool]:
    """(all answers, whether the others had theirs before the one that is the probe had its own)."""
    two.first.script("east", "turns", f"stall:where=headers,seconds={seconds}x1")
    asked: list[list[Got]] = []

    def out() -> int:
        return int(two.first.east.bill(seen=False)["running"])

    def somebody_asks() -> bool:
        for lab in (two.first, two.second):
            asked.append(lab.later("turns"))
        return out() > 0

    until(somebody_asks, "a request is the probe")
    for _ in range(4):
        for lab in (two.first, two.second):
            asked.append(lab.later("turns"))
    until(lambda: sum(bool(got) for got in asked) >= len(asked) - 1, "all but the probe are answered")
    in_time = out() > 0
    two.first.join()
    two.second.join()
    return [got[0] for got in asked], in_time


def fresh() -> dict[str, str]:
    return {"idempotency-key": f"two-{next(_names)}"}


def given(got: Got) -> str:
    return str(got.headers["x-bulkhead-idempotency"])


@pytest.mark.parametrize("stream", [False, True])
def test_the_same_call_at_the_other_proxy_joins_and_is_replayed(two: Two, stream: bool) -> None:
    two.first.script("east", "two-once", "stall:where=headers,seconds=2x1")
    headers, before = fresh(), len(two.first.seen("east", "two-once"))
    running = two.first.later("two-once", stream=stream, headers=headers)
    until(lambda: two.first.east.bill(seen=False)["running"], "it runs")
    conflict = two.second.ask("two-once", stream=stream, headers=headers, max_tokens=3)
    assert (conflict.status, conflict.code) == (409, "idempotency_conflict")
    joined = two.second.ask("two-once", stream=stream, headers=headers)
    two.first.join()
    first = running[0]
    assert first.whole and joined.whole and joined.text == first.text and joined.headers["x-bulkhead-answer-of"] == first.id
    assert (given(first), given(joined)) == ("new; scope=fleet", "replayed; scope=fleet")
    again = [lab.ask("two-once", stream=stream, headers=headers) for lab in (two.first, two.second)]
    assert {got.text for got in again} == {first.text} and {given(got) for got in again} == {"replayed; scope=fleet"}
    assert two.second.ask("two-once", stream=stream, headers=headers, max_tokens=3).status == 409
    assert len(two.first.seen("east", "two-once")) - before == 1
    assert [lab.record(got)["cost_nano"] for lab, got in zip((two.first, two.second), again, strict=True)] == [0, 0]


def test_without_redis_each_proxy_holds_by_itself_and_says_so(two: Two) -> None:
    two.first.script("east", "two-once")
    headers, before = fresh(), len(two.first.seen("east", "two-once"))
    two.redis.kill()
    asked: list[tuple[str, Any]] = [(given(got), got.whole) for lab in (two.first, two.second) for got in _twice(lab, headers)]
    assert asked == [("new; scope=proxy", True), ("replayed; scope=proxy", True)] * 2
    assert len(two.first.seen("east", "two-once")) - before == 2, "once at each"
    assert two.first.ask("two-once", headers=headers, max_tokens=3).status == 409
    two.redis.start()
    back: Callable[[], bool] = lambda: given(two.first.ask("two-once", headers=fresh())) == "new; scope=fleet"  # noqa: E731
    until(back, "it is shared again")


def _twice(lab: Lab, headers: dict[str, str]) -> list[Got]:
    return [lab.ask("two-once", headers=headers) for _ in range(2)]
