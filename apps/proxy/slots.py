"""Bulkheads: how many requests may be at a target, or in a route, at once, and who waits for a place.

A request takes a slot, or waits for one in a bounded queue, or is shed::

    if not slots.take():
        waiter = slots.wait(priority, deadline, now)
        if waiter is None: ...                       # shed: 429 with Retry-After: slots.retry_after()
        await waiter                                 # raises Shed, QueueTimeout, or what interrupted the wait
    try: ...
    finally: slots.give()

What always holds (``tests/proxy/test_slots_model.py``):

1. ``running`` is never above ``limit`` (after the limit was lowered: it only falls until it fits again).
2. Every ``take`` that said True and every wait that returned is given back by exactly one ``give``; a wait that raised, whatever it
   raised, holds nothing: an interrupted one leaves the queue, and a slot that had been handed to it goes to the next.
3. While somebody waits, no slot is free: nobody overtakes the queue by ``take``.
4. Better priority first (lower number), among equals who came first: no waiter starves behind an equal one.
5. Never more than ``queue_size`` wait. A full queue sheds its worst waiter (last priority, among those who came last) for a better
   newcomer; a newcomer that is not better than the worst is shed itself.
6. Whoever waits hears: by a slot, by ``Shed``, or by ``QueueTimeout`` at the first ``sweep`` after its deadline.

Waiters are resumed synchronously, inside ``give``, ``sweep`` and ``wait``, one after another and never nested: a resumed request may
give, take and wait as it likes. Call ``give`` last, when the request's connection is back in its pool.
Times are the event loop's, in seconds, and always given.
"""

from __future__ import annotations

import logging
import math
import sys
from collections import OrderedDict
from collections.abc import Collection, Generator
from typing import Any

from apps.contracts import histogram
from apps.proxy.driver import Waiter
from apps.proxy.errors import ProxyError

log = logging.getLogger("bulkhead.proxy")

MAX_RETRY_AFTER_SECONDS = 60
RATE_SECONDS = 1.0
"""Over about so long the rate is averaged at which slots come free."""


