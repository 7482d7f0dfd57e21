"""How many replicas a deployment should have: signals in, one explained decision out. Pure; times are seconds of any one clock.

Each *signal* that is known asks for a number of replicas (never fewer when its load is higher); the greatest is the **need**:

- waiting: requests in line, at engines and at proxies: as many more as work them off at ``waiting_each``, once there are more than that;
- tokens: in flight, at ``tokens_each`` a replica;
- kv: use of the KV caches, against ``kv_target``;
- ttft: the 95th percentile to the first token, against ``ttft_target``; at most twice what is there at once;
- held: requests held because nobody is there: one replica, at once.

Tokens, kv and ttft count by their mean over ``look_back``, or over the last ``rise`` seconds where that is more: load that rises is seen at
once, load that falls only when it has fallen for long.

**None is unknown and never 0**: with no signal known nothing changes. What GPUs say (power, memory, utilisation) is a guard and no
signal: it may stop a decision downwards, never cause one, in either direction (``Guards``).

From need to decision: clamped to floor and maximum; upwards once every need of the last ``up_after`` seconds asks for more, downwards once
none of the last ``down_after`` seconds asked for as many; at most ``up_most``/``down_most`` replicas in ``limit_seconds``. To zero only
after ``idle_after`` seconds without a request, from zero at once.

What always holds (``tests/fleet/test_scaling.py``): the decision lies between floor and maximum; after a step up nothing goes down for
``down_after`` seconds, after a step down nothing goes up for ``up_after`` seconds (but from zero), unless floor or maximum moved; more
load never means a lower need.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

Direction = Literal["up", "down", "hold"]
GUARDS = {
    "power_guard": ("power", "the GPUs draw {share:.0%} of their power limit"),
    "memory_guard": ("memory", "{share:.0%} of the GPUs' memory is in use"),
    "utilisation_guard": ("utilisation", "the GPUs work {share:.0%} of the time"),
}
"""A policy's field -> what of ``Guards`` it bounds, and how people read it."""
TTFT_FACTOR = 2.0
"""However late first tokens are, one decision by them alone no more than doubles what is there: they lag behind."""


class PolicyError(ValueError):
    """A policy that cannot be followed; the message says which field and what it must be."""


@dataclass(frozen=True, slots=True)
class Floor:
    """At least ``minimum`` replicas on these days (0: Monday) from a minute of the day to another; over midnight where that is not later.
    The day is the one on which it begins."""

    minimum: int
    days: frozenset[int] = frozenset(range(7))
    from_minute: int = 0
    to_minute: int = 1440

    def holds(self, moment: datetime) -> bool:
        """``moment``: in the policy's zone."""
        minute, day = moment.hour * 60 + moment.minute, moment.weekday()
        if self.from_minute < self.to_minute:
            return day in self.days and self.from_minute <= minute < self.to_minute
        if minute >= self.from_minute:
            return day in self.days
        return (day - 1) % 7 in self.days and minute < self.to_minute


