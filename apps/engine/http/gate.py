"""The line in front of a backend: so many are computed at once, so many wait, and the rest is refused. It closes for good when the engine
is told to end, and knows when the last request is over."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from apps.engine.errors import Busy


class Gate:
    """max_waiting: None: no bound. Lives on one event loop."""

    def __init__(self, max_running: int, max_waiting: int | None) -> None:
        self.max_running = max_running
        self.max_waiting = max_waiting
        self.running = 0
        self.leaving = False
        self._line: deque[asyncio.Future[None]] = deque()
        self._idle = asyncio.Event()
        self._idle.set()

    @property
    def waiting(self) -> int:
        return len(self._line)

    def check(self) -> None:
        """Raises Busy where a request would not even get into the line."""
        if self.leaving:
            raise Busy("The engine is shutting down.", code="shutting_down")
        if self.max_waiting is not None and self.running >= self.max_running and self.waiting >= self.max_waiting:
            raise Busy(f"The engine's line is full: {self.running} run and {self.waiting} wait.", code="queue_full")

    @asynccontextmanager
    async def place(self) -> AsyncIterator[None]:
        """Wait for a turn and hold it. First come, first served. Raises Busy at once where the line is full."""
        self.check()
        self._idle.clear()
        try:
            if self.running >= self.max_running or self._line:
                turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
                self._line.append(turn)
                try:
                    await turn
                except asyncio.CancelledError:
                    if turn.done() and not turn.cancelled():
                        self._leave()  # the turn had come already: it is the next one's
                    else:
                        self._line.remove(turn)
                    raise
            else:
                self.running += 1
            try:
                yield
            finally:
                self._leave()
        finally:
            if not self.running and not self._line:
                self._idle.set()

    def _leave(self) -> None:
        self.running -= 1
        while self._line and self.running < self.max_running:
            turn = self._line.popleft()
            if not turn.done():
                self.running += 1
                turn.set_result(None)

    async def drained(self, seconds: float) -> bool:
        """Take nothing new, and return when nothing runs or waits; False: ``seconds`` were over first."""
        self.leaving = True
        try:
            await asyncio.wait_for(self._idle.wait(), seconds)
        except TimeoutError:
            return False
        return True
