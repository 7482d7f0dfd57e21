"""Limits in memory: a request takes a permit of each limit it falls under, or none of any; no round trip while this proxy's share has room.

What always holds (``tests/proxy/test_limits_model.py``), for a limit of L permits with a window of W:

1. Admitted in any span of W, by all proxies together, is at most L. Each proxy admits at most its *share* in any W (a used permit rests
   for W before it is used again), the shares and the pool in Redis together are L, and a permit that moves while it rests carries what is
   left of its rest.
2. No clock is compared with another: proxies and Redis exchange spans, each rounded so that a permit rests too long rather than too
   short. Skew, however large, changes nothing; clocks that run at different speeds are covered by ``limits_shares.TTL_MARGIN``.
3. A share ends by time unless renewed. A proxy that was killed or cut off stops using it before Redis gives it to others, and those
   wait W more.
4. A refused request takes nothing; what never reached a provider gives back what it took. Tokens are taken as the request's upper
   bound and settled to what was used; they count from when the request was admitted.
5. A permit for a request at once (W = 0) is given back exactly once, on whatever way its request ends.

Redis away (``limits_shares``): each proxy keeps to L / live proxies, at least one permit. Then 1 is bounded instead: less than 2 L in the
one W in which Redis went away, at most max(L, live proxies) afterwards.

Fairness. A limit that keys share is fair between them where it is scarce: then each key has a quota, max-min over what the keys ask for,
and one that is beyond its quota is refused while room is left for the others.

Times are ``time.monotonic`` seconds, and given, or asked of ``now``.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Sequence
from time import monotonic
from typing import TYPE_CHECKING, Any

from apps.contracts.limits import MEASURES
from apps.contracts.snapshot import LimitFragment
from apps.proxy.errors import Refusal
from apps.proxy.limits_text import rate_headers, refusal_of, too_large

if TYPE_CHECKING:
    from apps.contracts.usage import Attempt
    from apps.proxy.exchange import Exchange
    from apps.proxy.limits_table import LimitTable

SLOTS = 2048
"""A window's permits are remembered in so many slots: one rests up to a part in 2,048 longer than it must."""
LEAST_REST_SECONDS = 0.005
"""A request that waits looks no more often than that whether a permit has rested."""
FAIR_HEADROOM = 1.25
"""A key's quota leaves it so much more than what it asked for lately."""
WAIT = Refusal("limit_unavailable", "limit", "wait for permits")
"""Not an answer: the pool may have what this proxy has not."""
EXPLAIN = b"x-bulkhead-explain"


class Tenant:
    """A key under a limit that keys share. used: its permits in use or resting. quota: see ``Window.apportion``."""

    __slots__ = ("asked", "asked_before", "last", "quota", "used")

    def __init__(self) -> None:
        self.used = 0
        self.quota: float = math.inf
        self.asked = 0
        self.asked_before = 0
        self.last: Entry | None = None


class Entry:
    """Permits that rest until ``until``; 0.0: they do no longer, or belong to another proxy now."""

    __slots__ = ("n", "tenant", "until")

    def __init__(self, until: float, n: int, tenant: Tenant | None) -> None:
        self.until = until
        self.n = n
        self.tenant = tenant


Hold = tuple["Window", int, "Entry | None", Tenant]
"""What a request took of one limit: window, permits, where they rest, whose they are. A plain tuple: two are made for most requests."""


_NONE: Sequence[Hold] = ()
"""By its type, not as a literal: the compiler would take what is read afterwards for an empty tuple, too."""


