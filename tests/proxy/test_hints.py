"""Hints between proxies over a real Redis, as the proxies' own user; and without one, killed and frozen."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import shutil
import signal
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import cast

import pytest
import redis

from apps.contracts.snapshot import BreakerPolicy
from apps.proxy.attempt import Attempt
from apps.proxy.breaker import Breakers
from apps.proxy.hints import CHANNEL, PROBE_KEY, Hints, UrlError, checked_url
from apps.proxy.shared import RedisShared
from apps.proxy.state import States
from controlplane.launcher.redis import Redis, free_port
from tests.conftest import make_short_dir

POLICY = BreakerPolicy(consecutive=2, open_ms=30_000)
QUICK = BreakerPolicy(consecutive=2, open_ms=400)
LABEL = "openai/eu/gpt"


class Proxy:
    """What a proxy process has of it: its breakers, and a task that shares them."""

    def __init__(self, url: str, boot: str) -> None:
        self.breakers = Breakers()
        self.now = asyncio.get_running_loop().time
        self.states = States(self.now, self.breakers)
        self.hints = Hints(self.breakers, url, boot, self.now, self.states.drain)
        self.task = asyncio.create_task(self.hints.run())

    def breaker(self, policy: BreakerPolicy = POLICY, label: str = LABEL):  # type: ignore[no-untyped-def]
        return self.breakers.of(label, policy)

    def fail(self, policy: BreakerPolicy = POLICY, label: str = LABEL) -> None:
        for _ in range(2):
            self.breaker(policy, label).failure(self.now())

    @property
    def state(self) -> str:
        return str(self.breaker().state)


@asynccontextmanager
async def proxies(url: str, count: int, *, connected: bool = True) -> AsyncIterator[list[Proxy]]:
    made = [Proxy(url, f"boot-{number}") for number in range(count)]
    try:
        if connected:
            for proxy in made:
                await until(lambda proxy=proxy: proxy.hints.state == "connected", "connected")
        yield made
    finally:
        for proxy in made:
            proxy.task.cancel()
        await asyncio.gather(*(proxy.task for proxy in made), return_exceptions=True)


async def until(condition: Callable[[], object], what: str, seconds: float = 60.0) -> None:
    deadline = asyncio.get_running_loop().time() + seconds
    while not condition():
        assert asyncio.get_running_loop().time() < deadline, f"{what} did not come about"
        await asyncio.sleep(0.005)


@pytest.fixture(scope="module")
def server() -> Iterator[Redis]:
    directory = make_short_dir("hints")
    started = Redis(directory / "redis", log=directory / "redis.log")
    started.start()
    yield started
    started.stop()
    shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(autouse=True)
def nothing_left(request: pytest.FixtureRequest) -> None:
    if "server" in request.fixturenames:
        redis.Redis.from_url(request.getfixturevalue("server").url).flushall()


def say(server: Redis, **message: object) -> None:
    redis.Redis.from_url(server.url).publish(CHANNEL, json.dumps(message))


async def test_what_one_proxy_finds_out_the_others_know(server: Redis) -> None:
    async with proxies(server.proxy_url, 3) as (first, second, third):
        for proxy in (second, third):
            proxy.breaker()
        first.fail()
        await until(lambda: second.state == third.state == "open", "both heard")
        assert second.breaker().hinted and not first.breaker().hinted
        ours, theirs = first.breaker().retry_at() - first.now(), second.breaker().retry_at() - second.now()
        assert abs(ours - theirs) < 5, "until the same moment"
        assert second.hints.sent == third.hints.sent == 1, "their hello: a hint is not told on"


async def test_that_it_answers_again_lets_the_others_ask_at_once(server: Redis) -> None:
    async with proxies(server.proxy_url, 2) as (first, second):
        for proxy in (first, second):
            proxy.fail()
        assert not second.breaker().allows(second.now())
        first.breaker().ready(first.now())
        assert first.breaker().allows(first.now())
        first.breaker().success(first.now())
        await until(lambda: second.breaker().usable(second.now()), "the other may probe")
        assert second.state == "open", "local evidence wins: it is asked by a probe, not believed"


async def test_a_proxy_that_works_is_not_talked_out_of_it(server: Redis) -> None:
    async with proxies(server.proxy_url, 2) as (first, second):
        beating = asyncio.create_task(succeed_often(second))
        heard = second.hints.received
        first.fail()
        await until(lambda: second.hints.received > heard, "the hint came")
        assert second.state == "closed"
        beating.cancel()


async def succeed_often(proxy: Proxy) -> None:
    while True:
        proxy.breaker().success(proxy.now())
        await asyncio.sleep(0.005)


async def test_a_success_counts_that_its_breaker_was_not_told_of_yet(server: Redis) -> None:
    """Successes are added up many at a time; a hint that comes in between is not believed all the same."""
    async with proxies(server.proxy_url, 2) as (first, second):
        second.breaker(label="another")
        state = second.states.of(LABEL, POLICY)
        state.started()
        state.succeeded(cast(Attempt, SimpleNamespace(sent_ns=1, first_byte_ns=2, first_token_ns=0)))
        sent = first.hints.sent
        first.fail()
        await until(lambda: first.hints.sent > sent, "the hint is sent")
        first.fail(label="another")
        await until(lambda: second.breaker(label="another").state == "open", "a later hint came")
        assert second.state == "closed"


async def test_who_comes_later_is_told(server: Redis) -> None:
    async with proxies(server.proxy_url, 1) as (first,):
        first.fail()
        late = Proxy(server.proxy_url, "boot-late")
        late.breaker()
        await until(lambda: late.state == "open", "the newcomer heard")
        late.task.cancel()


async def test_forced_breakers_are_nobody_else_s_business(server: Redis) -> None:
    async with proxies(server.proxy_url, 2) as (first, second):
        second.breaker()
        first.breaker()
        first.breakers.force(LABEL, "open", first.now())
        first.fail(label="another")
        second.breaker(label="another")
        await until(lambda: second.breaker(label="another").state == "open", "a later message came")
        assert second.state == "closed"


async def test_only_one_proxy_probes_at_a_time(server: Redis) -> None:
    async with proxies(server.proxy_url, 4) as made:
        for proxy in made:
            proxy.fail(QUICK)
        first_times = {proxy.hints: proxy.breaker(QUICK).retry_at() for proxy in made}
        await until(lambda: sum(proxy.breaker(QUICK).usable(proxy.now()) for proxy in made), "somebody's turn came")
        able = [proxy for proxy in made if proxy.breaker(QUICK).usable(proxy.now())]
        assert len(able) == 1
        winner = able[0]
        assert winner.breaker(QUICK).allows(winner.now())
        client = redis.Redis.from_url(server.url)
        assert client.get(PROBE_KEY + LABEL) == winner.hints._boot.encode()
        began = winner.now()
        await until(lambda: winner.now() > began + 2.0, "its probe takes longer than an unused claim holds")
        assert [proxy for proxy in made if proxy.breaker(QUICK).usable(proxy.now())] == []
        winner.breaker(QUICK).success(winner.now())
        await until(lambda: all(proxy.breaker(QUICK).usable(proxy.now()) for proxy in made), "all may ask")
        await until(lambda: client.get(PROBE_KEY + LABEL) is None, "the claim is given up")
        assert len(set(first_times.values())) >= 1


async def test_a_claim_that_nobody_uses_passes_on(server: Redis) -> None:
    """The winner has no traffic: the other proxy's request must not wait for it for long."""
    async with proxies(server.proxy_url, 2) as made:
        for proxy in made:
            proxy.fail(QUICK)
        await until(lambda: all(proxy.breaker(QUICK).usable(proxy.now()) for proxy in made), "both had their turn")


