"""600 requests a minute shared by four proxies, offered ten times as much: at most 600 in any minute, and nearly all of them."""

from __future__ import annotations

import asyncio
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

pytestmark = [pytest.mark.slow, pytest.mark.timeout(420)]

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


async def offer(url: str, until: float, admitted: list[float]) -> int:
    """Requests at a quarter of the offered rate, as long as the machine keeps up with it; gives how many were refused."""
    body = {"model": "plain", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 5}
    refused, following = 0, time.monotonic()
    async with httpx.AsyncClient(base_url=url, timeout=60) as client:
        while time.monotonic() < until:
            answer = await client.post("/v1/chat/completions", json=body, headers={"authorization": f"Bearer {KEY}"})
            assert answer.status_code in (200, 429), answer.text
            if answer.status_code == 200:
                admitted.append(time.monotonic())
            refused += answer.status_code == 429
            following += 4 / OFFERED
            await asyncio.sleep(max(0.0, following - time.monotonic()))
    return refused


def test_a_limit_of_four_proxies_offered_tenfold(fleet: Fleet) -> None:
    admitted: list[float] = []
    began = time.monotonic()

    async def all_four() -> list[int]:
        return await asyncio.gather(*(offer(proxy.url, began + SECONDS, admitted) for proxy in fleet.proxies))

    refused = sum(asyncio.run(all_four()))
    admitted.sort()
    most = max(sum(1 for at in admitted if start <= at < start + MINUTE) for start in admitted)
    starts = [admitted[0] + half / 2 for half in range(int((SECONDS - MINUTE) * 2)) if admitted[0] + half / 2 + MINUTE <= began + SECONDS]
    least = min(sum(1 for at in admitted if start <= at < start + MINUTE) for start in starts)
    print(f"in any minute {least} to {most} of {AMOUNT}, {refused} refused")
    assert most <= AMOUNT + 2, "an answer is seen a moment after it was admitted"
    assert least >= AMOUNT * 0.97
