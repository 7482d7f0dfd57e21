"""What is used of limits now: as proxies' own pool has it in Redis, with its age; unknown where nobody knows, and never an error."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import msgspec
import pytest
import redis

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.budgets.limit_live import LimitUse, limit_uses
from apps.budgets.limit_models import Limit
from apps.budgets.limit_services import limit_set
from apps.contracts.limits import KEY_PREFIX, TTL_MS, Ask, pool_use
from apps.proxy.limits_redis import RedisPool
from apps.publishing.selectors import ProxyStatus
from tests.people import client_of, member

WINDOW = 60_000
NOW = 50_000_000


def told(redis_url: str, boot: str, id: str, now_ms: int, *, held: int, used: int, back: list[tuple[int, int]] | None = None) -> None:
    """One proxy speaks to the pool, as proxies do."""
    ask = Ask(
        id=id, amount=100, version=1, window_ms=WINDOW, held=held, used=used, demand=held, back=back or [], live=1, acked=0
    )  # fmt: skip

    async def speak() -> None:
        pool = RedisPool(redis_url, boot)
        await pool.sync_at([ask], TTL_MS, now_ms, now_ms)
        await pool.close()

    asyncio.run(speak())


def test_what_proxies_tell_is_read_from_what_the_pool_wrote(redis_server: Any) -> None:
    id = f"live-{uuid4()}"
    client = redis.Redis.from_url(redis_server.url)
    assert pool_use(client.get(KEY_PREFIX + id), NOW, WINDOW).used == 0  # type: ignore[arg-type]
    told(redis_server.url, "boot-a", id, NOW, held=40, used=25)
    told(redis_server.url, "boot-b", id, NOW + 300, held=20, used=5, back=[(10_000, 7)])

    def at(ms: int) -> Any:
        return pool_use(client.get(KEY_PREFIX + id), NOW + ms, WINDOW)  # type: ignore[arg-type]

    found = at(500)
    assert (found.used, found.resting, found.age_ms) == (25 + 5 + 7, 7, 500)
    assert [(one.boot_id, one.held, one.used, one.age_ms) for one in found.holders] == [("boot-a", 40, 25, 500), ("boot-b", 20, 5, 200)]
    gone = at(TTL_MS + 100)  # a is not heard of any more: all that it had rests, since nobody knows when it was used
    assert (gone.used, gone.resting, [one.boot_id for one in gone.holders]) == (40 + 5 + 7, 47, ["boot-b"])
    assert at(TTL_MS + 400 + WINDOW).used == 0
    client.close()


@pytest.mark.parametrize("raw", [b"", b"\xc1", msgspec.msgpack.encode([1, 2]), msgspec.msgpack.encode([1, 2, [[1]], {"b": [1]}, 0])])
def test_what_is_no_state_is_refused(raw: bytes) -> None:
    with pytest.raises(ValueError, match="no state"):
        pool_use(raw, NOW, WINDOW)


@pytest.mark.parametrize(
    ("used", "state", "share", "free"), [(0, "idle", 0, 100), (50, "within", 50, 50), (90, "nearly", 90, 10), (130, "full", 100, 0)]
)
def test_a_use_is_told_in_words(used: int, state: str, share: float, free: int) -> None:
    found = LimitUse(100, used)
    assert (found.status.value, found.share, found.remaining) == (state, share, free)
    assert LimitUse(100, why="x").status.value == "unknown"


@pytest.fixture
def demo(db: None) -> Organisation:
    return Organisation.objects.create(name="Live", slug="demo-live", simulated=True)


@pytest.fixture
def limit(demo: Organisation, actor: Actor) -> Limit:
    facts = {"scope": "organisation", "scope_id": "", "kind": "requests_per_minute", "amount": 100}
    return limit_set(actor=actor, organisation=demo, name="all calls", **facts)


def test_its_page_and_the_list_say_what_is_used_and_how_old_that_is(
    demo: Organisation, limit: Limit, redis_server: Any, settings: Any
) -> None:
    settings.LIMITS_REDIS = redis_server.url
    client = redis.Redis.from_url(redis_server.url)
    seconds, micros = client.time()  # type: ignore[misc]
    told(redis_server.url, str(uuid4()), str(limit.pk), seconds * 1000 + micros // 1000, held=98, used=97)
    client.close()
    viewer = client_of(member(demo, "viewer"))
    page = f"/limits/{limit.pk}/"
    for url in (page, f"{page}use/"):
        shown = viewer.get(url).content.decode()
        assert "<b>97</b> of 100" in shown and "told " in shown and "Nearly used up" in shown and "data-live" in shown
    assert 'title="97, told' in viewer.get("/limits/").content.decode()
    assert viewer.post(f"{page}use/").status_code == 405
    assert viewer.get(f"/limits/{uuid4()}/use/").status_code == 404


def test_where_redis_is_away_pages_say_that_nobody_knows(demo: Organisation, limit: Limit, settings: Any) -> None:
    viewer = client_of(member(demo, "viewer"))
    for url, why in (("redis://127.0.0.1:1/0", "does not answer"), ("", "No Redis is set up"), ("redis://[", "does not answer")):
        settings.LIMITS_REDIS = url
        shown = viewer.get(f"/limits/{limit.pk}/")
        assert shown.status_code == 200 and why in shown.content.decode() and "Not known" in shown.content.decode(), url
        assert "not known" in viewer.get("/limits/").content.decode()


def test_a_proxy_that_counts_by_itself_makes_the_sum_unknown(limit: Limit, settings: Any) -> None:
    settings.LIMITS_REDIS = "redis://127.0.0.1:1/0"
    alone: Any = {"boot_id": "b", "name": "proxy-2", "detail": {"limits": "local"}, "silent": False}
    proxies: list[ProxyStatus] = [alone]
    assert limit_uses([limit], proxies)[limit.pk].why.startswith("proxy-2 cannot reach Redis")