async def test_a_failed_probe_frees_the_claim_and_is_told(server: Redis) -> None:
    async with proxies(server.proxy_url, 2) as (first, second):
        first.fail(QUICK)
        await until(lambda: first.breaker(QUICK).usable(first.now()), "its turn")
        assert first.breaker(QUICK).allows(first.now())
        second.breaker(QUICK)
        first.breaker(QUICK).failure(first.now())
        await until(lambda: second.breaker(QUICK).state == "open", "told again")
        client = redis.Redis.from_url(server.url)
        await until(lambda: client.get(PROBE_KEY + LABEL) is None, "the claim is free")


@pytest.mark.parametrize(
    "message",
    [
        {},
        [],
        "text",
        {"boot": "x", "label": LABEL, "state": "burning", "until_ms": 1},
        {"boot": "x", "label": LABEL, "state": "open", "until_ms": "soon"},
        {"boot": "x", "label": LABEL, "state": "open", "until_ms": 10**400},
        {"boot": "x", "label": LABEL, "state": "open", "until_ms": 1_000},
        {"boot": "x", "label": "unknown", "state": "open", "until_ms": 1 << 50},
        {"boot": "boot-0", "label": LABEL, "state": "open", "until_ms": 1 << 50},
        {"boot": "x" * 5_000, "label": LABEL, "state": "open", "until_ms": 1 << 50},
    ],
)
async def test_what_makes_no_sense_is_ignored(server: Redis, message: object) -> None:
    """Unreadable, late, our own, of an unknown target, too long."""
    async with proxies(server.proxy_url, 1) as (proxy,):
        proxy.breaker()
        client = redis.Redis.from_url(server.url)
        client.publish(CHANNEL, json.dumps(message))
        client.publish(CHANNEL, b"\xff\xfe")
        heard = proxy.breaker(label="last")
        say(server, boot="x", label="last", state="open", until_ms=1 << 50)
        await until(lambda: heard.state == "open", "a good one after it")
        assert proxy.state == "closed" and proxy.hints.state == "connected"
        assert heard.retry_at() <= proxy.now() + 60, "for a minute at most, whatever it says"


