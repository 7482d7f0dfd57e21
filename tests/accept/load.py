"""A crowd of callers that remember every answer they were given, by request id."""

from __future__ import annotations

import asyncio
import json
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import httpx

UNRECORDED = {"not_ready", "shutting_down", "journal_full"}
"""Refusals before the journal admits a request: they cost nothing and leave no record."""
KEPT_REFUSALS = 40


class Answer(NamedTuple):
    """One whole HTTP answer. code: empty, or the error's. cost: nano-dollars as told. whole: a stream came to its ``[DONE]``."""

    status: int
    code: str
    cost: int | None
    whole: bool
    target: str


@dataclass
class Crowd:
    """answered: by request id; nothing whose connection was lost is in it. broken: what those met, by exception.

    unpriced: a model without a price, asked for now and then. uncapped: now and then without ``max_tokens``.
    timeout: seconds a caller waits for bytes.
    """

    url: str
    key: str
    model: str
    unpriced: str = ""
    max_tokens: tuple[int, int] = (8, 40)
    uncapped: bool = True
    timeout: float = 20.0
    pause: float = 0.02
    answered: dict[str, Answer] = field(default_factory=dict)
    twice: list[str] = field(default_factory=list)
    broken: Counter[str] = field(default_factory=Counter)
    codes: Counter[str] = field(default_factory=Counter)
    refusals: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, callers: int, seconds: float) -> None:
        """``callers`` at once, for ``seconds`` or until ``stop`` is set; all of them have come to an end then."""
        timer = asyncio.get_running_loop().call_later(seconds, self.stop.set)
        await asyncio.gather(*(self._caller(number) for number in range(callers)))
        timer.cancel()

    def play(self, callers: int, script: Callable[[], Awaitable[None]], *, seconds: float = 100.0) -> None:
        """Run the crowd while ``script`` does what it does to the instance; the crowd stops at its end."""

        async def act() -> None:
            try:
                await script()
            finally:
                self.stop.set()

        async def both() -> None:
            await asyncio.gather(self.run(callers, seconds), act())

        self.stop = asyncio.Event()
        asyncio.run(both())

    @property
    def recorded(self) -> set[str]:
        """The ids that Postgres must have."""
        return {id for id, answer in self.answered.items() if answer.code not in UNRECORDED}

    async def _caller(self, number: int) -> None:
        dice = random.Random(number)
        headers = {"authorization": f"Bearer {self.key}"}
        # A client each: httpx's pool walks all of its connections for every request.
        async with httpx.AsyncClient(base_url=self.url, headers=headers, timeout=self.timeout, verify=False, trust_env=False) as client:
            await self._calls(client, dice)

    async def _calls(self, client: httpx.AsyncClient, dice: random.Random) -> None:
        while not self.stop.is_set():
            body = self._body(dice)
            try:
                async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
                    text = (await answer.aread()).decode()
            except httpx.HTTPError as error:
                self.broken[type(error).__name__] += 1
                await asyncio.sleep(self.pause)
                continue
            code = self._remember(answer, text, stream=bool(body["stream"]))
            if code:
                await asyncio.sleep(self.pause)

    def _body(self, dice: random.Random) -> dict[str, Any]:
        unpriced = self.unpriced != "" and dice.random() < 0.03
        body: dict[str, Any] = {
            "model": self.unpriced if unpriced else self.model,
            "stream": dice.random() < 0.3,
            "messages": [{"role": "user", "content": "word " * dice.randint(1, 60)}],
        }
        if dice.random() < 0.8 or not self.uncapped:  # else the route's cap bounds it
            body["max_tokens"] = dice.randint(*self.max_tokens)
        return body

    def _remember(self, answer: httpx.Response, text: str, *, stream: bool) -> str:
        id = answer.headers["x-bulkhead-request-id"]
        if id in self.answered:
            self.twice.append(id)
        code, whole = "", True
        if answer.status_code != 200:
            body = json.loads(text)
            code = body["error"]["code"]
            kept = self.refusals.setdefault(code, [])
            if len(kept) < KEPT_REFUSALS:
                kept.append({"status": answer.status_code, **body})
        elif stream:
            whole = "data: [DONE]" in text
        cost = answer.headers.get("x-bulkhead-cost-nano")
        target = answer.headers.get("x-bulkhead-target", "")
        self.answered[id] = Answer(answer.status_code, code, int(cost) if cost is not None else None, whole, target)
        self.codes[code or ("ok" if whole else "cut")] += 1
        return str(code)


async def until(condition: Callable[[], Any], *, seconds: float, what: str) -> None:
    """Wait inside a script; fails after ``seconds``."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not come about in {seconds:.0f} s"
        await asyncio.sleep(0.05)
