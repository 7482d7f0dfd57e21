"""Listens for replicas that have fallen silent, and asks those that are out whether they are back. Off the requests' path.

A replica with requests of which none has brought a byte for ``QUIET_SECONDS`` is asked the free question of its format
(``apps.proxy.probe``). One that does not answer ``MISSES`` times is out, and what runs there is interrupted: requests without output move
to another replica, streams go on elsewhere. So silence costs at most QUIET + MISSES x (TIMEOUT + EVERY) seconds, about ten. A replica that
answers is busy, not silent, however long it thinks; then the request's own deadlines hold.

A replica at which a request waited in vain is asked at once, and until it answers or is out, whether or not anybody else has sent it
something.

A replica that closes a connection which nobody used is knocked at: most servers do that when a connection was idle for long, and a dead one
does it as it dies. Where the door is shut it is out, before anybody's request had to find that out.

One that is out is asked every ``RETRY_SECONDS`` and is back with the first answer. So a connection that was only cut by chance costs it
half a second.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING

from apps.proxy.errors import UpstreamSilent
from apps.proxy.fleet.replicas import Fleet, Replica
from apps.proxy.http.errors import ConnectionRefused
from apps.proxy.http.errors import UpstreamError as ConnectionFailed
from apps.proxy.probe import probe

if TYPE_CHECKING:
    from apps.proxy.attempt import Attempt
    from apps.proxy.engine import Engine
    from apps.proxy.runtime import CompiledTarget, Origin

log = logging.getLogger("bulkhead.proxy")

EVERY_SECONDS = 0.5
QUIET_SECONDS = 2.0
TIMEOUT_SECONDS = 3.0
RETRY_SECONDS = 0.5
MISSES = 2
KNOCKS = 3
DYING_SECONDS = 0.05


class Watch:
    def __init__(self, engine: Engine, fleet: Fleet) -> None:
        self._engine = engine
        self._fleet = fleet
        self._asking: dict[Replica, asyncio.Task[None]] = {}
        self._knocking: dict[Replica, asyncio.Task[None]] = {}
        fleet.on_gone = self._gone
        fleet.on_doubt = lambda replica: self._ask(replica, replica.place)
        engine.on_hang_up = self._hung_up

    async def run(self) -> None:
        """Until cancelled."""
        try:
            while True:
                await asyncio.sleep(EVERY_SECONDS)
                try:
                    self.look()
                except Exception:  # a fault of ours must not end the watch over everything
                    log.exception("watching replicas failed")
        finally:
            tasks = [*self._asking.values(), *self._knocking.values()]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    def look(self) -> None:
        """One look at everything; starts questions, waits for none."""
        fleet = self._fleet
        if not len(fleet):
            return  # nobody's streams are walked where no route names a deployment
        now = self._engine.loop.time()
        fleet.drain(now)
        heard: dict[Replica, float] = {}
        waiting: dict[Replica, float] = {}
        """Since when the request has waited that has waited longest: one that was sent a moment ago is no sign of life."""
        places: dict[Replica, CompiledTarget] = {}
        for attempt in self._engine.in_flight:
            replica = attempt.target.seat
            if replica is not None and attempt.connection is not None:
                last = attempt.connection.last_byte_at
                if attempt.first_byte_ns:
                    heard[replica] = max(last, heard.get(replica, last))
                waiting[replica] = min(last, waiting.get(replica, last))
                places[replica] = attempt.target
        for replica, since in waiting.items():
            if now - max(since, heard.get(replica, since), replica.answered) >= QUIET_SECONDS:
                self._ask(replica, places[replica])
            elif replica.missed and not replica.why and heard.get(replica, 0.0) > replica.since:
                replica.missed = 0
        for deployment in fleet:
            for replica in deployment.replicas.values():
                if (replica.why or replica.missed) and now - replica.since >= RETRY_SECONDS:
                    self._ask(replica, places.get(replica))

    def _ask(self, replica: Replica, place: CompiledTarget | None) -> None:
        if replica in self._asking:
            return
        place = place or replica.place
        if place is None:
            return
        task = self._engine.loop.create_task(self._question(replica, place))
        self._asking[replica] = task
        task.add_done_callback(lambda _: self._asking.pop(replica, None))

    async def _question(self, replica: Replica, place: CompiledTarget) -> None:
        if await probe(self._engine.pool(place.origin), place, TIMEOUT_SECONDS):
            replica.where.heard(replica, self._engine.loop.time())
            replica.where.bring_back(replica)
            return
        replica.missed += 1
        replica.since = self._engine.loop.time()
        if replica.missed >= MISSES or replica.why == "connection":
            if not replica.why:
                replica.where.take_out(replica, "silence", self._engine.loop.time())
            self._interrupt(replica, f"a sign of life of replica {replica.id}")

    def _hung_up(self, origin: Origin) -> None:
        """Somebody closed a connection that nobody used. A knock at a time; none where nobody is a replica, or where it is out already."""
        for deployment in self._fleet:
            for replica in deployment.replicas.values():
                place = replica.place
                if place is not None and place.origin == origin and not replica.why and replica not in self._knocking:
                    task = self._engine.loop.create_task(self._knock(replica, origin))
                    self._knocking[replica] = task
                    task.add_done_callback(lambda _, replica=replica: self._knocking.pop(replica, None))  # type: ignore[misc]

    async def _knock(self, replica: Replica, origin: Origin) -> None:
        """Only a refusal counts: what is slow to let in is left to ``look``. What lets in and hangs up at once may be dying still."""
        for _ in range(KNOCKS):
            try:
                connection = await self._engine.pool(origin).connect(TIMEOUT_SECONDS)
            except ConnectionRefused:
                replica.where.take_out(replica, "connection", self._engine.loop.time())
                return
            except ConnectionFailed:
                return
            try:
                await asyncio.sleep(DYING_SECONDS)
                if not connection.closing:
                    return
            finally:
                connection.abort()

    def _interrupt(self, replica: Replica, which: str) -> None:
        seconds = QUIET_SECONDS + MISSES * TIMEOUT_SECONDS
        attempts: list[Attempt] = [attempt for attempt in self._engine.in_flight if attempt.target.seat is replica]
        for attempt in attempts:
            if attempt.connection is not None and self._engine.loop.time() - attempt.connection.last_byte_at >= QUIET_SECONDS:
                attempt.interrupt(UpstreamSilent(which, seconds))

    def _gone(self, replica: Replica) -> None:
        """Facts name it no more: its idle connections are closed. What runs there may end, unless it is silent."""
        for tasks in (self._asking, self._knocking):
            task = tasks.pop(replica, None)
            if task is not None:
                task.cancel()
        place = replica.place
        if place is not None:
            self._engine.forget(place.origin)
