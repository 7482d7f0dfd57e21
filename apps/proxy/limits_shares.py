"""Keeps this process's shares of limits: asks the pool ahead of need, gives back what others are short of, and makes do without Redis.

Off the hot path. One task talks to the pool, about all limits at work in one call: at once when a request is short, five times a second
while other proxies use a limit too, else once a second. A limit that nobody has asked for in ``IDLE_SECONDS`` is given back and forgotten.

Redis away: shares are used while they last (``TTL_SECONDS``). ``AWAY_SECONDS`` after the first failure this proxy is on its own: it keeps
to limit / live proxies of each limit, says so (``state``), and goes on asking. The first answer ends that: what is in use or rests here is
claimed, and shares are given out again.
"""

from __future__ import annotations

import asyncio
import logging
import math
import random
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, Protocol

from apps.contracts.limits import TTL_MS, Ask, Share, Shares
from apps.proxy.limits import WAIT, Limits, Window

if TYPE_CHECKING:
    from apps.proxy.errors import Refusal
    from apps.proxy.exchange import Exchange

TTL_SECONDS = TTL_MS / 1000
"""A share that is not renewed for so long by Redis' clock is dead."""
TTL_MARGIN = 0.9
"""A proxy believes in its share for this part of that, by its own clock, from before it asked."""
BUSY_SECONDS = 0.2
CALM_SECONDS = 1.0
IDLE_SECONDS = 10.0
HELLO_SECONDS = 2.0
"""A proxy without anything to ask says so often that it is there: how many share a limit decides what each keeps without Redis."""
DRY_SECONDS = 0.1
"""The pool is not asked again so soon by requests when it had nothing."""
WAIT_SECONDS = 0.4
"""The longest that a request waits for a permit that another proxy may have to spare."""
AWAY_SECONDS = 2.0
PAUSE_SECONDS = 0.05
MAX_PAUSE_SECONDS = 1.0
COUNT_SECONDS = 5.0
MAX_WAITING = 2_000
MAX_ASKS = 500
"""Limits in one call: Redis does nothing else meanwhile."""
DEMAND_HEADROOM = 1.25
log = logging.getLogger("bulkhead.proxy")


class Pool(Protocol):
    """Where permits lie that no proxy has (``limits_redis.RedisPool``; ``limits_fake.FakePool`` for tests)."""

    async def sync(self, asks: Sequence[Ask], ttl_ms: int, number: int) -> Shares:
        """One round trip. ttl_ms 0: this proxy is leaving. number: rises with every call; a call that arrives after a later one
        changes nothing. Raises ConnectionError; whether it happened is unknown then."""


