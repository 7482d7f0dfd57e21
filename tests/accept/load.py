"""A crowd of callers that remember every answer they were given, by request id."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from dataclasses import dataclass, field

import httpx


@dataclass
class Crowd:
    """answered: request id -> (status, cost in nano-dollars or None). broken: calls without an answer (connection lost)."""

    url: str
    key: str
    model: str
    max_tokens: tuple[int, int] = (8, 40)
    answered: dict[str, tuple[int, int | None]] = field(default_factory=dict)
    broken: int = 0
    codes: Counter[str] = field(default_factory=Counter)
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, callers: int, seconds: float, *, streams: bool = True) -> None:
        """``callers`` at once, for ``seconds`` or until ``stop`` is set."""
        limits = httpx.Limits(max_connections=callers, max_keepalive_connections=callers)
        async with httpx.AsyncClient(
            base_url=self.url, headers={"authorization": f"Bearer {self.key}"}, limits=limits, timeout=20
        ) as client:
            asyncio.get_running_loop().call_later(seconds, self.stop.set)
            await asyncio.gather(*(self._caller(client, number, streams) for number in range(callers)))

    async def _caller(self, client: httpx.AsyncClient, number: int, streams: bool) -> None:
        dice = random.Random(number)
        while not self.stop.is_set():
            stream = streams and dice.random() < 0.3
            body = {
                "model": self.model,
                "stream": stream,
                "max_tokens": dice.randint(*self.max_tokens),
                "messages": [{"role": "user", "content": "word " * dice.randint(1, 60)}],
            }
            try:
                async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
                    text = (await answer.aread()).decode()
            except httpx.HTTPError:
                self.broken += 1
                await asyncio.sleep(0.02)
                continue
            id = answer.headers["x-bulkhead-request-id"]
            assert id not in self.answered
            cost = answer.headers.get("x-bulkhead-cost-nano")
            self.answered[id] = (answer.status_code, int(cost) if cost is not None else None)
            if answer.status_code == 200:
                self.codes["ok" if not stream or "[DONE]" in text else "cut"] += 1
            else:
                self.codes[answer.json()["error"]["code"]] += 1
                await asyncio.sleep(0.02)
