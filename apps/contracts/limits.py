"""Limits: what each kind counts, over which window, and the messages by which proxies share one.

A limit of ``amount`` units is ``amount`` permits, each of which is in exactly one place: with a proxy (its *share*), or in the pool in
Redis. A permit that was used may be used again ``window_ms`` later, wherever it has gone meanwhile: it carries its timestamp.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal, NamedTuple

import msgspec

LimitKind = Literal["requests_per_minute", "tokens_per_minute", "tokens_per_day", "concurrent_requests"]
LimitScope = Literal["organisation", "team", "key", "route", "model"]

MINUTE_MS = 60_000
DAY_MS = 86_400_000


class Measure(NamedTuple):
    """unit: what a permit is. window_ms: how long a used one rests; 0: until its request is over. words: ``600 requests per minute``."""

    unit: Literal["request", "token"]
    window_ms: int
    words: str


MEASURES: dict[LimitKind, Measure] = {
    "requests_per_minute": Measure("request", MINUTE_MS, "requests per minute"),
    "tokens_per_minute": Measure("token", MINUTE_MS, "tokens per minute"),
    "tokens_per_day": Measure("token", DAY_MS, "tokens per day"),
    "concurrent_requests": Measure("request", 0, "requests at once"),
}
"""A minute and a day are rolling ones: the last 60 seconds, the last 24 hours, at every moment."""

MAX_AMOUNT = 10**12
"""Far above any limit that means something, and exact in Redis' numbers."""


class AmountError(ValueError):
    """A text that is no amount of requests or tokens; the message says what to write."""


def amount_read(text: str) -> int:
    """A whole number from a form or a document, in range. Raises AmountError."""
    digits = text.strip().removeprefix("+")
    if not re.fullmatch(r"-?[0-9]{1,30}", digits):
        raise AmountError(f"{text.strip()[:40]!r} is not an amount: write a whole number of requests or tokens, digits only, such as 600")
    return amount_check(int(digits))


def amount_check(amount: object) -> int:
    """An amount that a limit may have. Raises AmountError."""
    if isinstance(amount, bool) or not isinstance(amount, int):
        raise AmountError(f"{amount!r} is not an amount: write a whole number of requests or tokens, digits only, such as 600")
    if amount < 1:
        raise AmountError("an amount must be at least 1: delete the limit to lift it, or switch a kill flag on to stop it all")
    if amount > MAX_AMOUNT:
        raise AmountError(f"{amount} is beyond the largest amount, {MAX_AMOUNT}: delete the limit to have none")
    return amount


KEY_PREFIX = "bulkhead:limit:"
"""Of every key in Redis that limits use: ``<prefix><limit id>``, and ``<prefix>proxies``."""
TTL_MS = 8_000
"""A share that is not renewed for so long by Redis' clock is dead."""


class Ask(msgspec.Struct, array_like=True, frozen=True):
    """What a proxy tells the pool of one limit.

    version: of the config that ``amount`` is from; the newest wins. held: permits that it has. used: of those, in use or resting.
    demand: permits that it could do with. back: permits that it gives back while they rest, as (milliseconds left, how many).
    live: proxies that it last knew of. acked: the number of the last call of which it has had the answer: resting permits that a lost
    answer brought go back to rest. Permits that it gives back rested are simply no longer in ``held``.
    """

    id: str
    amount: int
    version: int
    window_ms: int
    held: int
    used: int
    demand: int
    back: list[tuple[int, int]]
    live: int
    acked: int


class Share(msgspec.Struct, array_like=True, frozen=True):
    """What the pool answers.

    granted: rested permits. resting: permits that come with a rest, as (milliseconds left, how many). target: what this proxy's fair part
    would be. others: permits that are in use or resting elsewhere. idle: permits that others hold and do not use. wanted: others are short.
    next_ms: until the pool's next permit has rested, 0 where none rests.
    """

    granted: int
    resting: list[tuple[int, int]]
    target: int
    others: int
    idle: int
    wanted: bool
    next_ms: int


class Shares(msgspec.Struct, array_like=True, frozen=True):
    """live: proxies that share limits now, the asker among them."""

    live: int
    shares: list[Share]


class HolderUse(NamedTuple):
    """What one proxy has of a limit. held: its permits; used: of those, in use or resting, as it said ``age_ms`` ago."""

    boot_id: str
    held: int
    used: int
    age_ms: int


class PoolUse(NamedTuple):
    """What is used of a limit now, by all proxies together.

    used: permits in use or resting. resting: of those, the ones that no living proxy has: given back, or of a dead one. age_ms: of the
    oldest figure in it; 0 where it is exact.
    """

    used: int
    resting: int
    age_ms: int
    holders: tuple[HolderUse, ...]


def pool_use(raw: bytes | None, now_ms: int, window_ms: int) -> PoolUse:
    """What a limit's value in Redis says (``apps.proxy.limits_redis`` writes it), at a moment of Redis' clock.

    None, no value: nothing is in use and nothing rests, because a value outlives whatever rests in it. Raises ValueError for what is none.
    """
    if raw is None:
        return PoolUse(0, 0, 0, ())
    try:
        _amount, _version, rests, holders, _settle = msgspec.msgpack.decode(raw)
        resting = sum(int(n) for until, n in rests if until > now_ms)
        living = []
        for boot_id, (units, expires, _demand, used, *_) in holders.items() if isinstance(holders, Mapping) else ():
            if expires > now_ms:
                living.append(HolderUse(str(boot_id), int(units), int(used), max(0, int(now_ms - (expires - TTL_MS)))))
            elif expires + window_ms > now_ms:  # nobody knows when it used them: they rest from its end on
                resting += int(units)
    except (msgspec.DecodeError, TypeError, ValueError, AttributeError) as error:
        raise ValueError(f"no state of a limit: {error}") from None
    living.sort(key=lambda holder: (-holder.used, holder.boot_id))
    age_ms = max((holder.age_ms for holder in living if holder.held), default=0)
    return PoolUse(resting + sum(holder.used for holder in living), resting, age_ms, tuple(living))
