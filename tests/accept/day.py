"""A day of requests after the Azure trace: its hour again and again, as records that proxies would have written, with a script of faults.

Every request of the day follows from the trace, the minute and a seed, so a run can be repeated; the clean day has the same rows as the
faulty one, but for the faults. Of the trace every ``STEP``-th row is used.
"""

from __future__ import annotations

import csv
import random
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from apps.contracts.identifiers import uuid7_bytes
from apps.contracts.usage import Attempt, Outcome, Tokens, UsageRecord

STEP = 6
DAY = datetime(2026, 3, 4, tzinfo=UTC)
"""A Wednesday."""
NANO_PER_TOKEN = 2_000
LAB = "k-lab"
"""The key that runs away; it usually makes a tenth of all requests."""
LOOPS_A_MINUTE = 80
"""Requests that a key makes in a loop, beside its usual ones, each with twenty times the context."""


@dataclass(frozen=True)
class Expected:
    """One alert that a fault must raise. within: minutes until it fires, critical_within until it is critical, None: it stays a warning."""

    rule: str
    subject: str
    within: int
    critical_within: int | None = None


@dataclass(frozen=True)
class Fault:
    """begins, ends: minutes of the day."""

    name: str
    begins: int
    ends: int
    expected: tuple[Expected, ...]

    def holds(self, minute: int) -> bool:
        return self.begins <= minute < self.ends


SLOW = Fault("slow provider", 120, 150, (Expected("latency", "chat", 5, 8),))
STORM = Fault("429 storm", 300, 320, (Expected("provider", "east", 3), Expected("provider", "west", 5), Expected("errors", "chat", 5)))
REGION = Fault(
    "region down", 540, 560, (Expected("provider", "east", 3, 5), Expected("provider", "west", 5), Expected("errors", "chat", 3, 5))
)
"""In both, west fails some of what east did not take, too."""
RUNAWAY = Fault("runaway key", 720, 815, (Expected("key-spend", LAB, 10, 10), Expected("daily-spend", "day", 70, 95)))
QUEUE = Fault("queues of 12,000", 960, 975, (Expected("queue", "", 2, 2), Expected("celery-queue", "celery", 2, 2)))
SILENCE = Fault("no traffic", 1_200, 1_260, (Expected("no-traffic", "", 25),))
FAULTS = (SLOW, STORM, REGION, RUNAWAY, QUEUE, SILENCE)


@dataclass(frozen=True, slots=True)
class Row:
    """One request of the trace. second: of its minute."""

    second: float
    read: int
    wrote: int


def trace_minutes(path: Path) -> list[list[Row]]:
    """The trace's rows by the minute of its hour."""
    minutes: list[list[Row]] = [[] for _ in range(60)]
    first: datetime | None = None
    with path.open() as file:
        for number, row in enumerate(csv.DictReader(file)):
            at = datetime.fromisoformat(row["TIMESTAMP"][:26])
            first = first or at
            if number % STEP == 0:
                minute, second = divmod((at - first).total_seconds(), 60)
                minutes[int(minute)].append(Row(second, int(row["ContextTokens"]), int(row["GeneratedTokens"])))
    return minutes


class Day:
    """The requests of one organisation, minute by minute; with the script of faults where it is ``faulty``."""

    def __init__(self, minutes: list[list[Row]], organisation: str, *, faulty: bool) -> None:
        self._minutes, self._organisation, self._faulty = minutes, organisation, faulty
        self._chats = 0

    def records(self, day: int, minute: int) -> Iterator[UsageRecord]:
        """day: 0 is the day that is judged; the days before it are negative and have no faults."""
        faulty = self._faulty and day == 0
        if faulty and SILENCE.holds(minute):
            return
        dice = random.Random(day * 1_440 + minute)
        begins = DAY + timedelta(days=day, minutes=minute)
        rows = self._minutes[minute % 60]
        for row in rows:
            chat = dice.random() < 0.7
            key = LAB if dice.random() < 0.1 else "k-app"
            slower = 7.0 if faulty and chat and SLOW.holds(minute) else 1.0
            refused, failed = self._trouble(minute, dice) if faulty and chat else (False, False)
            yield self._record(begins, row, dice, "chat" if chat else "search", key, slower=slower, refused=refused, failed=failed)
        if faulty and RUNAWAY.holds(minute) and rows:
            for number in range(LOOPS_A_MINUTE):
                row = rows[number % len(rows)]
                loop = Row(60 * number / LOOPS_A_MINUTE, 20 * row.read, row.wrote)
                yield self._record(begins, loop, dice, "search", LAB, slower=1.0, refused=False, failed=False)

    def _trouble(self, minute: int, dice: random.Random) -> tuple[bool, bool]:
        """(the provider that is asked first refuses it, it fails at the other one, too)."""
        self._chats += 1
        if REGION.holds(minute):
            return True, self._chats % 5 == 0
        if STORM.holds(minute):
            failed = self._chats % 33 == 0
            return failed or dice.random() < 0.4, failed
        return False, False

    def _record(
        self, begins: datetime, row: Row, dice: random.Random, route: str, key: str, *, slower: float, refused: bool, failed: bool
    ) -> UsageRecord:
        first_token = int((200_000 + 100 * min(row.read, 20_000)) * slower * dice.lognormvariate(0, 0.25))
        total = first_token + int(row.wrote * 12_000 * slower * dice.lognormvariate(0, 0.1))
        cost = 0 if failed else (row.read + 3 * row.wrote) * NANO_PER_TOKEN
        tokens = Tokens() if failed else Tokens(input=row.read, output=row.wrote)
        outcome: Outcome = "error" if failed else "ok"
        attempts = [Attempt(provider="east", endpoint="main", model="m", outcome="error", status=429)] if refused else []
        attempts.append(
            Attempt(provider="west" if refused else "east", endpoint="main", model="m", outcome=outcome, tokens=tokens, cost_nano=cost)
        )
        started_us = int((begins.timestamp() + row.second) * 1_000_000)
        return UsageRecord(
            id=uuid7_bytes(started_us // 1_000),
            started_us=started_us,
            organisation=self._organisation,
            key_id=key,
            kind="chat",
            route=route,
            requested_model=route,
            stream=True,
            outcome=outcome,
            status=502 if failed else 200,
            attempts=attempts,
            tokens=tokens,
            cost_nano=cost,
            first_token_us=-1 if failed else first_token,
            total_us=total,
        )
