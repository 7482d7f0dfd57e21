"""Wakes long polls when a worker's order changes: one connection that listens, for all of them."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import defaultdict
from typing import Any

import psycopg
from psycopg import sql

from apps.fleet.orders import CHANNEL

log = logging.getLogger(__name__)

BACKOFF_SECONDS = (0.2, 5.0)
DEAF_SECONDS = 2.0
"""While nothing is heard, whoever waits looks so often by itself."""


class Bell:
    """``waiting(worker)`` gives an event that is set when the worker's order may have changed. connect: the arguments of psycopg's."""

    def __init__(self, connect: dict[str, Any]) -> None:
        self._connect = connect
        self._waiting: dict[str, set[asyncio.Event]] = defaultdict(set)
        self._task: asyncio.Task[None] | None = None
        self.listening = False
        self.closed = False

    def join(self, worker: str) -> asyncio.Event:
        """Call before looking, so that no change falls between the look and the wait; ``leave`` in the end."""
        if not self.closed and (self._task is None or self._task.done()):
            self._task = asyncio.get_running_loop().create_task(self._listen())
        event = asyncio.Event()
        self._waiting[worker].add(event)
        return event

    def leave(self, worker: str, event: asyncio.Event) -> None:
        self._waiting[worker].discard(event)
        if not self._waiting[worker]:
            del self._waiting[worker]

    def patience(self, seconds: float) -> float:
        """How long to wait before looking again."""
        return seconds if self.listening else min(seconds, DEAF_SECONDS)

    def ring(self, worker: str) -> None:
        for event in self._waiting.get(worker, ()):
            event.set()

    def close(self) -> None:
        """Nobody waits here any more."""
        self.closed = True
        for worker in list(self._waiting):
            self.ring(worker)
        if self._task is not None:
            self._task.cancel()

    async def _listen(self) -> None:
        pause = BACKOFF_SECONDS[0]
        while True:
            try:
                connection = await psycopg.AsyncConnection.connect(**self._connect, autocommit=True)
                async with connection:
                    await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL)))
                    self.listening, pause = True, BACKOFF_SECONDS[0]
                    for worker in list(self._waiting):  # whatever was said while nobody heard it
                        self.ring(worker)
                    async for note in connection.notifies():
                        self.ring(note.payload)
            except (psycopg.Error, OSError) as error:
                log.debug("not listening for orders: %s", error)
            finally:
                self.listening = False
            await asyncio.sleep(pause * random.uniform(0.5, 1.5))
            pause = min(pause * 2, BACKOFF_SECONDS[1])
