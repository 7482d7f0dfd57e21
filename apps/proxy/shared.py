"""What proxies share through Redis beside breaker hints: claims and answers of idempotent calls. Never on the path of other requests.

Every operation is bounded by ``TIMEOUT_SECONDS``; a Redis that is away raises ``ConnectionError``, and callers do without it.
"""

from __future__ import annotations

from typing import Any, cast

import redis.asyncio as redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

TIMEOUT_SECONDS = 0.5

_DROP = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('del', KEYS[1]) else return 0 end"
_RENEW = "if redis.call('get', KEYS[1]) == ARGV[1] then return redis.call('pexpire', KEYS[1], ARGV[2]) else return 0 end"


class RedisShared:
    """``idempotency.Shared`` on Redis."""

    def __init__(self, url: str) -> None:
        self._redis: redis.Redis = redis.Redis.from_url(
            url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS, retry=Retry(NoBackoff(), 0)
        )

    async def claim(self, name: str, value: bytes, seconds: float) -> bytes | None:
        while True:
            if await self._do(self._redis.set(name, value, nx=True, px=int(seconds * 1000))):
                return None
            there = await self._do(self._redis.get(name))
            if there is not None:
                return cast(bytes, there)

    async def renew(self, name: str, value: bytes, seconds: float) -> None:
        await self._do(self._redis.eval(_RENEW, 1, name, value, int(seconds * 1000)))

    async def put(self, name: str, value: bytes, seconds: float) -> None:
        await self._do(self._redis.set(name, value, px=int(seconds * 1000)))

    async def get(self, name: str) -> bytes | None:
        return cast("bytes | None", await self._do(self._redis.get(name)))

    async def drop(self, name: str, value: bytes) -> None:
        await self._do(self._redis.eval(_DROP, 1, name, value))

    async def close(self) -> None:
        await self._redis.aclose()

    async def _do(self, call: Any) -> Any:
        try:
            return await call
        except RedisError as error:
            raise ConnectionError(f"Redis: {error}") from error