async def test_redis_killed_and_back(redis_server: Redis, caplog: pytest.LogCaptureFixture) -> None:
    async with proxies(redis_server.proxy_url, 2) as (first, second):
        with caplog.at_level(logging.INFO, "bulkhead.proxy"):
            redis_server.kill()
            await until(lambda: first.hints.state == second.hints.state == "away", "noticed")
            assert first.hints.detail() == {"redis": "away"}
            second.breaker()
            first.fail()
            assert first.state == "open", "it decides by itself"
            redis_server.start()
            await until(lambda: second.state == "open", "told as soon as it is back")
            assert first.hints.detail() == {}
        lines = [record.message for record in caplog.records if record.message.startswith("redis:")]
        assert sum("away" in line for line in lines) == 2 and sum("back" in line for line in lines) == 2, lines


async def test_redis_frozen_is_noticed_and_blocks_nothing(redis_server: Redis) -> None:
    assert redis_server.process is not None
    async with proxies(redis_server.proxy_url, 1) as (proxy,):
        os.kill(redis_server.process.pid, signal.SIGSTOP)
        try:
            proxy.fail()
            assert proxy.state == "open"
            await until(lambda: proxy.hints.state == "away", "noticed")
        finally:
            os.kill(redis_server.process.pid, signal.SIGCONT)
        await until(lambda: proxy.hints.state == "connected", "back")


async def test_it_ends_at_whatever_moment_it_is_cancelled(server: Redis) -> None:
    """The process waits for it when it stops."""
    for step in range(40):
        async with proxies(server.proxy_url, 1, connected=False) as (proxy,):
            proxy.fail()
            await asyncio.sleep(step / 2_000)
            proxy.task.cancel()
            await until(proxy.task.done, f"the end, cancelled after {step / 2} ms")


async def test_a_quiet_connection_stays(server: Redis) -> None:
    """Longer than an answer may take, nobody says anything: that is not an outage."""
    async with proxies(server.proxy_url, 1) as (proxy,):
        seen: set[str] = set()
        end = proxy.now() + 3.0
        await until(lambda: seen.add(proxy.hints.state) or proxy.now() > end, "three quiet seconds")
        assert seen == {"connected"}


async def test_no_redis_from_the_start(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "bulkhead.proxy"):
        async with proxies(f"redis://127.0.0.1:{free_port()}/0", 1, connected=False) as (proxy,):
            await until(lambda: proxy.hints.state == "away" and proxy.hints._pause > 0.3, "tried more than once")
            proxy.fail()
            assert proxy.state == "open" and proxy.hints.detail() == {"redis": "away"}
    assert len(caplog.records) == 1


async def test_a_wrong_password_is_away_and_not_told(server: Redis, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "bulkhead.proxy"):
        async with proxies(f"redis://bulkhead_proxy:open-sesame@127.0.0.1:{server.port}/0", 1, connected=False) as (proxy,):
            await until(lambda: proxy.hints.state == "away", "refused")
    assert "open-sesame" not in caplog.text


async def test_who_listened_before_still_hears(server: Redis) -> None:
    breakers = Breakers()
    heard: list[str] = []
    breakers.on_change = lambda label, breaker: heard.append(label)
    Hints(breakers, server.proxy_url, "boot", lambda: 0.0, lambda now: None)
    for _ in range(2):
        breakers.of("a", POLICY).failure(1.0)
    assert heard == ["a"]


def test_the_proxies_user_may_do_nothing_else(server: Redis) -> None:
    client = redis.Redis.from_url(server.proxy_url)
    assert client.set(PROBE_KEY + "a", "b", px=100)
    client.publish(CHANNEL, "{}")
    refused: list[Callable[[], object]] = [
        lambda: client.set("celery", "x"),
        lambda: client.get("celery"),
        lambda: client.eval("return redis.call('get', KEYS[1])", 1, "celery"),
        lambda: client.eval("return redis.call('lpush', KEYS[1], 'x')", 1, PROBE_KEY + "a"),
        lambda: client.lpush(PROBE_KEY + "a", "x"),
        lambda: client.publish("other", "x"),
        lambda: client.keys(),
        lambda: client.flushall(),
        lambda: client.config_get("requirepass"),
        lambda: client.acl_list(),
    ]
    for command in refused:
        with pytest.raises(redis.exceptions.ResponseError, match=r"permission|can't run"):
            command()


async def test_idempotency_keys_work_as_the_proxies_user(server: Redis) -> None:
    shared = RedisShared(server.proxy_url)
    name = "bulkhead:idem:test"
    assert await shared.claim(name, b"one", 10) is None
    assert await shared.claim(name, b"two", 10) == b"one"
    await shared.renew(name, b"one", 10)
    await shared.put(name, b"answer", 10)
    assert await shared.get(name) == b"answer"
    await shared.drop(name, b"answer")
    assert await shared.get(name) is None
    await shared.close()


@pytest.mark.parametrize("url", ["", "localhost:6379", "http://localhost", "redis://", "redis://host:port", "unix://", "redis://host:0"])
def test_a_url_that_cannot_be_one_is_refused_with_advice(url: str) -> None:
    with pytest.raises(UrlError, match="should look like redis://"):
        checked_url(url)


@pytest.mark.parametrize("url", ["redis://h", "rediss://u:p@h:6380/1", "unix:///run/redis.sock", "redis://[::1]:6379"])
def test_urls_that_can(url: str) -> None:
    assert checked_url(url) == url
