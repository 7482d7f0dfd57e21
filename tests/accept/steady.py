"""Steady traffic of several kinds at once: each at its own pace, whatever becomes of its requests."""

from __future__ import annotations

import asyncio
import random
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import httpx


@dataclass(frozen=True)
class Flow:
    """Requests of one key for one route, so many a second. Three of four are streams."""

    model: str
    key: str
    per_second: float


@dataclass
class Steady:
    """The flows of ``url``, from a thread of its own. late: how late the worst request was sent, in seconds. broken: what was met besides
    HTTP answers."""

    url: str
    flows: list[Flow]
    late: float = 0.0
    sent: int = 0
    statuses: Counter[int] = field(default_factory=Counter)
    broken: Counter[str] = field(default_factory=Counter)
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=lambda: asyncio.run(self._all()))
        thread.start()
        try:
            yield
        finally:
            self._stop.set()
            thread.join()

    async def _all(self) -> None:
        await asyncio.gather(*(self._flow(flow, number) for number, flow in enumerate(self.flows)))

    async def _flow(self, flow: Flow, number: int) -> None:
        dice, begun, running = random.Random(number), time.monotonic(), set()
        headers = {"authorization": f"Bearer {flow.key}"}
        async with httpx.AsyncClient(base_url=self.url, headers=headers, timeout=60, trust_env=False) as client:
            at = 0
            while not self._stop.is_set():
                due = begun + (at + number / len(self.flows)) / flow.per_second
                await asyncio.sleep(max(0.0, due - time.monotonic()))
                self.late = max(self.late, time.monotonic() - due)
                body = {
                    "model": flow.model,
                    "stream": at % 4 != 3,
                    "messages": [{"role": "user", "content": "word " * dice.randint(20, 60)}],
                }
                task = asyncio.create_task(self._one(client, body))
                running.add(task)
                task.add_done_callback(running.discard)
                at += 1
            await asyncio.gather(*running)

    async def _one(self, client: httpx.AsyncClient, body: dict[str, object]) -> None:
        self.sent += 1
        try:
            answer = await client.post("/v1/chat/completions", json=body)
            self.statuses[answer.status_code] += 1
        except httpx.HTTPError as error:
            self.broken[type(error).__name__] += 1
