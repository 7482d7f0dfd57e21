"""Heartbeats that arrive within a moment of each other are written together; each is answered once its batch is stored."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from apps.contracts.fleet import EARLY_SECONDS, HeartbeatAnswer
from apps.fleet.heartbeats import Beat, heartbeats_take
from apps.fleet.joining import AgentRefused

GATHER_SECONDS = 0.25
"""How long a batch is open: at a thousand workers and a heartbeat every ten seconds it holds 25."""
MOST = 500
QUEUE_MOST = 5_000
"""Beyond this many that wait, agents are asked to come again: the database is slower than they are."""
CALM = 120.0
"""Heartbeats a second of this process beyond which early ones are asked to come less often: a thousand workers' regular ones are 100."""
RATE_SECONDS = 10.0
LONGEST = 30.0

Run = Callable[..., Awaitable[Any]]


def early_seconds(rate: float) -> float:
    """The pause between early heartbeats of a worker, where so many of all kinds come a second."""
    return min(LONGEST, EARLY_SECONDS * max(1.0, rate / CALM) ** 4)


class Rate:
    """How many heartbeats came a second, of late. now: seconds of any one clock."""

    def __init__(self) -> None:
        self._seen: deque[tuple[float, int]] = deque()
        self._sum = 0

    def add(self, count: int, now: float) -> float:
        self._seen.append((now, count))
        self._sum += count
        while self._seen[0][0] < now - RATE_SECONDS:
            self._sum -= self._seen.popleft()[1]
        return self._sum / RATE_SECONDS


class Batches:
    """run: calls a function where it may use the database."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._queue: list[tuple[Beat, asyncio.Future[HeartbeatAnswer]]] = []
        self._task: asyncio.Task[None] | None = None
        self._rate = Rate()

    async def take(self, beat: Beat) -> HeartbeatAnswer:
        """Raises AgentRefused."""
        if len(self._queue) >= QUEUE_MOST:
            raise AgentRefused("busy", "Too many heartbeats wait to be stored: come again in a moment.", 5.0)
        future: asyncio.Future[HeartbeatAnswer] = asyncio.get_running_loop().create_future()
        self._queue.append((beat, future))
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._flush())
        return await future

    async def _flush(self) -> None:
        while self._queue:
            await asyncio.sleep(GATHER_SECONDS)
            batch, self._queue = self._queue[:MOST], self._queue[MOST:]
            beats: Sequence[Beat] = [beat for beat, _ in batch]
            early = early_seconds(self._rate.add(len(beats), asyncio.get_running_loop().time()))
            try:
                answers = await self._run(heartbeats_take, beats)
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for (_, future), answer in zip(batch, answers, strict=True):
                if future.done():
                    continue  # its agent hung up
                if isinstance(answer, AgentRefused):
                    future.set_exception(answer)
                else:
                    future.set_result(msgspec.structs.replace(answer, early_seconds=early))