class Window:
    """This process's share of one limit.

    share: permits it has. used: of those, in use or resting, ``log`` says until when. until: when the share ends unless renewed.
    others: used elsewhere, as last told. dry_until: the pool had nothing lately and is not asked before. live: the pool knows of this
    proxy's share. local: Redis is away. version: of the config that it is from.
    """

    __slots__ = (
        "acked",
        "amount",
        "asked",
        "asked_before",
        "back",
        "contended",
        "credential",
        "dry_until",
        "fair",
        "fragment",
        "id",
        "last_asked",
        "live",
        "local",
        "log",
        "model",
        "need",
        "next_at",
        "others",
        "period_at",
        "refused",
        "resolution",
        "seconds",
        "seen",
        "share",
        "sync_at",
        "target",
        "tenants",
        "tokens",
        "until",
        "used",
        "version",
        "wanted",
    )

    def __init__(self, fragment: LimitFragment, version: int, now: float) -> None:
        measure = MEASURES[fragment.kind]
        self.id = fragment.id
        self.fragment = fragment
        self.amount = fragment.amount
        self.version = version
        self.tokens = measure.unit == "token"
        self.seconds = measure.window_ms / 1000
        self.resolution = self.seconds / SLOTS
        self.fair = fragment.scope != "key"
        self.model = fragment.scope_id if fragment.scope == "model" else ""
        """Whose calls it counts, where it is a model's."""
        self.credential = fragment.scope_id if fragment.scope == "credential" else ""
        """The same where it is a provider's credential's."""
        self.share = self.used = self.others = 0
        self.log: deque[Entry] = deque()
        self.until = math.inf
        self.tenants: dict[str, Tenant] = {}
        self.contended = False
        self.asked = self.asked_before = self.seen = self.need = self.refused = 0
        self.period_at = self.last_asked = now
        self.dry_until = self.sync_at = self.next_at = 0.0
        self.target = self.acked = 0
        self.wanted = self.live = self.local = False
        self.back: list[tuple[float, int]] = []

    # --- hot ---

    def prune(self, now: float) -> None:
        """Permits that have rested are free again."""
        log = self.log
        while log and log[0].until <= now:
            entry = log.popleft()
            entry.until = 0.0
            self.used -= entry.n
            if entry.tenant is not None:
                entry.tenant.used -= entry.n

    def take(self, n: int, tenant: Tenant, now: float) -> Hold:
        self.used += n
        tenant.used += n
        if not self.seconds:
            return self, n, None, tenant
        last = tenant.last
        soonest = now + self.seconds
        if last is None or last.until < soonest:
            last = tenant.last = Entry(soonest + self.resolution, 0, tenant)
            self.log.append(last)
        last.n += n
        return self, n, last, tenant

    def settle(self, n: int, entry: Entry | None, tenant: Tenant, cost: int, now: float) -> None:
        """What it took becomes what it used; 0 gives all back. Once per hold."""
        if entry is None:
            self.used -= n
            tenant.used -= n
            return
        beyond = cost - n
        if beyond > 0 and not entry.until:
            self.take(beyond, tenant, now)
        elif entry.until:
            beyond = max(beyond, -entry.n)  # a part of it may rest elsewhere by now
            entry.n += beyond
            self.used += beyond
            tenant.used += beyond
            if not entry.n and self.log[-1] is entry:  # nothing rests there: it must not look as if something did
                self.log.pop()
                entry.until = 0.0

    # --- off the hot path ---

    def tenant(self, key: str) -> Tenant:
        found = self.tenants.get(key)
        if found is None:
            found = self.tenants[key] = Tenant()
        return found

    def free_in(self, n: int, now: float) -> float:
        """Seconds until ``n`` permits are free here by resting alone; ``inf`` where they never are."""
        missing = self.used + n - self.share
        if missing <= 0:
            return 0.0
        for entry in self.log:
            missing -= entry.n
            if missing <= 0:
                return max(0.0, entry.until - now)
        return math.inf

    def resets_in(self, now: float) -> int:
        """Milliseconds until all permits that this proxy knows to rest have rested."""
        until = self.log[-1].until if self.log else self.next_at if self.others else now
        return max(0, int((until - now) * 1000))

    def remaining(self) -> int:
        """Permits that are free, as far as this proxy knows."""
        return max(0, self.amount - self.used - self.others)

    def lapse(self) -> None:
        """The share has ended. What is in use or rests here is told, and asked for, when Redis is spoken to next."""
        self.share = 0
        self.until = math.inf

    def rest(self, until: float, n: int) -> None:
        """Permits that came with a rest; the log is sorted by ``sort``."""
        self.log.append(Entry(until, n, None))
        self.used += n

    def sort(self) -> None:
        self.log = deque(sorted(self.log, key=_until))

    def give_back(self, now: float, free: int, resting: int) -> None:
        """Out of the share: ``free`` free permits, and ``resting`` resting ones, those first that are soonest free."""
        self.share -= max(0, min(free, self.share - self.used))
        while resting > 0 and self.log:
            entry = self.log[0]
            n = min(entry.n, resting)
            resting -= n
            entry.n -= n
            self.used -= n
            self.share -= n
            if entry.tenant is not None:
                entry.tenant.used -= n
            if n:
                self.back.append((entry.until, n))
            if entry.n <= 0:
                entry.until = 0.0
                self.log.popleft()

    def turn(self, now: float) -> None:
        """Moves the period over which asking is counted."""
        period = self.seconds or 1.0
        if now - self.period_at < period:
            return
        skipped = now - self.period_at >= 2 * period
        self.asked_before, self.asked = (0 if skipped else self.asked), 0
        self.seen = 0
        self.period_at = now
        for key, tenant in tuple(self.tenants.items()):
            tenant.asked_before, tenant.asked = (0 if skipped else tenant.asked), 0
            if not tenant.used and not tenant.asked_before:
                del self.tenants[key]

    def asked_lately(self, asked: int, before: int, now: float) -> float:
        """Permits asked for in the last window, estimated from the running period and the one before."""
        return asked + before * max(0.0, 1 - (now - self.period_at) / (self.seconds or 1.0))

    def apportion(self, now: float) -> None:
        """Quotas, where the share is scarce: max-min over what each key asked for lately, with some headroom."""
        if not self.fair:
            return
        wants = []
        for tenant in self.tenants.values():
            asked = self.asked_lately(tenant.asked, tenant.asked_before, now) if self.seconds else float(tenant.used + tenant.asked)
            wants.append((max(float(tenant.used), asked), tenant))
        share = max(self.share, 1)
        self.contended = len(wants) > 1 and sum(want for want, _ in wants) > share
        if not self.contended:
            return
        left, count = float(share), len(wants)
        wants.sort(key=_want)
        for want, tenant in wants:
            part = left / count
            tenant.quota = float(max(1, math.ceil(min(want * FAIR_HEADROOM + 1, part) if count > 1 else left)))
            left -= min(want * FAIR_HEADROOM + 1, part)
            count -= 1