class ShareKeeper:
    """``run`` until cancelled. pool None: there is no Redis, so this proxy is always on its own."""

    def __init__(self, limits: Limits, pool: Pool | None, count: Callable[[], Awaitable[int]] | None = None) -> None:
        """count: how many proxies there are as the database knows, for while Redis cannot say; None: there is no database."""
        self._limits = limits
        self._pool = pool
        self._count = count
        self._counted_at = -COUNT_SECONDS
        self._bell = asyncio.Event()
        self._failing_since: float | None = None
        self._pause = 0.0
        self._spoken_at = -HELLO_SECONDS
        self._work: dict[str, Window] = {}
        """Windows that somebody has asked for lately, or of which something is held."""
        self._synced: asyncio.Future[None] | None = None
        self.waiting = 0
        self.calls = 0
        limits.away = pool is None
        limits.cold = self._filled_soon

    @property
    def state(self) -> str:
        """``shared``, ``away`` (Redis is) or ``none`` (there is no Redis)."""
        return "none" if self._pool is None else "away" if self._limits.away else "shared"

    def detail(self) -> dict[str, str]:
        """For the heartbeat's detail: nothing while limits are shared, or where there are none at work."""
        return {"limits": "local"} if self._limits.away and self._limits.windows else {}

    async def _recount(self) -> None:
        """Among how many a limit is parted. While the database is away too, what was known last stands."""
        now = self._limits.now()
        if self._count is None or now - self._counted_at < COUNT_SECONDS:
            return
        self._counted_at = now
        try:
            self._limits.proxies = max(1, await self._count())
        except Exception as error:  # of whatever kind: requests go on with what is known
            log.debug("limits: the database cannot say how many proxies there are: %s", error)

    # --- a request that found its share empty ---

    async def wait(self, exchange: Exchange, windows: tuple[Window, ...], *, more: bool = False) -> Refusal | None:
        """Asks the pool, and asks again while others may have something to spare; then the request has its permits, or its refusal.

        more: beside those that it has already.
        """
        limits = self._limits
        admit = limits.admit_more if more else limits.admit
        if self.waiting >= MAX_WAITING:
            return admit(exchange, windows, last=True)
        self.waiting += 1
        try:
            loop = asyncio.get_running_loop()
            deadline = loop.time() + min(WAIT_SECONDS, max(0.0, exchange.left_seconds()))
            while (left := deadline - loop.time()) > 0:
                if self._synced is None:
                    self._synced = loop.create_future()
                synced = self._synced
                await asyncio.wait([synced], timeout=min(left, limits.rested_in(windows)))
                # Others may have something to spare: they are told by asking again. Before an answer only what rested here is new.
                for pause in (0.0, PAUSE_SECONDS) if synced.done() else (0.0,):
                    await asyncio.sleep(pause)
                    refusal = admit(exchange, windows)
                    if refusal is not WAIT:
                        return refusal
            return admit(exchange, windows, last=True)
        finally:
            self.waiting -= 1

    def _filled_soon(self, window: Window) -> None:
        self._work[window.id] = window
        window.sync_at = 0.0
        self._bell.set()

    # --- the task ---

    async def run(self) -> None:
        while True:
            try:
                async with asyncio.timeout(BUSY_SECONDS):
                    await self._bell.wait()
            except TimeoutError:
                pass
            self._bell.clear()
            self.tick()
            if self._limits.away:
                await self._recount()
                self._alone()
                if self._pool is not None:
                    await self._sync([])
            elif (due := self.due()) or self._limits.now() - self._spoken_at >= HELLO_SECONDS:
                await self._sync(due)
            if self._pause:
                await asyncio.sleep(self._pause * random.uniform(0.5, 1.0))

    async def close(self) -> None:
        """Gives everything back, with what rests. Call it when no request runs any more."""
        if self._pool is None or self._failing_since is not None:
            return
        now = self._limits.now()
        for window in self._work.values():
            window.prune(now)
            window.give_back(now, window.share, window.used)
        try:
            await self._pool.sync([self.ask(window, now) for window in self._work.values() if window.live], 0, self.calls + 1)
        except ConnectionError as error:
            log.warning("limits: shares could not be given back, they come free by themselves: %s", error)

    async def _sync(self, due: list[Window]) -> None:
        assert self._pool is not None
        limits = self._limits
        started = limits.now()
        self._spoken_at = started
        asks = [self.ask(window, started) for window in due]
        try:
            self.calls += 1
            answer = await self._pool.sync(asks, round(TTL_SECONDS * 1000), self.calls)
            if len(answer.shares) != len(asks):
                raise ConnectionError("the pool answered about other limits than it was asked of")
        except ConnectionError as error:
            self._failed(error)
        else:
            if limits.away:
                log.info("limits: Redis is back, limits are shared again")
                limits.away = False
                for window in self._work.values():  # in use or resting here: all that can be claimed for sure
                    window.local, window.sync_at = False, 0.0
                    if window.until == math.inf:
                        window.share = window.used
                self._bell.set()
            self._failing_since, self._pause = None, 0.0
            limits.proxies = max(1, answer.live)
            now = limits.now()
            for window, ask, share in zip(due, asks, answer.shares, strict=True):
                self.apply(window, ask, share, started, now, self.calls)
        synced, self._synced = self._synced, None
        if synced is not None and not synced.done():
            synced.set_result(None)

    def _failed(self, error: ConnectionError) -> None:
        now = self._limits.now()
        if self._failing_since is None:
            self._failing_since = now
        self._pause = min(MAX_PAUSE_SECONDS, self._pause * 2 or 0.1)
        if not self._limits.away and now - self._failing_since >= AWAY_SECONDS:
            log.warning("limits: Redis is away (%s): this proxy keeps to 1/%d of each limit", error, self._limits.proxies)
            self._limits.away = True
        if self._limits.away:
            self._alone()

    def _alone(self) -> None:
        for window in self._work.values():
            self._limits.locally(window)

    # --- what is asked, and what becomes of the answer; both without waiting ---

    def tick(self) -> None:
        """Quotas and periods of windows at work; those that nobody asked for are let go."""
        limits = self._limits
        now = limits.now()
        for window in tuple(self._work.values()):
            if limits.windows.get(window.id) is not window:
                del self._work[window.id]  # the config has it no more
                continue
            window.prune(now)
            if window.asked != window.seen or window.need:
                window.last_asked = now
            window.apportion(now)
            window.turn(now)
            if not window.live and not window.share and not window.used and now - window.last_asked > IDLE_SECONDS:
                del self._work[window.id]

    def due(self) -> list[Window]:
        now = self._limits.now()
        found = [window for window in self._work.values() if window.sync_at <= now]
        found.sort(key=_short_first)
        return found[:MAX_ASKS]

    def demand(self, window: Window, now: float) -> int:
        """Permits that this proxy could do with: what it was asked for in the last window and a little more, and never so few that
        a lone request would have to wait for a round trip; none for a limit that nobody asks for."""
        if now - window.last_asked > IDLE_SECONDS:
            return window.used
        if window.seconds:
            asked = window.asked_lately(window.asked, window.asked_before, now)
        else:
            asked = window.used + window.asked - window.seen
        least = math.ceil(window.amount / (4 * max(1, self._limits.proxies)))
        return min(window.amount, max(math.ceil(asked * DEMAND_HEADROOM), least, window.used + window.need))

    def surplus(self, window: Window) -> tuple[int, int]:
        """Free and resting permits that others may have: what will not be used at once, and what is beyond the fair part."""
        free = max(0, window.share - window.used)
        if window.seconds:  # by the pace of the whole window: between two calls that follow at once nobody has asked
            asked = window.asked_lately(window.asked, window.asked_before, self._limits.now())
            ahead = int(asked / window.seconds * 2 * BUSY_SECONDS)
        else:
            ahead = 2 * (window.asked - window.seen)
        spare = max(0, free - ahead - window.need)
        over = max(0, window.share - window.target - spare)
        return min(free, spare + over), max(0, over - (free - spare)) if window.seconds else 0

    def ask(self, window: Window, now: float) -> Ask:
        window.prune(now)
        if now >= window.until:
            window.lapse()
        free = max(0, window.share - window.used)
        if now - window.last_asked > IDLE_SECONDS:
            window.give_back(now, free, window.used if window.seconds else 0)
        elif window.wanted:
            window.give_back(now, *self.surplus(window))
        demand = self.demand(window, now)
        window.back = [(until, n) for until, n in window.back if until > now]
        window.seen = window.asked
        back = [(max(0, math.ceil((until - now) * 1000)), n) for until, n in window.back]
        held = max(window.share, window.used)
        return Ask(
            id=window.id,
            amount=window.amount,
            version=window.version,
            window_ms=round(window.seconds * 1000),
            held=held,
            used=window.used,
            demand=demand,
            back=back,
            live=self._limits.proxies,
            acked=window.acked,
        )

    def apply(self, window: Window, ask: Ask, share: Share, started: float, now: float, number: int) -> None:
        """started: before it was asked: the share ends ``TTL_SECONDS`` after that at the earliest. number: the call's."""
        window.acked = number
        del window.back[: len(ask.back)]
        idle = not ask.held and not ask.demand
        window.share = ask.held + share.granted
        for left_ms, n in share.resting:
            window.share += n
            window.rest(now + left_ms / 1000, n)
        if share.resting:
            window.sort()
        window.until = started + TTL_SECONDS * TTL_MARGIN
        window.local = False
        window.live = not idle
        window.target, window.others, window.wanted = share.target, share.others, share.wanted
        window.next_at = now + share.next_ms / 1000 if share.next_ms else 0.0
        if window.need and window.used + window.need > window.share and not share.idle:
            window.dry_until = now + DRY_SECONDS
        window.need = 0
        busy = share.wanted or (self._limits.proxies > 1 and now - window.last_asked < IDLE_SECONDS)
        window.sync_at = now + (BUSY_SECONDS if busy else CALM_SECONDS)
        if share.wanted and any(self.surplus(window)):  # somebody waits for it
            window.sync_at = now
            self._bell.set()


def _short_first(window: Window) -> tuple[bool, float]:
    return not window.need, window.sync_at
