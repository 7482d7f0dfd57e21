"""The pool in memory, with a clock of its own: for tests of whatever shares limits, without Redis.

``FakeBook`` follows the script of ``limits_redis`` to the letter (the same tests run against both); ``FakePool`` is one proxy's connection
to it, which can be cut (``away``) and can lose answers (``lose``).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from apps.contracts.limits import Ask, Share, Shares

SETTLE_MS = 3_000
SHORT_MS = 2_000
MOST_RESTING = 200


@dataclass
class FakeHolder:
    units: int
    expires: int
    demand: int
    used: int
    short: int
    number: int
    given: list[tuple[int, int]]


@dataclass
class FakeState:
    amount: int
    version: int
    resting: list[tuple[int, int]] = field(default_factory=list)
    holders: dict[str, FakeHolder] = field(default_factory=dict)
    settle: int = 0


class FakeBook:
    """Redis' side. now_ms: its clock."""

    def __init__(self, now_ms: Callable[[], int]) -> None:
        self.now_ms = now_ms
        self.members: dict[str, tuple[int, int]] = {}
        """Boot id -> (until when it is believed to live, number of its last call)."""
        self.states: dict[str, FakeState] = {}

    def forget(self) -> None:
        """As a Redis that lost its data."""
        self.members.clear()
        self.states.clear()

    def sync(self, boot: str, asks: Sequence[Ask], ttl: int, number: int) -> Shares:
        now = self.now_ms()
        late = boot in self.members and self.members[boot][0] > now and self.members[boot][1] >= number
        if not late:
            self.members.pop(boot, None)
            if ttl:
                self.members[boot] = (now + ttl, number)
        self.members = {name: member for name, member in self.members.items() if member[0] > now}
        live = len(self.members)
        return Shares(live, [] if late else [self._one(boot, ask, ttl, now, live, number) for ask in asks])

    def _one(self, boot: str, ask: Ask, ttl: int, now: int, live: int, number: int) -> Share:
        state = self.states.setdefault(ask.id, FakeState(ask.amount, ask.version))
        if ask.version >= state.version:
            state.amount, state.version = ask.amount, ask.version
        resting = [(at, n) for at, n in state.resting if at > now and n > 0]
        resting += [(now + left, n) for left, n in ask.back if left > 0 and n > 0]
        lost = state.holders.get(boot)
        if lost is not None and lost.number != ask.acked:
            resting += [(at, n) for at, n in lost.given if at > now]
        for name, holder in tuple(state.holders.items()):
            if name != boot and holder.expires + ask.window_ms <= now:
                del state.holders[name]
        others = [holder for name, holder in state.holders.items() if name != boot and holder.expires > now]
        dead = [holder for name, holder in state.holders.items() if name != boot and holder.expires <= now]
        aged = sum(n for _, n in resting) + sum(holder.units for holder in dead)
        out = sum(holder.units for holder in others)
        wanted = any(holder.short > now for holder in others)
        me = state.holders.get(boot)
        if ask.held > (me.units if me else 0):
            state.settle = now + SETTLE_MS
        target = fair_part(state.amount, ask.demand, [holder.demand for holder in others])
        top = min(target if wanted else ask.demand, state.amount)
        if now < state.settle:
            top = min(top, max(1, state.amount // max(live, ask.live)))
        free = state.amount - out - ask.held - aged
        want = max(0, top - ask.held)
        granted = max(0, min(want, free))
        want -= granted
        given: list[tuple[int, int]] = []
        kept: list[tuple[int, int]] = []
        first = 0
        for at, n in sorted(resting, key=lambda pair: pair[0]):
            part = min(want, n) if free >= 0 and ttl else 0
            if part > 0:
                want -= part
                given.append((at - now, part))
            if n > part:
                first = first or at - now
                if kept and len(kept) >= MOST_RESTING:
                    kept[-1] = (at, kept[-1][1] + n - part)
                else:
                    kept.append((at, n - part))
        got = sum(n for _, n in given)
        units = ask.held + granted + got
        if ttl and (units > 0 or ask.demand > 0):
            short = now + SHORT_MS if ask.demand > units else 0
            state.holders[boot] = FakeHolder(
                units, now + ttl, ask.demand, min(ask.used + got, units), short, number, [(now + left, n) for left, n in given]
            )
        else:
            state.holders.pop(boot, None)
        state.resting = kept
        elsewhere = sum(holder.used for holder in others) + aged - got
        idle = sum(max(0, holder.units - holder.used) for holder in others)
        return Share(granted, given, target, elsewhere, idle, wanted or free < 0, first)


def fair_part(amount: int, demand: int, others: Sequence[int]) -> int:
    """Max-min: what of ``amount`` one gets that asks for ``demand`` beside ``others``, rounded up."""
    demands = sorted([demand, *others])
    left: float = amount
    for position, asked in enumerate(demands):
        part = left / (len(demands) - position)
        if asked > part:
            return min(demand, math.ceil(part))
        left -= asked
    return demand


class FakePool:
    """One proxy's connection to the book."""

    def __init__(self, book: FakeBook, boot: str) -> None:
        self._book = book
        self._boot = boot
        self.away = False
        self.lose = 0
        """So many answers are lost after they were acted on."""

    async def sync(self, asks: Sequence[Ask], ttl_ms: int, number: int) -> Shares:
        if self.away:
            raise ConnectionError("away")
        answer = self._book.sync(self._boot, asks, ttl_ms, number)
        if self.lose:
            self.lose -= 1
            raise ConnectionError("lost")
        return answer
