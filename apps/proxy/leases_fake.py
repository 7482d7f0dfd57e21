"""The database's side of leases, in memory: for tests of whatever holds leases, without Postgres.

``FakeLeaseBook`` follows the rules of the SQL functions in ``apps/budgets`` to the letter (the same tests run against both);
``FakeLeaseStore`` is one proxy's connection to it, which can be cut (``away``) and can lose answers (``lose``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from apps.contracts.leases import BootGone, LeaseReturn, LeaseState, LeaseWant


@dataclass
class FakeWindow:
    """One budget's window; nano-dollars, milliseconds since the epoch."""

    id: int
    budget: str
    starts_at_ms: int
    ends_at_ms: int
    limit: int
    spent: int = 0
    leased: int = 0
    overrun: int = 0

    @property
    def remaining(self) -> int:
        return self.limit - self.spent - self.leased - self.overrun


@dataclass
class FakeLease:
    """One proxy's slice of one window."""

    id: int
    window: FakeWindow
    boot: str
    generation: int = 0
    granted: int = 0
    returned: int = 0
    settled: int = 0
    open: bool = True

    @property
    def outstanding(self) -> int:
        return self.granted - self.returned - self.settled


@dataclass
class FakeLeaseBook:
    """Budgets, windows and leases. ``limits``: budget -> limit; ``window_ms``: length of every window.

    on_recall: called with a window's id, as the NOTIFY would be heard by every proxy.
    """

    limits: dict[str, int]
    now_ms: Callable[[], int]
    window_ms: int = 86_400_000
    on_recall: list[Callable[[int], None]] = field(default_factory=list)
    windows: list[FakeWindow] = field(default_factory=list)
    leases: list[FakeLease] = field(default_factory=list)
    gone: set[str] = field(default_factory=set)
    soft: set[str] = field(default_factory=set)
    """Budgets that only count: whatever is asked is granted."""

    def store(self, boot: str) -> FakeLeaseStore:
        return FakeLeaseStore(self, boot)

    def window(self, budget: str) -> FakeWindow:
        """The window that is now, made on first use."""
        start = self.now_ms() // self.window_ms * self.window_ms
        for window in self.windows:
            if window.budget == budget and window.starts_at_ms == start:
                return window
        window = FakeWindow(len(self.windows) + 1, budget, start, start + self.window_ms, self.limits[budget])
        self.windows.append(window)
        return window

    def set_limit(self, budget: str, limit: int) -> None:
        """A person changes the limit; a lower one recalls what the proxies hold."""
        window = self.window(budget)
        lowered = limit < window.limit
        self.limits[budget] = window.limit = limit
        if lowered:
            self.recall(window)

    def recall(self, window: FakeWindow) -> None:
        for heard in self.on_recall:
            heard(window.id)

    def settle(self, costs: dict[int, int]) -> None:
        """What the shipper does with journalled costs, by lease id; beyond the lease's outstanding it is overrun."""
        for lease_id, cost in costs.items():
            lease = self.leases[lease_id - 1]
            within = min(cost, lease.outstanding)
            excess = cost - within
            lease.settled += cost
            lease.granted += excess
            lease.generation += excess > 0
            lease.window.spent += within
            lease.window.leased -= within
            lease.window.overrun += excess

    def release(self, boot: str) -> None:
        """The shipper saw the proxy dead and settled its journal: the rest is free again, for others only."""
        self.gone.add(boot)
        for lease in self.leases:
            if lease.boot == boot and lease.open:
                lease.window.leased -= lease.outstanding
                lease.returned += lease.outstanding
                lease.open = False


class FakeLeaseStore:
    """A ``LeaseStore`` of one boot id. away: calls fail. lose: asked after each call; True loses its answer."""

    def __init__(self, book: FakeLeaseBook, boot: str) -> None:
        self.book = book
        self.boot = boot
        self.away = False
        self.lose: Callable[[], bool] = lambda: False
        self.calls: list[str] = []

    async def lease_grant(self, wants: Sequence[LeaseWant]) -> list[LeaseState]:
        self._arrive("grant")
        rows, short = [], []
        for want in wants:
            if want.budget not in self.book.limits:
                continue
            window = self.book.window(want.budget)
            lease = self._lease_of(window)
            amount = self._amount(window, lease, want)
            if amount:
                if lease is None:
                    lease = FakeLease(len(self.book.leases) + 1, window, self.boot)
                    self.book.leases.append(lease)
                lease.granted += amount
                lease.generation += 1
                window.leased += amount
            elif want.need:
                short.append(window)
            rows.append(self._state(window, lease))
        for window in short:
            self.book.recall(window)
        return self._leave(rows)

    async def lease_return(self, returns: Sequence[LeaseReturn]) -> list[LeaseState]:
        self._arrive("return")
        rows = []
        for each in returns:
            lease = self.book.leases[each.lease - 1]
            if lease.boot != self.boot or not lease.open:
                continue
            if lease.generation == each.generation:
                more = min(each.returned - lease.returned, lease.outstanding)
                if more > 0:
                    lease.returned += more
                    lease.generation += 1
                    lease.window.leased -= more
            rows.append(self._state(lease.window, lease))
        return self._leave(rows)

    async def lease_sync(self) -> list[LeaseState]:
        self._arrive("sync")
        now = self.book.now_ms()
        mine = [each for each in self.book.leases if each.boot == self.boot and each.open]
        return self._leave([self._state(each.window, each) for each in mine if each.window.ends_at_ms > now or each.outstanding])

    def _amount(self, window: FakeWindow, lease: FakeLease | None, want: LeaseWant) -> int:
        holders = sum(1 for each in self.book.leases if each.window is window and each.outstanding > 0)
        if lease is None or lease.outstanding == 0:
            holders += 1
        if window.budget in self.book.soft:
            return max(want.need, want.want)
        remaining = max(0, window.remaining)
        if want.need > remaining:
            return 0
        return min(remaining, want.want, max(want.need, remaining // (4 * holders)))

    def _lease_of(self, window: FakeWindow) -> FakeLease | None:
        return next((each for each in self.book.leases if each.window is window and each.boot == self.boot and each.open), None)

    def _state(self, window: FakeWindow, lease: FakeLease | None) -> LeaseState:
        return LeaseState(
            budget=window.budget,
            lease=lease.id if lease else 0,
            window=window.id,
            generation=lease.generation if lease else 0,
            granted=lease.granted if lease else 0,
            returned=lease.returned if lease else 0,
            starts_at_ms=window.starts_at_ms,
            ends_at_ms=window.ends_at_ms,
            limit=window.limit,
            spent=window.spent + window.overrun,
            leased=window.leased,
        )

    def _arrive(self, name: str) -> None:
        if self.away:
            raise ConnectionError("the database is away")
        if self.boot in self.book.gone:
            raise BootGone(self.boot)
        self.calls.append(name)

    def _leave(self, rows: list[LeaseState]) -> list[LeaseState]:
        if self.lose():
            raise ConnectionError("the answer was lost")
        return rows
