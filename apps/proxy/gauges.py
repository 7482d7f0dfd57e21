"""How this process stands, told with its heartbeats: what runs, waits, is held of budgets and lies in the journal.

Looked at once a second, off the requests' path. A queue's depth is the greatest of the last ten looks, so that a short crowd is not missed
between two heartbeats; a wait is the 95th percentile of the last minute's.
"""

from __future__ import annotations

import time
from collections import deque
from typing import TYPE_CHECKING, Any

from apps.contracts import histogram
from apps.contracts.early import Early, moved
from apps.contracts.reports import MAX_DEPLOYMENTS, MAX_QUEUES, GaugesReport, QueueReport, place_of
from apps.contracts.snapshot import RouteFragment

if TYPE_CHECKING:
    from apps.proxy.engine import Engine

DEPTH_LOOKS = 10
WAIT_LOOKS = 60
STEP_LOOKS = 10
"""Waits are compared with those of so many looks ago, in steps."""
EARLY_SECONDS = 1.0
"""Between two heartbeats that are sent because a deployment's load moved, or because a replica left its rotation or came back."""
LEAST_TOKENS = 256
"""What moved by less hurries nothing."""
_ROUTE = "route "
"""What the bulkhead of a route is named, before its id."""


class Gauges:
    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._looks = 0
        self._depths: deque[dict[str, int]] = deque(maxlen=DEPTH_LOOKS)
        """By bulkhead where anybody waited, at each look."""
        self._waits: deque[dict[str, dict[int, int]]] = deque([{}], maxlen=WAIT_LOOKS // STEP_LOOKS + 1)
        """All waits since the start, as they were at the end of each step."""
        self._told: dict[str, int] = {}
        """Deployment -> tokens outstanding, as the last heartbeat said."""
        self._told_out: set[str] = set()
        """Replicas out of rotation, as the last heartbeat said."""
        self._early = Early(EARLY_SECONDS, 0.0)

    def sample(self) -> None:
        """One look, once a second."""
        found = self._engine.states.bulkheads.items()
        self._depths.append({name: slots.waiting for name, slots in found if slots.waiting})
        self._looks += 1
        if self._looks % STEP_LOOKS == 0:
            self._waits.append({name: dict(slots.waits) for name, slots in found if slots.waits})

    def load_moved(self, now: float) -> bool:
        """Whether what the control plane acts on is so much another than was told that it should not wait for it: a deployment's load, or
        which replicas cannot be reached. now: seconds."""
        loads = ((deployment.key, deployment.balancer.outstanding) for deployment in self._engine.fleet)
        news = any(moved(self._told.get(key, 0), tokens, LEAST_TOKENS) for key, tokens in loads) or self._out() != self._told_out
        return news and self._early.take(now)

    def _out(self) -> set[str]:
        return {replica.id for deployment in self._engine.fleet for replica in deployment.out()}

    def detail(self) -> dict[str, Any]:
        """``gauges`` and, where routes name any, ``deployments``; JSON-able."""
        self._told = {deployment.key: deployment.balancer.outstanding for deployment in self._engine.fleet}
        self._told_out = self._out()
        zero_ms = (time.time_ns() // 1000 + self._engine.offset_us) / 1e3 - self._engine.loop.time() * 1e3
        told = [deployment.report(zero_ms).plain() for deployment in self._engine.fleet]
        return {"gauges": self.report().plain()} | ({"deployments": told[:MAX_DEPLOYMENTS]} if told else {})

    def report(self) -> GaugesReport:
        engine = self._engine
        before = self._waits[0]
        lately: dict[int, int] = {}
        queues: list[QueueReport] = []
        total = max((sum(look.values()) for look in self._depths), default=0)
        for name, slots in engine.states.bulkheads.items():
            waited = _since(slots.waits, before.get(name, {}))
            histogram.merge(lately, waited)
            depth = max((look.get(name, 0) for look in self._depths), default=0)
            if not depth and not waited and not slots.running:
                continue
            place = self._subject(name)
            if place is not None:
                organisation, subject = place
                queues.append(QueueReport(organisation, subject, slots.running, depth, _p95_ms(waited)))
        queues.sort(key=lambda queue: (-queue.waiting, -(queue.wait_p95_ms or 0.0), -queue.running, queue.subject))
        return GaugesReport(
            running=max(0, engine.metrics.running),
            waiting=total,
            wait_p95_ms=_p95_ms(lately),
            journal_fill=round(engine.journal.fill, 4),
            lease_room_nano=sum(available for _, _, available, _ in engine.leases.held()),
            queues=queues[:MAX_QUEUES],
        )

    def _subject(self, name: str) -> tuple[str, str] | None:
        """(organisation, subject) of a bulkhead; None where no config names it any more."""
        if name.startswith(_ROUTE):
            route = self._engine.holder.fragments["routes"].get(name[len(_ROUTE) :])
            return (route.organisation, f"route:{route.name}") if isinstance(route, RouteFragment) else None
        place = place_of(name)
        return (place.organisation, f"target:{place.provider}/{place.endpoint}/{place.model}") if place is not None else None


def _since(now: dict[int, int], before: dict[int, int]) -> dict[int, int]:
    """What was counted after ``before``; of a bulkhead that began anew, everything."""
    return {index: count - before.get(index, 0) for index, count in now.items() if count > before.get(index, 0)}


def _p95_ms(waits: dict[int, int]) -> float | None:
    found = histogram.quantile(waits, 0.95)
    return None if found is None else round(found / 1000, 1)