@dataclass(frozen=True, slots=True)
class Policy:
    """``*_each``, ``*_target``: 0 leaves the signal out. Seconds and replicas. dry_run: decide and explain, change nothing."""

    minimum: int = 1
    maximum: int = 4
    waiting_each: float = 4.0
    tokens_each: float = 0.0
    kv_target: float = 0.8
    ttft_target: float = 0.0
    look_back: float = 20.0
    rise: float = 4.0
    """Seconds: a mean over so long counts where it is more than that over ``look_back``; 0: never."""
    up_after: float = 0.0
    down_after: float = 300.0
    up_most: int = 4
    down_most: int = 1
    limit_seconds: float = 60.0
    idle_after: float = 900.0
    floors: tuple[Floor, ...] = ()
    zone: str = "UTC"
    power_guard: float = 0.0
    """Share of the GPUs' power limit above which nothing goes down; 0: no guard."""
    memory_guard: float = 0.0
    """The same of the GPUs' memory. An engine that takes its memory beforehand (vLLM) is always near its share."""
    utilisation_guard: float = 0.0
    """The same of the time in which the GPUs worked. Near 1 whatever the load is; it says only that they are not idle."""
    dry_run: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.minimum <= self.maximum or self.maximum < 1:
            raise PolicyError(f"minimum {self.minimum} and maximum {self.maximum}: 0 <= minimum <= maximum and maximum >= 1 must hold")
        for name in ("waiting_each", "tokens_each", "kv_target", "ttft_target", "up_after", "down_after", "idle_after", "rise", *GUARDS):
            value = getattr(self, name)
            if not (math.isfinite(value) and value >= 0):
                raise PolicyError(f"{name} is {value}: it must be 0 or more")
        if not (self.look_back > 0 and self.limit_seconds > 0 and self.up_most >= 1 and self.down_most >= 1):
            raise PolicyError("look_back and limit_seconds must be above 0, up_most and down_most at least 1")
        if self.kv_target > 1 or any(getattr(self, name) > 1 for name in GUARDS):
            raise PolicyError(f"kv_target, {', '.join(GUARDS)} are shares: at most 1")
        if any(floor.minimum > self.maximum or floor.minimum < 0 for floor in self.floors):
            raise PolicyError(f"a scheduled floor is not between 0 and the maximum, {self.maximum}")
        if not (self.waiting_each or self.tokens_each or self.kv_target or self.ttft_target):
            raise PolicyError("every signal is left out: give at least one of waiting_each, tokens_each, kv_target, ttft_target")
        try:
            ZoneInfo(self.zone)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise PolicyError(f"there is no time zone {self.zone!r}: use one such as 'Europe/Zurich'") from error

    def floor(self, at: float) -> int:
        """At least so many replicas at a moment, seconds since the epoch."""
        if not self.floors:
            return self.minimum
        moment = datetime.fromtimestamp(at, UTC).astimezone(ZoneInfo(self.zone))
        return max([self.minimum, *(floor.minimum for floor in self.floors if floor.holds(moment))])


@dataclass(frozen=True, slots=True)
class Guards:
    """What the GPUs that do most say, as shares of what they could; None: unknown. unsure: why there may be more load than was told; empty:
    there is not."""

    power: float | None = None
    memory: float | None = None
    utilisation: float | None = None
    unsure: str = ""


@dataclass(frozen=True, slots=True)
class Sample:
    """One look. ready: replicas that serve. waiting: requests in line anywhere. held: of these, those that no replica could take yet.
    tokens: in flight. kv: mean use of the ready replicas' KV caches. ttft: 95th percentile of late, seconds. requests: arrived since the
    look before. power, memory, utilisation: shares, of the GPU that has the most of it."""

    at: float
    ready: int
    waiting: float | None = None
    held: int = 0
    tokens: float | None = None
    kv: float | None = None
    ttft: float | None = None
    requests: float | None = None
    power: float | None = None
    memory: float | None = None
    utilisation: float | None = None


@dataclass(frozen=True, slots=True)
class Signal:
    """What one signal asks for. words: as people read it."""

    name: str
    value: float
    target: float
    need: int
    words: str


@dataclass(frozen=True, slots=True)
class Memory:
    """What the next decision must know of the ones before. needs: (when, need). steps: (when, replicas more or fewer). busy_at: when a
    request was last seen."""

    needs: tuple[tuple[float, int], ...] = ()
    steps: tuple[tuple[float, int], ...] = ()
    busy_at: float | None = None


@dataclass(frozen=True, slots=True)
class Decision:
    """desired: what the deployment should have, which in a dry run nobody orders. need: what the signals ask for, within the bounds; None:
    none is known. machines: replicas that the pool has no room for. because: in sentences. guards: what GPUs said in the look-back, whether
    or not it held anything; guarded: it did."""

    at: float
    before: int
    desired: int
    need: int | None
    direction: Direction
    because: str
    signals: tuple[Signal, ...] = ()
    machines: int = 0
    dry_run: bool = False
    guarded: bool = False
    guards: Guards = Guards()
    memory: Memory = field(default_factory=Memory, repr=False)

    @property
    def changes(self) -> bool:
        return self.desired != self.before

    def sentence(self) -> str:
        """For the list of decisions: "2 -> 4: ..." or "would have: 2 -> 4: ..."."""
        would = "would have: " if self.dry_run and self.changes else ""
        moved = f"{self.before} -> {self.desired}" if self.changes else f"stays at {self.before}"
        return f"{would}{moved}: {self.because}"


