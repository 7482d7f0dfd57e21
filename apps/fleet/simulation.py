"""A deployment against a trace: a discrete-event **simulation**, for comparing ways to scale. Pure; nothing here is measured on a GPU.

A simulated replica reads one prompt after another at ``Speed.prefill`` tokens a second, then writes each answer at one token per
``Speed.itl`` seconds, up to ``Speed.slots`` answers at once within ``Speed.kv`` tokens. What does not fit waits in its line, first come
first served. A request goes to the ready replica with the least outstanding tokens; without one it is held. A started replica is ready
after ``Speed.cold`` seconds and paid from its start; one that is taken away finishes what it has, and is paid until then.

Three ways are compared: the **policy** (``apps.fleet.scaling``, asked every ``every`` seconds with what it would be told), a **fixed**
fleet, and the **oracle**: it is told the whole trace beforehand, starts each replica so early that it is ready when it is needed, and
takes away what is not needed for longer than a cold start. Its numbers are what a scheduler with perfect foresight of *demand* pays; it is
the cheapest of ``ORACLE_FACTORS`` x ``ORACLE_SPANS`` that keeps violations within bounds, no proven optimum: where the load is even, a
fixed fleet of the right size, which nobody knows beforehand either, may be cheaper still.
"""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

from apps.fleet.scaling import Memory, Policy, Sample, decide
from apps.fleet.traces import Arrival

ORACLE_FACTORS = (0.6, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5)
ORACLE_SPANS = (1, 6, 18)
"""Bins over which the demand is averaged: peaks shorter than that are left to the line."""
BIN_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Speed:
    """One replica. prefill: tokens a second. itl: seconds between tokens. slots: answers at once. kv: tokens at once. cold: seconds from
    start to ready. gpus: that it occupies."""

    prefill: float = 8_000.0
    itl: float = 0.03
    slots: int = 32
    kv: int = 200_000
    cold: float = 60.0
    gpus: int = 1

    def __post_init__(self) -> None:
        if not (self.prefill > 0 and self.itl > 0 and self.slots >= 1 and self.kv >= 1 and self.cold >= 0 and self.gpus >= 1):
            raise ValueError("prefill, itl, slots, kv and gpus must be above 0, cold 0 or more")


@dataclass(frozen=True, slots=True)
class Outcome:
    """gpu_hours: paid. violations: share of requests whose first token came later than the target. wait_p95, ttft_p95: seconds, in line and
    to the first token. peak, mean: replicas paid at once. steps: orders that changed something. timeline: (second, replicas ordered)."""

    name: str
    requests: int
    gpu_hours: float
    violations: float
    wait_p95: float
    ttft_p95: float
    peak: int
    mean: float
    steps: int
    timeline: tuple[tuple[float, int], ...] = ()


class _Request:
    __slots__ = ("asked", "began", "first")

    def __init__(self, asked: Arrival) -> None:
        self.asked = asked
        self.began = self.first = math.inf

    @property
    def tokens(self) -> int:
        return self.asked.read + self.asked.write


State = Literal["starting", "ready", "leaving", "gone"]


class _Replica:
    __slots__ = ("began", "ended", "free_at", "kv", "line", "number", "outstanding", "running", "state")

    def __init__(self, number: int, now: float) -> None:
        self.number = number
        self.began = now
        self.ended = math.inf
        self.state: State = "starting"
        self.line: deque[_Request] = deque()
        self.running = 0
        self.kv = 0
        self.outstanding = 0
        self.free_at = 0.0


Order = Callable[["Run", float], int]
"""How many replicas there should be, asked every ``every`` seconds."""


