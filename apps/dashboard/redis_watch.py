"""Whether Redis answers, asked by a page at most every few seconds, so that pages can say what waits while it does not.

Only a Redis that somebody named, or that runs with this instance, is watched: the usual port is a guess and no promise.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime

import redis
from django.conf import settings

ASK_EVERY_SECONDS = 5.0
PATIENCE_SECONDS = 0.3


@dataclass(frozen=True, slots=True)
class RedisState:
    """``watched``: there is one that should answer. ``since``: when it was first found away; None while it answers."""

    watched: bool
    since: datetime | None = None
    version: str = ""
    used_bytes: int = 0

    @property
    def away(self) -> bool:
        return self.watched and self.since is not None


_lock = threading.Lock()
_state = RedisState(watched=False)
_asked_at = -ASK_EVERY_SECONDS


def redis_state(*, fresh: bool = False) -> RedisState:
    """The last answer, asked anew when it is older than ``ASK_EVERY_SECONDS`` or with ``fresh``. Never raises."""
    global _state, _asked_at
    url = settings.REDIS_WATCHED
    if not url:
        return RedisState(watched=False)
    with _lock:
        if not fresh and time.monotonic() - _asked_at < ASK_EVERY_SECONDS and _state.watched:
            return _state
        try:
            with redis.Redis.from_url(
                url, socket_timeout=PATIENCE_SECONDS, socket_connect_timeout=PATIENCE_SECONDS, retry_on_timeout=False
            ) as client:
                facts = client.info()
            _state = RedisState(True, None, str(facts.get("redis_version", "")), int(facts.get("used_memory", 0)))
        except (redis.RedisError, OSError, ValueError):
            _state = RedisState(True, _state.since or datetime.now(UTC))
        _asked_at = time.monotonic()
        return _state
