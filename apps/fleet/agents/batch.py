"""Heartbeats that arrive within a moment of each other are written together; each is answered once its batch is stored."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from apps.contracts.fleet import HeartbeatAnswer
from apps.fleet.heartbeats import Beat, heartbeats_take
from apps.fleet.joining import AgentRefused

GATHER_SECONDS = 0.25
"""How long a batch is open: at a thousand workers and a heartbeat every ten seconds it holds 25."""
MOST = 500
QUEUE_MOST = 5_000
"""Beyond this many that wait, agents are asked to come again: the database is slower than they are."""

Run = Callable[..., Awaitable[Any]]


class Batches:
    """run: calls a function where it may use the database."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self._queue: list[tuple[Beat, asyncio.Future[HeartbeatAnswer]]] = []
        self._task: asyncio.Task[None] | None = None

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
                    future.set_result(answer)
