"""600 requests a minute shared by four proxies, offered ten times as much: at most 600 in any minute, and nearly all of them.

A request is admitted at some moment between its start and its end as a client sees them. So more than 600 that both began and ended within
one minute prove that the limit was broken, and nothing less does.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from controlplane.launcher.redis import Redis
from tests.conftest import make_short_dir
from tests.proxy.lab import KEY
from tests.proxy.test_limits_shared import Fleet, limit

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(420),
    pytest.mark.skipif(not os.environ.get("BULKHEAD_ACCEPT"), reason="it looks at whole minutes: make accept (BULKHEAD_ACCEPT=1)"),
]

AMOUNT, MINUTE, SECONDS, OFFERED = 600, 60.0, 190.0, 100.0


@pytest.fixture
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    home = make_short_dir("redis")
    redis = Redis(home / "redis", log=home / "redis.log")
    redis.start()
    fleet = Fleet(tmp_path, redis, [limit("requests_per_minute", AMOUNT, "plain")], 4)
    yield fleet
    fleet.stop()
    redis.stop()
    shutil.rmtree(home, ignore_errors=True)


async def offer(url: str, until: float, admitted: list[tuple[float, float]]) -> int:
    """Requests at a quarter of the offered rate, each sent at its moment whatever became of those before; gives how many were refused.

    Callers that waited for answers would send in bunches after each wait; a minute later more permits would come free than they ask for.
    """
    body = {"model": "plain", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}
    refused = 0

    async def ask(client: httpx.AsyncClient) -> None:
        nonlocal refused
        sent = time.monotonic()
        answer = await client.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {KEY}"})
        assert answer.status_code in (200, 429), answer.text
        if answer.status_code == 200:
            admitted.append((sent, time.monotonic()))
        refused += answer.status_code == 429

    async with httpx.AsyncClient(base_url=url, timeout=60) as client, asyncio.TaskGroup() as group:
        await client.get("/healthz")
        following = time.monotonic()
        while time.monotonic() < until:
            group.create_task(ask(client))
            following += 4 / OFFERED
            await asyncio.sleep(max(0.0, following - time.monotonic()))
    return refused


def test_a_limit_of_four_proxies_offered_tenfold(fleet: Fleet) -> None:
    admitted: list[tuple[float, float]] = []
    began = time.monotonic()

    async def all_four() -> list[int]:
        return await asyncio.gather(*(offer(proxy.url, began + SECONDS, admitted) for proxy in fleet.proxies))

    refused = sum(asyncio.run(all_four()))
    admitted.sort()
    proven = max(sum(1 for sent, seen in admitted if start <= sent and seen < start + MINUTE) for start, _ in admitted)
    seen = sorted(at for _, at in admitted)
    starts = [seen[0] + half / 2 for half in range(int((SECONDS - MINUTE) * 2)) if seen[0] + half / 2 + MINUTE <= began + SECONDS]
    least = min(sum(1 for at in seen if start <= at < start + MINUTE) for start in starts)
    print(f"in any minute {least} to {proven} of {AMOUNT}, {refused} refused")
    assert proven <= AMOUNT
    assert least >= AMOUNT * 97 // 100