class Run:
    """One way against one trace. order: asked at each look, also at 0, where its answer is there at once (ready without a cold start)."""

    def __init__(self, trace: Sequence[Arrival], speed: Speed, order: Order, *, every: float = 5.0, target: float = 2.0) -> None:
        self.speed = speed
        self.every = every
        self.target = target
        self.ordered = 0
        self.held: deque[_Request] = deque()
        self.replicas: list[_Replica] = []
        self.arrived = 0
        self._order = order
        self._events: list[tuple[float, int, int, object]] = []
        self._count = 0
        self._requests = [_Request(one) for one in trace]
        self._open = len(trace)
        self._timeline: list[tuple[float, int]] = []
        self._late: deque[tuple[float, float]] = deque()

    # --- what a way to scale is told ---

    def sample(self, now: float) -> Sample:
        """As the control plane would see it."""
        ready = [one for one in self.replicas if one.state == "ready"]
        while self._late and self._late[0][0] < now - 30:
            self._late.popleft()
        late = sorted(seconds for _, seconds in self._late)
        arrived, self.arrived = self.arrived, 0
        return Sample(
            at=now,
            ready=len(ready),
            waiting=len(self.held) + sum(len(one.line) for one in ready),
            held=0 if ready else len(self.held),
            tokens=float(sum(one.outstanding for one in self.replicas) + sum(one.tokens for one in self.held)),
            kv=sum(one.kv for one in ready) / (self.speed.kv * len(ready)) if ready else None,
            ttft=late[int(0.95 * (len(late) - 1))] if late else None,
            requests=arrived,
        )

    # --- running ---

    def run(self, name: str) -> Outcome:
        for request in self._requests:
            self._at(request.asked.at, 0, request)
        self._scale(0.0, max(0, self._order(self, 0.0)), warm=True)
        self._at(self.every, 2, None)
        now = 0.0
        while self._events and self._open:
            now, kind, _, what = heapq.heappop(self._events)
            if kind == 0:
                assert isinstance(what, _Request)
                self.arrived += 1
                self._route(what, now)
            elif kind == 1:
                assert isinstance(what, tuple)
                replica, request = what
                self._ended(replica, request, now)
            elif kind == 2:
                self._scale(now, max(0, self._order(self, now)))
                self._at(now + self.every, 2, None)
            else:
                assert isinstance(what, _Replica)
                if what.state == "starting":
                    what.state = "ready"
                    held, self.held = self.held, deque()
                    for request in held:
                        self._route(request, now)
        return self._outcome(name, now)

    def _at(self, when: float, kind: int, what: object) -> None:
        self._count += 1
        heapq.heappush(self._events, (when, kind, self._count, what))

    def _route(self, request: _Request, now: float) -> None:
        ready = [one for one in self.replicas if one.state == "ready"]
        if not ready:
            self.held.append(request)
            return
        chosen = min(ready, key=lambda one: one.outstanding)
        chosen.outstanding += request.tokens
        chosen.line.append(request)
        self._admit(chosen, now)

    def _admit(self, replica: _Replica, now: float) -> None:
        speed = self.speed
        while replica.line and replica.running < speed.slots:
            request = replica.line[0]
            if replica.running and replica.kv + request.tokens > speed.kv:
                return
            replica.line.popleft()
            replica.running += 1
            replica.kv += request.tokens
            request.began = max(now, replica.free_at)
            replica.free_at = request.began + request.asked.read / speed.prefill
            request.first = replica.free_at + speed.itl
            self._late.append((now, request.first - request.asked.at))
            self._at(replica.free_at + max(1, request.asked.write) * speed.itl, 1, (replica, request))

    def _ended(self, replica: _Replica, request: _Request, now: float) -> None:
        self._open -= 1
        replica.running -= 1
        replica.kv -= request.tokens
        replica.outstanding -= request.tokens
        self._admit(replica, now)
        if replica.state == "leaving" and not replica.running and not replica.line:
            replica.state, replica.ended = "gone", now

    def _scale(self, now: float, wanted: int, *, warm: bool = False) -> None:
        standing = [one for one in self.replicas if one.state in ("starting", "ready")]
        if wanted != self.ordered or not self._timeline:
            self._timeline.append((now, wanted))
        self.ordered = wanted
        for _ in range(wanted - len(standing)):
            replica = _Replica(len(self.replicas), now)
            self.replicas.append(replica)
            if warm:
                replica.state = "ready"
            else:
                self._at(now + self.speed.cold, 3, replica)
        # what is not ready yet goes first, then who has the least to finish
        leaving = sorted(standing, key=lambda one: (one.state == "ready", one.outstanding, -one.number))[: max(0, len(standing) - wanted)]
        for replica in leaving:
            idle = not replica.running and not replica.line
            replica.state = "gone" if idle else "leaving"
            if idle:
                replica.ended = now

    def _outcome(self, name: str, now: float) -> Outcome:
        waits = sorted(one.began - one.asked.at for one in self._requests)
        firsts = sorted(one.first - one.asked.at for one in self._requests)
        count = len(firsts)
        paid = sum(min(one.ended, now) - one.began for one in self.replicas)
        marks = sorted([(one.began, 1) for one in self.replicas] + [(one.ended, -1) for one in self.replicas if one.ended < math.inf])
        peak = height = 0
        for _, change in marks:
            height += change
            peak = max(peak, height)
        return Outcome(
            name=name,
            requests=count,
            gpu_hours=paid * self.speed.gpus / 3600,
            violations=sum(seconds > self.target for seconds in firsts) / count,
            wait_p95=waits[int(0.95 * (count - 1))],
            ttft_p95=firsts[int(0.95 * (count - 1))],
            peak=peak,
            mean=paid / now if now else 0.0,
            steps=len(self._timeline) - 1,
            timeline=tuple(self._timeline),
        )


