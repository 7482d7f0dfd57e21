"""Requests in the order, at the times and of the lengths of a trace, sent when they are due whether or not earlier ones were answered; and
what became of each."""

from __future__ import annotations

import asyncio
import csv
import json
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

import httpx

SILENCE_SECONDS = 60.0
"""So long a caller waits for a byte."""
LETTERS = 4
"""That the simulator writes for a token."""


class Row(NamedTuple):
    """One request. at: seconds from the trace's beginning. read, wrote: tokens."""

    at: float
    read: int
    wrote: int


def azure(path: Path, *, seconds: float, speed: float, read: int, wrote: int) -> list[Row]:
    """The trace's first requests, ``speed`` times as fast, for ``seconds``; no longer than ``read`` and ``wrote`` tokens."""
    rows: list[Row] = []
    first: datetime | None = None
    with path.open() as file:
        for row in csv.DictReader(file):
            moment = datetime.fromisoformat(row["TIMESTAMP"][:26])
            first = first or moment
            at = (moment - first).total_seconds() / speed
            if at > seconds:
                break
            rows.append(Row(at, min(read, int(row["ContextTokens"])), max(1, min(wrote, int(row["GeneratedTokens"])))))
    return rows


class Outcome(NamedTuple):
    """What one caller saw. began: wall clock. first: seconds to the first output, of a stream; -1: none, or not a stream. gap: the longest
    wait between two pieces of output, in seconds. cause: empty where the answer was whole. shown: some output had come before that.
    id, status, code: of an answer by a proxy."""

    began: float
    seconds: float
    stream: bool
    first: float
    gap: float
    cause: str
    shown: bool
    id: str
    status: int
    code: str


@dataclass
class Callers:
    """Many callers of one thing. address: where the next request goes, with its headers and the model's name there.

    chosen: of every how many rows of the trace one is sent. outcomes: of what has ended.
    """

    name: str
    address: Callable[[], tuple[str, dict[str, str], str]]
    chosen: int = 1
    outcomes: list[Outcome] = field(default_factory=list)
    running: int = 0

    async def play(self, rows: Iterable[Row], began: float, over: asyncio.Event) -> None:
        """Returns when the last answer has ended. began: the loop's time of the trace's beginning. over: nothing more is sent."""
        loop = asyncio.get_running_loop()
        limits = httpx.Limits(max_connections=400, max_keepalive_connections=40, keepalive_expiry=4)
        timeout = httpx.Timeout(SILENCE_SECONDS)
        async with httpx.AsyncClient(timeout=timeout, limits=limits, trust_env=False) as client, asyncio.TaskGroup() as group:
            for number, row in enumerate(rows):
                if number % self.chosen:
                    continue
                await asyncio.sleep(max(0.0, began + row.at - loop.time()))
                if over.is_set():
                    break
                group.create_task(self._one(client, row, number))

    async def _one(self, client: httpx.AsyncClient, row: Row, number: int) -> None:
        url, headers, model = self.address()
        stream = number % 5 < 3
        body: dict[str, Any] = {
            "model": model, "stream": stream, "temperature": 0, "max_tokens": row.wrote,
            "messages": [{"role": "user", "content": f"question {number}: " + "word " * max(1, row.read - 4)}],
            "bulkhead_sim": {"output_tokens": row.wrote},
        }  # fmt: skip
        seen = _Seen(row.wrote * LETTERS)
        self.running += 1
        began, start = time.time(), time.monotonic()
        try:
            async with client.stream("POST", f"{url}/v1/chat/completions", json=body, headers=headers) as answer:
                seen.status, seen.id = answer.status_code, answer.headers.get("x-bulkhead-request-id", "")
                if stream and answer.status_code == 200:
                    await seen.read(answer.aiter_lines(), start)
                else:
                    seen.whole((await answer.aread()).decode(errors="replace"))
        except httpx.HTTPError as error:
            seen.cause = seen.cause or type(error).__name__  # after an error event the connection ends, too
        finally:
            self.running -= 1
        seconds, shown = time.monotonic() - start, seen.letters > 0
        self.outcomes.append(Outcome(began, seconds, stream, seen.first, seen.gap, seen.cause, shown, seen.id, seen.status, seen.code))


class _Seen:
    """What a caller has seen of one answer. wanted: letters of a whole one."""

    def __init__(self, wanted: int) -> None:
        self.wanted = wanted
        self.status, self.id, self.code = 0, "", ""
        self.first, self.gap = -1.0, 0.0
        self.letters = 0
        self.cause = ""

    def whole(self, text: str) -> None:
        try:
            found = json.loads(text)
        except ValueError:
            self.cause = f"{self.status} and no JSON"
            return
        if self.status != 200:
            self.code = str((found.get("error") or {}).get("code") or "")
            self.cause = f"{self.status} {self.code}".strip()
            return
        self.letters = len(found["choices"][0]["message"]["content"])
        if self.letters != self.wanted:
            self.cause = "truncated, and said to be whole"

    async def read(self, lines: AsyncIterator[str], start: float) -> None:
        last, done = start, False
        async for line in lines:
            if not line.startswith("data: "):
                continue
            if line == "data: [DONE]":
                done = True
                continue
            event = json.loads(line[6:])
            if "error" in event:
                self.code = str(event["error"].get("code") or "")
                self.cause = f"error event {self.code}".strip()
                continue
            text = "".join(choice["delta"].get("content") or "" for choice in event.get("choices") or ())
            if not text:
                continue
            now = time.monotonic()
            if self.letters:
                self.gap = max(self.gap, now - last)
            else:
                self.first = now - start
            last = now
            self.letters += len(text)
        if not self.cause and (not done or self.letters != self.wanted):
            self.cause = "ended early without a word" if not done else "truncated, and said to be whole"


class Figures(NamedTuple):
    """before: failed before its first byte. after: broken off later. causes: of both."""

    asked: int
    before: int
    after: int
    first: tuple[float, float, float]
    json: tuple[float, float, float]
    gap: float
    causes: Counter[str]


def figures(outcomes: Iterable[Outcome], *, since: float = 0.0, until: float = float("inf")) -> Figures:
    """Of the requests that began within a time of the wall clock. Percentiles 50, 95 and 99, in seconds: to the first output of streams,
    and of whole JSON answers."""
    found = [one for one in outcomes if since <= one.began < until]
    failed = [one for one in found if one.cause]
    return Figures(
        len(found),
        sum(not one.shown for one in failed),
        sum(one.shown for one in failed),
        _percentiles([one.first for one in found if one.first >= 0]),
        _percentiles([one.seconds for one in found if not one.stream and not one.cause]),
        max((one.gap for one in found), default=0.0),
        Counter(f"{'after' if one.shown else 'before'}: {one.cause}" for one in failed),
    )


def _percentiles(values: list[float]) -> tuple[float, float, float]:
    ordered = sorted(values) or [0.0]
    return tuple(ordered[min(len(ordered) - 1, int(len(ordered) * share))] for share in (0.5, 0.95, 0.99))  # type: ignore[return-value]
