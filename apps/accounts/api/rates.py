"""How often somebody may call, by the generic cell rate algorithm: a steady rate, and bursts up to a bound.

``SharedRate`` is kept by all web processes together through Redis, which does the algorithm in one step and by its own clock. Where Redis
does not answer, each process counts by itself at once, without what the others let through, and says so: with n processes a name takes at
most n times the bound then, and a burst more in the moment in which Redis goes or comes back.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import OrderedDict
from collections.abc import Callable
from functools import cache
from threading import Lock
from typing import Any, cast

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

KEY_PREFIX = "bulkhead:rate:"
PATIENCE_SECONDS = 0.2
"""So long a call waits for Redis, at most."""
REST_SECONDS = 5.0
"""After a failure Redis is left alone for so long: no call waits for what did not answer a moment ago."""
MICROSECONDS = 1_000_000

_TAKE = """
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
local due = math.max(tonumber(redis.call('GET', KEYS[1]) or '0'), now)
local wait = due - tonumber(ARGV[2]) - now
if wait > 0 then return math.ceil(wait) end
if ARGV[3] == '1' then
  local next = due + tonumber(ARGV[1])
  redis.call('SET', KEYS[1], string.format('%.0f', next), 'PX', math.ceil((next - now) / 1000) + 1)
end
return 0
"""
"""KEYS: the name. ARGV: interval and slack in microseconds, whether to take one. Answers the microseconds to wait, 0: none."""

log = logging.getLogger("bulkhead.rates")
EXACT = 1e-6
"""Seconds that a float's rounding may take or give."""
REMEMBERED = 10_000
"""Names that are told apart; beyond it the one that was not heard of for longest is forgotten, and starts anew."""


class Rate:
    """``per_minute`` on average and ``burst`` at once, for each name.

    Invariant: in any span of t seconds a name takes at most ``burst + t * per_minute / 60``.
    """

    def __init__(self, *, per_minute: float, burst: int, clock: Callable[[], float] = time.monotonic) -> None:
        self.interval = 60 / per_minute
        self.slack = (burst - 1) * self.interval
        self.clock = clock
        self._next: OrderedDict[str, float] = OrderedDict()
        self._lock = Lock()

    @property
    def counted(self) -> str:
        """Where calls are counted, for whoever is refused."""
        return "in this web process alone"

    def wait(self, name: str) -> float:
        """Seconds until ``take`` would succeed; 0: now. Takes nothing."""
        with self._lock:
            return max(0.0, self._next.get(name, 0.0) - self.slack - self.clock())

    def take(self, name: str) -> float:
        """Take one; returns 0, or the seconds to wait, and then nothing was taken."""
        with self._lock:
            now = self.clock()
            due = max(self._next.get(name, now), now)
            if due - self.slack > now + EXACT:
                return due - self.slack - now
            self._next[name] = due + self.interval
            self._next.move_to_end(name)
            if len(self._next) > REMEMBERED:
                self._next.popitem(last=False)
            return 0.0


class SharedRate(Rate):
    """``Rate`` of all web processes together. label: what is counted, a part of its keys in Redis.

    Invariant: while Redis answers, in any span of t seconds a name takes at most ``burst + t * per_minute / 60`` in all processes.
    """

    def __init__(
        self, label: str, *, per_minute: float, burst: int, clock: Callable[[], float] = time.monotonic, url: str | None = None
    ) -> None:
        super().__init__(per_minute=per_minute, burst=burst, clock=clock)
        self.label = label
        self.url = url
        self._rests_until = 0.0

    @property
    def shared(self) -> bool:
        """Whether the last that was counted was counted in all processes."""
        return bool(self._address) and self.clock() >= self._rests_until

    @property
    def counted(self) -> str:
        """Where calls are counted, for whoever is refused."""
        if self.shared:
            return "in all web processes together"
        return f"in this web process alone: {'Redis does not answer' if self._address else 'no Redis is set up'}"

    def wait(self, name: str) -> float:
        found = self._asked(name, take=False)
        return super().wait(name) if found is None else found

    def take(self, name: str) -> float:
        found = self._asked(name, take=True)
        return super().take(name) if found is None else found

    @property
    def _address(self) -> str:
        return settings.REDIS_WATCHED if self.url is None else self.url

    def _asked(self, name: str, *, take: bool) -> float | None:
        """Seconds to wait as Redis has it; None where it cannot be asked."""
        if not self.shared:
            return None
        key = f"{KEY_PREFIX}{self.label}:{hashlib.sha256(name.encode()).hexdigest()[:32]}"
        interval, slack = (str(max(1, round(seconds * MICROSECONDS))) for seconds in (self.interval, self.slack))
        try:
            waiting = client(self._address).eval(_TAKE, 1, key, interval, slack, "1" if take else "0")
        except redis.RedisError as error:
            self._rests_until = self.clock() + REST_SECONDS
            log.warning("rates of %s are counted in this process alone: Redis does not answer: %s", self.label, error)
            return None
        return cast(int, waiting) / MICROSECONDS


@cache
def client(url: str) -> Any:
    """The connections of this process to one Redis; threads share them."""
    return redis.Redis.from_url(url, socket_timeout=PATIENCE_SECONDS, socket_connect_timeout=PATIENCE_SECONDS, retry=Retry(NoBackoff(), 0))