# --- the three ways ---


def by_policy(policy: Policy) -> Order:
    """A fresh follower of the policy; begins at its minimum."""
    samples: deque[Sample] = deque(maxlen=200)
    memory = Memory()

    def order(run: Run, now: float) -> int:
        nonlocal memory
        if now == 0.0:
            return policy.minimum
        samples.append(run.sample(now))
        decision = decide(policy, samples, memory, standing=run.ordered, now=now)
        memory = decision.memory
        return decision.desired

    return order


def fixed(count: int) -> Order:
    return lambda run, now: count


def demand_of(trace: Sequence[Arrival], speed: Speed) -> list[float]:
    """Replicas that the trace keeps busy, in bins of ``BIN_SECONDS``: of reading, of writing, of KV, whichever is most. Requests take the
    time that they take on an idle replica."""
    length = int(max(one.at for one in trace) // BIN_SECONDS) + 2
    reading, writing, held = [0.0] * length, [0.0] * length, [0.0] * length
    for one in trace:
        at = int(one.at // BIN_SECONDS)
        reading[at] += one.read / speed.prefill / BIN_SECONDS
        seconds = one.read / speed.prefill + max(1, one.write) * speed.itl
        last = min(length - 1, int((one.at + seconds) // BIN_SECONDS))
        for place in range(at, last + 1):
            begin, end = max(one.at, place * BIN_SECONDS), min(one.at + seconds, (place + 1) * BIN_SECONDS)
            writing[place] += max(0.0, end - begin) / BIN_SECONDS / speed.slots
            held[place] += max(0.0, end - begin) / BIN_SECONDS * (one.read + one.write) / speed.kv
    return [max(three) for three in zip(reading, writing, held, strict=True)]


def oracle(trace: Sequence[Arrival], speed: Speed, factor: float, *, span: int = 1, minimum: int = 1) -> Order:
    """Orders at each moment what is needed from then on until a cold start later; ``factor`` more than the demand, averaged over ``span``
    bins, keeps busy."""
    demand = demand_of(trace, speed)
    loads = [sum(demand[at : at + span]) / len(demand[at : at + span]) for at in range(len(demand))]
    needed = [max(minimum, math.ceil(load * factor - 1e-9)) for load in loads]
    ahead = math.ceil(speed.cold / BIN_SECONDS) + 1

    def order(run: Run, now: float) -> int:
        at = int(now // BIN_SECONDS)
        return max(needed[at : at + ahead + 1], default=minimum)

    return order


def cheapest_fixed(trace: Sequence[Arrival], speed: Speed, *, most: int, allowed: float, every: float, target: float) -> Outcome:
    """The smallest fixed fleet with at most ``allowed`` violations; the largest tried where none has."""
    low, high = 1, most
    best: Outcome | None = None
    while low <= high:
        middle = (low + high) // 2
        found = Run(trace, speed, fixed(middle), every=every, target=target).run(f"fixed, {middle}")
        if found.violations <= allowed:
            best, high = found, middle - 1
        else:
            low = middle + 1
    return best or Run(trace, speed, fixed(most), every=every, target=target).run(f"fixed, {most}")


def cheapest_oracle(trace: Sequence[Arrival], speed: Speed, *, minimum: int, allowed: float, every: float, target: float) -> Outcome:
    """Of the oracle's plans the cheapest with at most ``allowed`` violations; the one with the fewest where none has."""
    tried = [
        Run(trace, speed, oracle(trace, speed, factor, span=span, minimum=max(1, minimum)), every=every, target=target).run("oracle")
        for factor in ORACLE_FACTORS
        for span in ORACLE_SPANS
    ]
    well = [one for one in tried if one.violations <= allowed]
    return min(well, key=lambda one: one.gpu_hours) if well else min(tried, key=lambda one: one.violations)
