"""Rows of many requests run together: while one batch is computed the next gathers, so that nobody waits for a timer and a busy model is
never idle. Pure: what runs a batch is given.

Requests take turns: each batch takes a row of every request in line before it takes a second of any, so one that brings two thousand texts
does not hold up one that brings a single one. Rows of one request go by length, and rows of unlike length go apart, because a batch is
padded to its longest.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Protocol


class Row(Protocol):
    """One sequence of tokens."""

    def __len__(self) -> int: ...


class Closed(Exception):
    """No request is taken any more."""


class Abandoned(Exception):
    """Raised by what runs a batch when ``Stop`` was set."""


class Stop:
    """Told to what runs a batch: ``set`` once nobody wants any of its rows. hook: called then, from the event loop's thread."""

    def __init__(self) -> None:
        self._flag = threading.Event()
        self.hook: Callable[[], None] | None = None

    def set(self) -> None:
        self._flag.set()
        if self.hook is not None:
            self.hook()

    def is_set(self) -> bool:
        return self._flag.is_set()


UNLIKE = 4
"""Rows of one batch differ at most so many times in length: the shorter is padded to the longer."""
SHORT = 64
"""Up to so many tokens padding costs next to nothing."""
Run = Callable[[Sequence[Any], Stop], Sequence[Any]]
"""Called in a thread of its own, one batch at a time; gives one result a row. Raises what every request of the batch then gets."""


@dataclass(slots=True, eq=False)
class _Request:
    rows: Sequence[Row]
    left: deque[int]
    results: list[Any]
    done: asyncio.Future[list[Any]]
    missing: int
    began: bool = False


@dataclass(slots=True)
class Counts:
    """Of what was computed since the start. padded: tokens with their padding."""

    batches: int = 0
    rows: int = 0
    tokens: int = 0
    padded: int = 0


@dataclass(slots=True)
class Batcher:
    """most_rows, most_tokens: of one batch; tokens as they are computed, rows times the longest. A row that is longer runs alone.
    How many requests come at once is the caller's matter."""

    run: Run
    most_rows: int = 32
    most_tokens: int = 4_096
    counts: Counts = field(default_factory=Counts)
    _line: deque[_Request] = field(default_factory=deque)
    _open: set[_Request] = field(default_factory=set)
    _now: tuple[list[tuple[_Request, int]], Stop] | None = None
    _task: asyncio.Task[None] | None = None
    _closed: bool = False
    _thread: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(1, thread_name_prefix="batch"))

    @property
    def running(self) -> int:
        """Requests of which something was computed, or is."""
        return sum(request.began for request in self._open)

    @property
    def waiting(self) -> int:
        return len(self._open) - self.running

    async def submit(self, rows: Sequence[Row]) -> list[Any]:
        """One result a row, in their order. Cancelling gives the request's rows up: those that have not begun never do. Raises Closed,
        and what running raises."""
        if self._closed:
            raise Closed
        if not rows:
            return []
        order = sorted(range(len(rows)), key=lambda index: len(rows[index]), reverse=True)
        done: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        request = _Request(rows, deque(order), [None] * len(rows), done, len(rows))
        self._open.add(request)
        self._line.append(request)
        if self._task is None:
            self._task = asyncio.create_task(self._work(), name="batches")
        try:
            return await done
        finally:
            self._open.discard(request)
            if not done.done() or done.cancelled():
                self._give_up(request)

    def close(self) -> None:
        """Take nothing more, end what is computed and free the thread. Blocks. Who should get an answer must have it by now."""
        self._closed = True
        if self._now is not None:
            self._now[1].set()
        self._thread.shutdown()

    def _give_up(self, request: _Request) -> None:
        if request in self._line:
            self._line.remove(request)
        request.left.clear()
        if self._now is not None and not any(other in self._open for other, _ in self._now[0]):
            self._now[1].set()

    async def _work(self) -> None:
        """Batch after batch, until nobody waits."""
        try:
            while batch := self._next():
                error = await self._computed(batch)
                if error is None:
                    continue
                requests = list(dict.fromkeys(request for request, _ in batch))
                for request in requests:  # one of them may be the reason: the others shall not pay for it
                    own = [(other, index) for other, index in batch if other is request]
                    if len(requests) > 1 and request in self._open:
                        error = await self._computed(own)
                    if error is not None:
                        self._failed(request, error)
        finally:
            self._task = None

    async def _computed(self, batch: list[tuple[_Request, int]]) -> Exception | None:
        """What it failed with, whatever that is."""
        stop = Stop()
        self._now = (batch, stop)
        rows = [request.rows[index] for request, index in batch]
        try:
            found = await asyncio.get_running_loop().run_in_executor(self._thread, self.run, rows, stop)
        except Exception as error:
            return error
        finally:
            self._now = None
        lengths = [len(row) for row in rows]
        self.counts.batches += 1
        self.counts.rows += len(rows)
        self.counts.tokens += sum(lengths)
        self.counts.padded += max(lengths) * len(rows)
        for (request, index), result in zip(batch, found, strict=True):
            request.results[index] = result
            request.missing -= 1
            if not request.missing and not request.done.done():
                request.done.set_result(request.results)
        return None

    def _next(self) -> list[tuple[_Request, int]]:
        """Whoever is first in line has a row in it; whoever was passed over stands before those who had a turn."""
        batch: list[tuple[_Request, int]] = []
        longest = shortest = 0
        turn, passed = deque(self._line), list[_Request]()
        while turn and len(batch) < self.most_rows:
            request = turn.popleft()
            length = len(request.rows[request.left[0]])
            top, bottom = max(longest, length), min(shortest, length) if batch else length
            if batch and (top * (len(batch) + 1) > self.most_tokens or top > max(SHORT, bottom * UNLIKE)):
                passed.append(request)
                continue
            longest, shortest = top, bottom
            batch.append((request, request.left.popleft()))
            request.began = True
            if request.left:
                turn.append(request)
        began = {request for request, _ in batch}
        rest = [*passed, *turn]
        self._line = deque([request for request in rest if request not in began] + [request for request in rest if request in began])
        return batch

    def _failed(self, request: _Request, error: Exception) -> None:
        if request in self._line:
            self._line.remove(request)
        request.left.clear()
        if not request.done.done():
            request.done.set_exception(error)