class Shed(ProxyError):
    """No place to wait: the queue is full of what is served first."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__("too many requests wait for a place already")
        self.retry_after_seconds = retry_after_seconds


class QueueTimeout(ProxyError):
    """No slot came free before the deadline."""

    def __init__(self, retry_after_seconds: int) -> None:
        super().__init__("no place came free in time")
        self.retry_after_seconds = retry_after_seconds


class SlotWaiter(Waiter):
    """A place in the queue. Awaited once, it returns when the slot is the caller's own, to be given back by ``Slots.give``.

    One that is not awaited after all must be left: ``leave``.
    """

    __slots__ = ("_held", "_slots", "deadline", "priority")

    def __init__(self, slots: Slots, priority: int, deadline: float) -> None:
        super().__init__()
        self._slots = slots
        self.priority = priority
        self.deadline = deadline
        self._held = False
        """A slot was handed over, and the caller has not had it yet."""

    def __await__(self) -> Generator[Waiter, None, Any]:
        try:
            yield from super().__await__()
        except BaseException:
            self.leave()
            raise
        self._held = False

    def leave(self) -> None:
        """Gives up the place, and the slot if it was handed over and not had. Once the caller has the slot this does nothing."""
        if self._held:
            self._held = False
            self._slots.give()
        elif not self.done:
            self.done = True
            self._slots._remove(self)


class Slots:
    """One bulkhead. ``limit`` 0: no cap. ``shed`` and ``expired`` count who was turned away or waited in vain."""

    __slots__ = (
        "_earliest",
        "_given",
        "_handing",
        "_queues",
        "_rate",
        "_room",
        "_swept",
        "expired",
        "limit",
        "queue_size",
        "running",
        "shed",
        "waiting",
        "waits",
    )

    def __init__(self, limit: int, queue_size: int) -> None:
        self.limit = limit
        self.queue_size = queue_size
        self.running = 0
        self.waiting = 0
        self.shed = 0
        self.expired = 0
        self.waits: dict[int, int] = {}
        """How long those waited who had to, served or not: a histogram (``apps.contracts.histogram``, microseconds)."""
        self._room = limit or sys.maxsize
        self._queues: dict[int, OrderedDict[SlotWaiter, None]] = {}
        """By priority, each in order of arrival; none is empty."""
        self._handing = False
        self._earliest = math.inf
        """No waiter's deadline is before this."""
        self._given = 0
        self._rate = 0.0
        self._swept = math.inf

    # --- the hot path --------------------------------------------------------------------------------------------------------

    def take(self) -> bool:
        """True when a slot was free (or there is no cap); it is the caller's then."""
        if self.running < self._room and (not self.waiting or not self.limit):
            self.running += 1
            return True
        return False

    def give(self) -> None:
        """The caller's slot goes to the best waiter, or is free."""
        if self.running <= 0:
            log.error("a slot was given back that nobody had: some request gives twice")
            return
        self.running -= 1
        self._given += 1
        if self.waiting and not self._handing:
            self._hand()

    # --- where it is full ----------------------------------------------------------------------------------------------------

    def wait(self, priority: int, deadline: float, now: float) -> SlotWaiter | None:
        """A place in the queue, or None: shed. ``priority``: lower numbers are served first. ``deadline``: until when to wait."""
        waiter = SlotWaiter(self, priority, deadline)
        if self.running < self._room and not self.waiting:
            self.running += 1
            waiter._held = True
            waiter.resolve()
            return waiter
        worst: SlotWaiter | None = None
        if self.queue_size <= 0 or deadline <= now:
            self.shed += 1
            return None
        if self.waiting >= self.queue_size:
            worst = self._worst()
            if priority >= worst.priority:
                self.shed += 1
                return None
            self._remove(worst)
        queue = self._queues.get(priority)
        if queue is None:
            queue = self._queues[priority] = OrderedDict()
        queue[waiter] = None
        self.waiting += 1
        self._earliest = min(self._earliest, deadline)
        if worst is not None:  # only now: whom this resumes may want to wait again, and the place is taken
            self.shed += 1
            worst.fail(Shed(self.retry_after()))
        return waiter

    def waited(self, seconds: float) -> None:
        """Somebody's wait is over, however it ended."""
        histogram.add(self.waits, seconds * 1e6)

    def sweep(self, now: float) -> None:
        """Ends the waits whose deadline has passed. Call it some twenty times a second."""
        passed = now - self._swept
        self._swept = now
        if passed > 0:
            weight = min(1.0, passed / RATE_SECONDS)
            self._rate += (self._given / passed - self._rate) * weight
        self._given = 0
        if now >= self._earliest:
            waiters = [waiter for queue in self._queues.values() for waiter in queue]
            self._earliest = min((waiter.deadline for waiter in waiters if waiter.deadline > now), default=math.inf)
            for waiter in waiters:
                if waiter.deadline <= now and not waiter.done:  # those resumed before it may have ended it
                    self._remove(waiter)
                    self.expired += 1
                    waiter.fail(QueueTimeout(self.retry_after()))
        if self.waiting and not self._handing:
            self._hand()

    def retry_after(self) -> int:
        """Seconds until the queue of now should be served, at the rate at which slots came free lately; at least 1."""
        if self._rate <= 0:
            return 1
        return max(1, min(MAX_RETRY_AFTER_SECONDS, math.ceil((self.waiting + 1) / self._rate)))

    # --- config --------------------------------------------------------------------------------------------------------------

    def resize(self, limit: int, queue_size: int) -> None:
        """Other bounds from now on. More room is handed out at once; with less, the worst waiters are shed, and nobody who runs is cut."""
        self.limit = limit
        self.queue_size = queue_size
        self._room = limit or sys.maxsize
        if self.waiting and not self._handing:
            self._hand()
        while self.waiting > max(0, self.queue_size):
            worst = self._worst()
            self._remove(worst)
            self.shed += 1
            worst.fail(Shed(self.retry_after()))

    # --- inside --------------------------------------------------------------------------------------------------------------

    def _hand(self) -> None:
        """Free slots to the best waiters. What they do when resumed (give, take, wait) only changes what the loop sees next."""
        self._handing = True
        try:
            while self.waiting and self.running < self._room:
                queue = self._queues[min(self._queues)]
                waiter = next(iter(queue))
                self._remove(waiter)
                self.running += 1
                waiter._held = True
                waiter.resolve()
        finally:
            self._handing = False

    def _worst(self) -> SlotWaiter:
        return next(reversed(self._queues[max(self._queues)]))

    def _remove(self, waiter: SlotWaiter) -> None:
        queue = self._queues.get(waiter.priority)
        if queue is not None and queue.pop(waiter, waiter) is None:
            self.waiting -= 1
            if not queue:
                del self._queues[waiter.priority]


class Bulkheads:
    """The process's slots by name (a target's label, a route's id); they survive changes of config, so a cap is never doubled by one."""

    def __init__(self) -> None:
        self._slots: dict[str, Slots] = {}
        self._past_waits: dict[int, int] = {}
        """Of bulkheads that are forgotten: what was counted stays counted."""

    def of(self, name: str, limit: int, queue_size: int) -> Slots:
        """Not for the hot path: keep what it returns."""
        slots = self._slots.get(name)
        if slots is None:
            slots = self._slots[name] = Slots(limit, queue_size)
        elif slots.limit != limit or slots.queue_size != queue_size:
            slots.resize(limit, queue_size)
        return slots

    def keep(self, names: Collection[str]) -> None:
        """Forget all others, those that nobody uses any more: requests of an older config may still hold slots."""
        for name in [name for name, slots in self._slots.items() if name not in names and not slots.running and not slots.waiting]:
            histogram.merge(self._past_waits, self._slots.pop(name).waits)

    def sweep(self, now: float) -> None:
        for slots in tuple(self._slots.values()):
            slots.sweep(now)

    def items(self) -> list[tuple[str, Slots]]:
        """Every bulkhead by name, in no order."""
        return list(self._slots.items())

    def waits(self) -> dict[int, int]:
        """How long requests waited in all of them together (``Slots.waits``)."""
        both = dict(self._past_waits)
        for slots in self._slots.values():
            if slots.waits:
                histogram.merge(both, slots.waits)
        return both

    def view(self) -> list[dict[str, object]]:
        """JSON-able: for /metrics and the admin port."""
        return [
            {"name": name, "limit": s.limit, "running": s.running, "waiting": s.waiting, "shed": s.shed, "expired": s.expired}
            for name, s in sorted(self._slots.items())
        ]
