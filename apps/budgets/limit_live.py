"""What is used of limits now, asked of the Redis through which proxies share them: one round trip for any number of limits.

A proxy tells Redis what it uses up to five times a second while others use the limit too, else once a second; so a figure has an age, and
says it. Where Redis does not answer, or a proxy says that it keeps its own part, nobody knows the sum, and that is what is said.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

import redis
from django.conf import settings
from redis.backoff import NoBackoff
from redis.retry import Retry

from apps.budgets import limit_choices
from apps.budgets.limit_models import Limit
from apps.contracts.limits import KEY_PREFIX, MEASURES, PoolUse, pool_use
from apps.publishing.selectors import ProxyStatus
from apps.ui.status import Status

PATIENCE_SECONDS = 0.3
"""So long a page waits for Redis, at most."""


@dataclass(frozen=True, slots=True)
class ProxyPart:
    """What one proxy has of a limit. name: as it was started. held: its share; used: of that; age_ms: since it said so."""

    name: str
    held: int
    used: int
    age_ms: int

    @property
    def used_text(self) -> str:
        return f"{self.used:,}"

    @property
    def held_text(self) -> str:
        return f"{self.held:,}"

    @property
    def age_text(self) -> str:
        return f"{self.age_ms / 1000:.1f} s ago"


@dataclass(frozen=True, slots=True)
class LimitUse:
    """What is used of one limit by all proxies. used: None where nobody knows, and then ``why``. resting: used, and held by no proxy.

    age_ms: of the oldest figure in it; 0: exact."""

    amount: int
    used: int | None = None
    resting: int = 0
    age_ms: int = 0
    parts: tuple[ProxyPart, ...] = ()
    why: str = ""

    @property
    def share(self) -> float:
        """Of the limit, 0 to 100."""
        return min(100.0, 100 * (self.used or 0) / self.amount)

    @property
    def remaining(self) -> int:
        """What is free, as far as proxies have told."""
        return max(0, self.amount - (self.used or 0))

    @property
    def used_text(self) -> str:
        return f"{self.used or 0:,}"

    @property
    def amount_text(self) -> str:
        return f"{self.amount:,}"

    @property
    def remaining_text(self) -> str:
        return f"{self.remaining:,}"

    @property
    def resting_text(self) -> str:
        return f"{self.resting:,}"

    @property
    def status(self) -> Status:
        if self.used is None:
            return limit_choices.USE_STATES["unknown"]
        if self.used >= self.amount:
            return limit_choices.USE_STATES["full"]
        return limit_choices.USE_STATES["nearly" if self.used >= limit_choices.NEARLY * self.amount else "within" if self.used else "idle"]

    @property
    def age_text(self) -> str:
        """``told 0.4 s ago``; empty where it is exact or unknown."""
        return f"told {self.age_ms / 1000:.1f} s ago" if self.used is not None and self.age_ms else ""


def limit_uses(limits: Iterable[Limit], proxies: Sequence[ProxyStatus]) -> Mapping[UUID, LimitUse]:
    """What is used of some limits. proxies: of ``fleet_status_of``, which a page has anyway. Never raises, never waits long."""
    rows = list(limits)
    if not rows:
        return {}
    why = _unshared(proxies)
    values: list[bytes | None] = []
    now_ms = 0
    if not why:
        try:
            values, now_ms = _ask([str(row.pk) for row in rows])
        except (redis.RedisError, OSError, ValueError):
            why = "Redis, through which proxies share limits, does not answer."
    if why:
        return {row.pk: LimitUse(row.amount, why=why) for row in rows}
    names = {proxy["boot_id"]: proxy["name"] for proxy in proxies}
    return {row.pk: _use(row, raw, now_ms, names) for row, raw in zip(rows, values, strict=True)}


def _use(row: Limit, raw: bytes | None, now_ms: int, names: Mapping[str, str]) -> LimitUse:
    try:
        found: PoolUse = pool_use(raw, now_ms, MEASURES[row.kind].window_ms)  # type: ignore[index]
    except ValueError:
        return LimitUse(row.amount, why="What Redis holds of this limit cannot be read: is another version of the proxy running?")
    parts = tuple(ProxyPart(names.get(one.boot_id, "a proxy"), one.held, one.used, one.age_ms) for one in found.holders if one.held)
    return LimitUse(row.amount, found.used, found.resting, found.age_ms, parts)


def _unshared(proxies: Sequence[ProxyStatus]) -> str:
    """Why Redis would not tell the whole: empty where it does."""
    if not settings.LIMITS_REDIS:
        return "No Redis is set up, so each proxy keeps a part of the limit by itself."
    alone = [proxy["name"] for proxy in proxies if proxy["detail"].get("limits") == "local" and not proxy["silent"]]
    if alone:
        return f"{', '.join(alone[:3])}{' and others' if len(alone) > 3 else ''} cannot reach Redis and count by themselves."
    return ""


def _ask(ids: Sequence[str]) -> tuple[list[bytes | None], int]:
    """The limits' values, and Redis' clock, ms."""
    client: Any = redis.Redis.from_url(
        settings.LIMITS_REDIS, socket_timeout=PATIENCE_SECONDS, socket_connect_timeout=PATIENCE_SECONDS, retry=Retry(NoBackoff(), 0)
    )
    with client, client.pipeline(transaction=False) as pipe:
        pipe.time()
        for one in ids:
            pipe.get(KEY_PREFIX + one)  # the proxies' user may not ask for many at once, and this may be it
        (seconds, micros), *values = pipe.execute()
    return values, int(seconds) * 1000 + int(micros) // 1000
