"""What own GPUs cost while nothing ran on them, and what would cost less: pure arithmetic over hours by state.

Hours are of GPUs; of a deployment without GPUs they are hours of its replicas. Money is nano-dollars, rounded up; without a price of a
GPU-hour it is None, never 0. A suggestion says what it is reckoned from, so that it can be checked by hand; nothing acts on it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

STATES = ("serving", "idle", "loading", "failed", "unheard")
NANO = 1_000_000_000
QUIET_SHARE = 0.01
"""An hour of the day in which less than this of the time was serving is quiet."""
QUIET_HOURS = 4
QUIET_DAYS = 3
"""Fewer days say nothing about a habit."""
BUSY_TARGET = 0.6
"""Of its time a replica may well be serving: beyond it requests begin to wait."""
LEAST_HOURS = 1.0
"""What saves less is not worth a line."""
SMALL_SHARE = 0.5
SMALL_BUSY = 0.5
"""A GPU that works more of the time in which it serves may well be too small already."""

Kind = Literal["night", "consolidate", "smaller"]


@dataclass(frozen=True, slots=True)
class Use:
    """One deployment in a period. hours: by state of ``STATES``. by_hour: hour of the day (UTC) -> (serving, idle) hours. days, clock:
    days and hours with any time counted. tokens: read and written by it; None: not known. price: nano-dollars an hour. memory_each,
    memory_gpu: bytes of each GPU promised and there; None: not known. memory_used: the most that was in use of one; None: not told, or its
    engine takes it all beforehand. utilisation: share of the time that its GPUs worked while it served; None: not told. least: replicas it
    keeps at least. gpus: of each replica, 0: none."""

    deployment: str
    team: str
    hours: Mapping[str, float]
    by_hour: Mapping[int, tuple[float, float]] = field(default_factory=dict)
    days: int = 0
    clock: int = 0
    tokens: int | None = None
    price: int | None = None
    gpus: int = 1
    least: int = 1
    memory_each: int | None = None
    memory_gpu: int | None = None
    memory_used: int | None = None
    utilisation: float | None = None

    @property
    def total(self) -> float:
        return sum(self.hours.values())

    @property
    def each(self) -> list[tuple[str, float]]:
        """(state, hours), of ``STATES`` in that order."""
        return [(state, self.hours.get(state, 0.0)) for state in STATES]

    @property
    def idle_nano(self) -> int | None:
        return cost(self.hours.get("idle", 0.0), self.price)

    @property
    def total_nano(self) -> int | None:
        return cost(self.total, self.price)

    @property
    def tokens_per_second(self) -> float | None:
        """Of each GPU's second, whatever it did."""
        return None if self.tokens is None or not self.total else self.tokens / (self.total * 3600)

    @property
    def idle_share(self) -> float | None:
        return self.hours.get("idle", 0.0) / self.total if self.total else None


@dataclass(frozen=True, slots=True)
class Suggestion:
    """saves: hours in a period as long as this one. arithmetic: how that comes about."""

    kind: Kind
    deployment: str
    words: str
    arithmetic: str
    saves: float
    saves_nano: int | None


def cost(hours: float, price: int | None) -> int | None:
    return None if price is None else math.ceil(hours * price)


def by_team(uses: Sequence[Use]) -> list[Use]:
    """The same summed by team, the most idle first. price: None where the team's deployments have different ones or none."""
    found: list[Use] = []
    for team in dict.fromkeys(use.team for use in uses):
        own = [use for use in uses if use.team == team]
        prices = {use.price for use in own}
        tokens = [use.tokens for use in own]
        found.append(
            Use(
                deployment="",
                team=team,
                hours={state: sum(use.hours.get(state, 0.0) for use in own) for state in STATES},
                tokens=None if None in tokens else sum(count or 0 for count in tokens),
                price=prices.pop() if len(prices) == 1 else None,
            )
        )
    return sorted(found, key=lambda use: -use.hours.get("idle", 0.0))