def signals_of(policy: Policy, samples: Sequence[Sample], standing: int) -> tuple[Signal, ...]:
    """What each known signal asks for. samples: oldest first, of the last ``look_back`` seconds. standing: replicas there are."""
    if not samples:
        return ()
    last = samples[-1]
    ready = max(last.ready, 1)
    late = [sample for sample in samples if last.at - sample.at < policy.rise]
    found: list[Signal] = []
    if last.held > 0:
        found.append(Signal("held", last.held, 0, max(1, min(standing, 1)), f"{last.held} held, nobody ready"))
    if policy.waiting_each and last.waiting is not None:
        waiting = min(sample.waiting for sample in samples[-2:] if sample.waiting is not None)
        more = math.ceil(waiting / policy.waiting_each) if waiting > policy.waiting_each else 0
        found.append(_signal("waiting", waiting, policy.waiting_each, last.ready + more if more else 0, f"{waiting:g} waiting"))
    tokens = _risen([sample.tokens for sample in samples], [sample.tokens for sample in late])
    if policy.tokens_each and tokens is not None:
        need = math.ceil(tokens / policy.tokens_each - 1e-9)
        found.append(_signal("tokens", tokens, policy.tokens_each, need, f"{tokens:,.0f} tokens in flight"))
    kv = _risen([sample.kv for sample in samples], [sample.kv for sample in late])
    if policy.kv_target and kv is not None:
        need = math.ceil(ready * kv / policy.kv_target - 1e-9)
        found.append(_signal("kv", kv, policy.kv_target, need, f"KV caches {kv:.0%} full"))
    ttft = _risen([sample.ttft for sample in samples], [sample.ttft for sample in late])
    if policy.ttft_target and ttft is not None:
        factor = min(ttft / policy.ttft_target, TTFT_FACTOR)
        need = math.ceil(ready * factor) if factor > 1 else 0
        found.append(_signal("ttft", ttft, policy.ttft_target, need, f"first tokens after {ttft:.2f} s"))
    return tuple(found)


def decide(
    policy: Policy,
    samples: Sequence[Sample],
    memory: Memory,
    *,
    standing: int,
    now: float,
    wall: float | None = None,
    room: int | None = None,
    guards: Guards | None = None,
) -> Decision:
    """samples: oldest first; older ones than ``look_back`` are left out. standing: replicas ordered before. wall: ``now`` as seconds since
    the epoch, for scheduled floors (``now`` itself where it is left out). room: how many more replicas could be placed; None: not known."""
    recent = [sample for sample in samples if now - policy.look_back < sample.at <= now]
    floor = min(policy.floor(now if wall is None else wall), policy.maximum)
    signals = signals_of(policy, recent, standing)
    busy_at = memory.busy_at
    for sample in recent:
        if sample.held or sample.waiting or sample.tokens or sample.requests:
            busy_at = sample.at if busy_at is None else max(busy_at, sample.at)
    if busy_at is None and recent:
        busy_at = recent[0].at  # nothing was seen yet: idle from now on
    window = max(policy.up_after, policy.down_after)
    need = _need(policy, signals, floor, busy_at, now)
    needs = tuple(pair for pair in memory.needs if now - pair[0] < window) + (((now, need),) if need is not None else ())
    steps = tuple(step for step in memory.steps if now - step[0] < policy.limit_seconds)
    guards = _seen(guards or Guards(), recent)
    desired, because, guarded = _stepped(policy, need, needs, steps, signals, standing, floor, now, guards)
    if desired > standing and need is None:
        needs = (*needs, (now, desired))  # a floor that rose is needed as long as any other need
    if desired != standing and not policy.dry_run:
        steps = (*steps, (now, desired - standing))
    return Decision(
        at=now,
        before=standing,
        desired=desired,
        need=need,
        direction="up" if desired > standing else "down" if desired < standing else "hold",
        because=because,
        signals=signals,
        machines=max(0, desired - standing - room) if room is not None and desired > standing else 0,
        dry_run=policy.dry_run,
        guarded=guarded,
        guards=guards,
        memory=Memory(needs, steps, busy_at),
    )