def _until(entry: Entry) -> float:
    return entry.until


def _want(pair: tuple[float, Tenant]) -> float:
    return pair[0]


class Limits:
    """This process's windows. cold: told of a window that is short, to have it filled."""

    def __init__(self, now: Callable[[], float] = monotonic) -> None:
        self.now = now
        self.windows: dict[str, Window] = {}
        self.away = True
        """No pool is spoken to: each proxy keeps to its part."""
        self.proxies = 1
        """Proxies that share limits, as last known."""
        self.cold: Callable[[Window], None] = _nothing
        self.refusals = 0

    def window_of(self, fragment: LimitFragment, version: int) -> Window:
        """The window of a limit, with what the config says of it now."""
        window = self.windows.get(fragment.id)
        if window is not None and MEASURES[window.fragment.kind] == MEASURES[fragment.kind]:
            if version > window.version:
                window.fragment, window.amount, window.version = fragment, fragment.amount, version
                window.fair = fragment.scope != "key"
                if window.local:
                    window.share = self.part_of(window)
            return window
        window = self.windows[fragment.id] = Window(fragment, version, self.now())
        return window

    def keep(self, table: LimitTable | None) -> None:
        """With a new config: what it says of windows at work, and none that it no longer has."""
        known = {} if table is None else {fragment.id: fragment for fragment in table.fragments}
        for id in tuple(self.windows):
            if table is not None and id in known:
                self.window_of(known[id], table.version)
            else:
                del self.windows[id]

    def part_of(self, window: Window) -> int:
        """A proxy's share while Redis is away."""
        return max(1, window.amount // max(1, self.proxies))

    def locally(self, window: Window) -> None:
        """Redis is away: an equal part, or what is left of the share until that ends."""
        part = self.part_of(window)
        if self.now() >= window.until:
            window.lapse()
        if window.share <= part or window.until == math.inf:
            window.share, window.until = part, math.inf
        window.local = window.live = True

    # --- a request ---

    def admit(self, exchange: Exchange, windows: tuple[Window, ...], *, last: bool = False) -> Refusal | None:
        """Takes what the request needs of every window, or nothing. WAIT: not at once, ask again after ``cold`` windows were filled.

        last: there is nothing more to wait for.
        """
        now = self.now()
        exchange.limits = windows
        request = exchange.request
        if not request.plain and EXPLAIN in request.headers:
            return self._would(exchange, windows, now)
        key = exchange.key.id  # type: ignore[union-attr]
        holds: list[Hold] = []
        for window in windows:
            log = window.log
            if log and log[0].until <= now:
                window.prune(now)
            n = exchange.input_bound + exchange.max_output * exchange.n if window.tokens else 1
            tenant = window.tenants.get(key) or window.tenant(key)
            window.asked += n
            tenant.asked += n
            if window.used + n > window.share or now >= window.until or (window.contended and tenant.used + n > tenant.quota):
                for taken in holds:
                    taken[0].settle(taken[1], taken[2], taken[3], 0, now)
                return self._short(exchange, windows, now, last)
            holds.append(window.take(n, tenant, now))
        exchange.holds = holds
        return None

    def end(self, exchange: Exchange) -> None:
        """The request is over: what it took becomes what it used. Nothing was used by what never reached a provider."""
        holds, exchange.holds = exchange.holds, ()
        attempts = exchange.attempts
        now = self.now()
        if not attempts:
            for window, n, entry, tenant in holds:
                window.settle(n, entry, tenant, 0, now)
            return
        used = 0
        for attempt in attempts:
            used += attempt.tokens.input + attempt.tokens.output
        for window, n, entry, tenant in holds:
            if window.model:
                self._settle_model(window, n, entry, tenant, attempts, now)
            elif window.credential:
                self._settle_credential(window, n, entry, tenant, exchange, now)
            elif window.tokens:
                window.settle(n, entry, tenant, used, now)
            elif entry is None:
                window.used -= n
                tenant.used -= n

    # --- a model's limits: a request may be answered by another model than its first target's ---

    def admit_model(self, exchange: Exchange, table: LimitTable, model: str) -> Refusal | None:
        """Before a target is asked: permits of its model's limits, where the request has none of them yet. WAIT as in ``admit``."""
        for hold in exchange.holds:
            if hold[0].model == model:
                return None
        windows = table.models.get((exchange.key.organisation, model), ())  # type: ignore[union-attr]
        return self.admit_more(exchange, self.windows_of(windows, table.version)) if windows else None

    def admit_more(self, exchange: Exchange, windows: tuple[Window, ...], *, last: bool = False) -> Refusal | None:
        """``admit`` beside what the request holds already."""
        holds, limits = exchange.holds, exchange.limits
        exchange.holds = _NONE
        refusal = self.admit(exchange, windows, last=last)
        exchange.holds = [*holds, *exchange.holds]
        exchange.limits = limits if refusal is not None else (*limits, *windows)
        return refusal

    def windows_of(self, fragments: Sequence[LimitFragment], version: int) -> tuple[Window, ...]:
        """The windows of some limits, with what the config says of them now."""
        return tuple(self.window_of(fragment, version) for fragment in fragments)

    def _settle_model(self, window: Window, n: int, entry: Entry | None, tenant: Tenant, attempts: Sequence[Attempt], now: float) -> None:
        """Of a model that was not asked, all is given back; else its own calls' tokens count."""
        called, used = False, 0
        for attempt in attempts:
            if attempt.model == window.model:
                called = True
                used += attempt.tokens.input + attempt.tokens.output
        if not called or window.tokens or entry is None:
            window.settle(n, entry, tenant, used if called else 0, now)

    def admit_credential(self, exchange: Exchange, windows: tuple[Window, ...]) -> Refusal | None:
        """Before a credential is used: permits of its own limits, where the request has none of them yet. Apps are not told of them."""
        for hold in exchange.holds:
            if hold[0] is windows[0]:
                return None
        limits = exchange.limits
        refusal = self.admit_more(exchange, windows)
        exchange.limits = limits
        return refusal

    def _settle_credential(self, window: Window, n: int, entry: Entry | None, tenant: Tenant, exchange: Exchange, now: float) -> None:
        """Of a credential that was not used, all is given back; else the tokens of the calls that it was used for count."""
        called, used = False, 0
        for credential, attempt in exchange.lent:
            if credential == window.credential:
                called = True
                used += attempt.tokens.input + attempt.tokens.output
        if not called or window.tokens or entry is None:
            window.settle(n, entry, tenant, used if called else 0, now)

    def headers(self, exchange: Exchange) -> bytes:
        """``x-ratelimit-*``, as OpenAI names them: of the limit with the least left, for requests and for tokens."""
        return rate_headers(exchange.limits, self.now())

    # --- not at once ---

    def _short(self, exchange: Exchange, windows: tuple[Window, ...], now: float, last: bool) -> Refusal | None:
        key = exchange.key
        assert key is not None
        worst: tuple[float, Window, int] | None = None
        wait = False
        for window in windows:
            window.prune(now)
            n = bound_of(exchange) if window.tokens else 1
            if n > window.amount:
                self.refusals += 1
                return too_large(window, n, exchange)
            if now >= window.until:
                window.lapse()
            if self.away and (not window.local or not window.share):
                self.locally(window)
                self.cold(window)
            tenant = window.tenant(key.id)
            if window.used + n > window.share:
                if not self.away and not last and now >= window.dry_until:
                    window.need = max(window.need, n)
                    self.cold(window)
                    wait = True
                seconds = window.free_in(n, now)
                if seconds == math.inf:  # by what rests in the pool, or when a request ends, or another proxy gives some back
                    seconds = max(window.next_at - now, 1.0) if window.seconds else 1.0
            elif window.contended and tenant.used + n > tenant.quota:
                seconds = max(0.001, _free_of(window, tenant, n, now))
            else:
                continue
            if worst is None or seconds > worst[0]:
                worst = (seconds, window, n)
        if worst is None:  # a share was found after all
            exchange.holds = [window.take(bound_of(exchange) if window.tokens else 1, window.tenant(key.id), now) for window in windows]
            return None
        if wait:
            return WAIT
        seconds, window, n = worst
        window.refused += 1
        self.refusals += 1
        if not self.away and not window.live:
            message = f"The limit {window.fragment.name!r} cannot be checked right now. Try again in a moment."
            return Refusal("limit_unavailable", "limit", message, None, {"limit": window.fragment.name, "retry_after_seconds": 1})
        return refusal_of(window, n, seconds, fair=window.used + n <= window.share)

    def _would(self, exchange: Exchange, windows: tuple[Window, ...], now: float) -> Refusal | None:
        """For an explanation: the refusal that there would be; nothing is taken."""
        for window in windows:
            window.prune(now)
            n = bound_of(exchange) if window.tokens else 1
            if n > window.amount:
                return too_large(window, n, exchange)
            if window.remaining() < n or (self.away and window.local and window.used + n > window.share):
                seconds = window.free_in(n, now)
                return refusal_of(window, n, seconds if seconds < math.inf else max(window.next_at - now, 1.0), fair=False)
        return None

    def rested_in(self, windows: tuple[Window, ...]) -> float:
        """Seconds until the next permit of one of these has rested here, at least a slot's; ``inf``: none rests."""
        now = self.now()
        soonest = min((window.log[0].until - now for window in windows if window.log), default=math.inf)
        return max(soonest, LEAST_REST_SECONDS)

    # --- for people ---

    def view(self) -> list[dict[str, Any]]:
        """Every limit at work, as ``/states`` gives it."""
        now = self.now()
        found = []
        for window in self.windows.values():
            window.prune(now)
            found.append(
                {
                    "id": window.id,
                    "name": window.fragment.name,
                    "organisation": window.fragment.organisation,
                    "kind": window.fragment.kind,
                    "limit": window.amount,
                    "share": window.share,
                    "used": window.used,
                    "used_elsewhere": window.others,
                    "refused": window.refused,
                    "contended": window.contended,
                    "local": window.local,
                }
            )
        return found


def bound_of(exchange: Exchange) -> int:
    """The most tokens that a request can use: input by bytes, output by its cap."""
    return exchange.input_bound + exchange.max_output * exchange.n


def _free_of(window: Window, tenant: Tenant, n: int, now: float) -> float:
    """Seconds until the key is within its quota by resting alone."""
    missing = tenant.used + n - tenant.quota
    for entry in window.log:
        if entry.tenant is tenant:
            missing -= entry.n
            if missing <= 0:
                return entry.until - now
    return 1.0


def _nothing(window: Window) -> None:
    pass