def suggestions(uses: Sequence[Use]) -> list[Suggestion]:
    """What would cost less, the most first."""
    found = [one for use in uses for one in (_night(use), _consolidate(use), _smaller(use)) if one is not None]
    return sorted((one for one in found if one.saves >= LEAST_HOURS), key=lambda one: -one.saves)


def quiet_hours(by_hour: Mapping[int, tuple[float, float]]) -> tuple[int, int] | None:
    """(first, how many) of the longest run of quiet hours of the day, over midnight too; None where none is long enough."""
    quiet = []
    for hour in range(24):
        serving, idle = by_hour.get(hour, (0.0, 0.0))
        quiet.append(idle > 0 and serving <= QUIET_SHARE * (serving + idle))
    best = (0, 0)
    for start in range(24):
        length = 0
        while length < 24 and quiet[(start + length) % 24]:
            length += 1
        if length > best[1]:
            best = (start, length)
    return best if best[1] >= QUIET_HOURS else None


def _night(use: Use) -> Suggestion | None:
    quiet = quiet_hours(use.by_hour) if use.days >= QUIET_DAYS and use.least > 0 else None
    if quiet is None:
        return None
    first, count = quiet
    hours = sum(use.by_hour.get((first + at) % 24, (0.0, 0.0))[1] for at in range(count))
    words = "let it scale to zero" if count == 24 else f"scale to zero from {first:02}:00 to {(first + count) % 24:02}:00 UTC"
    why = f"{hours:.1f} h idle in these {count} hours of {use.days} days, and next to nothing served"
    return _made("night", use, words, why, hours)


def _consolidate(use: Use) -> Suggestion | None:
    serving, idle = use.hours.get("serving", 0.0), use.hours.get("idle", 0.0)
    ready, counted = serving + idle, use.clock * max(1, use.gpus)
    if not ready or not counted or quiet_hours(use.by_hour) is not None:
        return None
    replicas = ready / counted
    enough = max(1, use.least if use.least else 1, math.ceil(serving / counted / BUSY_TARGET))
    if replicas < 1.5 or enough >= math.floor(replicas):
        return None
    saves = ready * (1 - enough / replicas)
    why = (
        f"{replicas:.1f} replicas were ready in the mean and serving {serving / ready:.0%} of the time; {enough} would be serving "
        f"{min(1.0, serving / counted / enough):.0%} of it ({BUSY_TARGET:.0%} is well)"
    )
    return _made("consolidate", use, f"run {enough} replica{'s' if enough > 1 else ''} instead of {replicas:.1f}", why, saves)


def _smaller(use: Use) -> Suggestion | None:
    """By what was promised *and* what the GPUs told: never by one of them alone."""
    if not use.gpus or not use.memory_each or not use.memory_gpu:
        return None
    needs = max(use.memory_each, use.memory_used or 0)
    share = needs / use.memory_gpu
    if share > SMALL_SHARE or (use.utilisation or 0.0) > SMALL_BUSY:
        return None
    why = f"it needs {needs / 1e9:.1f} of {use.memory_gpu / 1e9:.1f} GB ({share:.0%})"
    if use.memory_used is not None:
        why += f", had {use.memory_used / 1e9:.1f} GB in use at most"
    if use.utilisation is not None:
        why += f", its GPUs worked {use.utilisation:.0%} of the time while it served"
    why += f", and the rest is held for {use.total:.1f} h"
    return _made("smaller", use, "use a smaller GPU, or share this one", why, use.total * (1 - share))


def _made(kind: Kind, use: Use, words: str, why: str, saves: float) -> Suggestion:
    nano = cost(saves, use.price)
    priced = f" x ${use.price / NANO:.2f} an hour = ${(nano or 0) / NANO:.2f}" if use.price is not None else ""
    return Suggestion(kind, use.deployment, words, f"{why}: {saves:.1f} h{priced}.", saves, nano)