def _need(policy: Policy, signals: tuple[Signal, ...], floor: int, busy_at: float | None, now: float) -> int | None:
    if not signals:
        return None
    need = max(signal.need for signal in signals)
    if need <= 0:
        idle = busy_at is not None and now - busy_at >= policy.idle_after
        need = 0 if idle else 1
    return min(max(need, floor), policy.maximum)


def _stepped(
    policy: Policy,
    need: int | None,
    needs: tuple[tuple[float, int], ...],
    steps: tuple[tuple[float, int], ...],
    signals: tuple[Signal, ...],
    standing: int,
    floor: int,
    now: float,
    guards: Guards,
) -> tuple[int, str, bool]:
    """(desired, why, whether a guard held it)."""
    if standing < floor:
        return floor, f"the floor is {floor}", False
    if standing > policy.maximum:
        return policy.maximum, f"the maximum is {policy.maximum}", False
    if need is None:
        return standing, "no signal is known", False
    why = "; ".join(_said(signal) for signal in signals if signal.need == max(s.need for s in signals) and signal.need) or "no load"
    if need > standing:
        if standing == 0:
            return min(need, policy.up_most), f"{why}: from zero at once", False
        lately = [asked for at, asked in needs if now - at <= policy.up_after]
        agreed = min(lately)
        if agreed <= standing:
            return standing, f"{why} asks for {need}, for less than {policy.up_after:g} s so far", False
        left = policy.up_most - sum(change for _, change in steps if change > 0)
        if left <= 0:
            return standing, f"{why} asks for {need}, but {policy.up_most} were added within {policy.limit_seconds:g} s", False
        desired = min(agreed, standing + left)
        return desired, why if desired == need else f"{why} asks for {need}, {desired - standing} of them now", False
    if need < standing:
        asked = max(wanted for at, wanted in needs if now - at < policy.down_after or at == now)
        if asked >= standing:
            return standing, f"{why} asks for {need}, {asked} were needed within {policy.down_after:g} s", False
        if guards.unsure:
            return standing, f"{why} asks for {need}, but {guards.unsure}", True
        for bound, (name, words) in GUARDS.items():
            most, share = getattr(policy, bound), getattr(guards, name)
            if most and share is not None and share > most:
                said = words.format(share=share)
                return standing, f"{why} asks for {need}, but {said} ({bound} is {most:.0%}): the signals may be wrong", True
        left = policy.down_most + sum(change for _, change in steps if change < 0)
        if left <= 0:
            return standing, f"{why} asks for {need}, but {policy.down_most} were taken within {policy.limit_seconds:g} s", False
        desired = max(asked, standing - left)
        return desired, f"{why} needs no more than {asked} since {policy.down_after:g} s", False
    return standing, f"{why}: {need} needed", False


def _signal(name: str, value: float, target: float, need: int, words: str) -> Signal:
    return Signal(name, value, target, need, words)


def _said(signal: Signal) -> str:
    match signal.name:
        case "waiting":
            return f"{signal.words}, {signal.target:g} are well for a replica"
        case "tokens":
            return f"{signal.words}, {signal.target:,.0f} are well for a replica"
        case "kv":
            return f"{signal.words}, {signal.target:.0%} wanted"
        case "ttft":
            return f"{signal.words}, {signal.target:g} s wanted"
    return signal.words


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None


def _risen(values: Sequence[float | None], late: Sequence[float | None]) -> float | None:
    """The mean of all, or of the late ones where that is more."""
    whole, rising = _mean(values), _mean(late)
    return whole if whole is None or rising is None else max(whole, rising)


def _seen(guards: Guards, samples: Sequence[Sample]) -> Guards:
    """With the most that any sample says: one quiet moment lets nothing pass."""
    found = {
        name: [value for value in (getattr(guards, name), *(getattr(sample, name) for sample in samples)) if value is not None]
        for name, _ in GUARDS.values()
    }
    return replace(guards, **{name: max(values) for name, values in found.items() if values})


def dry(policy: Policy) -> Policy:
    """The same, deciding only."""
    return replace(policy, dry_run=True)
