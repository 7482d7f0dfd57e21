"""What a process has learned of a target: its breaker, how quick it is, how much runs there now, until when it wants to be left alone.

It outlives config versions: compiled targets come and go, and find their state again by key (organisation/provider/endpoint/model).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, cast

from apps.contracts.snapshot import BreakerPolicy
from apps.proxy.breaker import Breaker, Breakers, Forced
from apps.proxy.health import Health
from apps.proxy.hedge import HedgeBudget
from apps.proxy.retries import RetryBudgets
from apps.proxy.slots import Bulkheads, Slots
from apps.proxy.verdict import MAX_PAUSE_SECONDS, Verdict

if TYPE_CHECKING:
    from apps.proxy.attempt import Attempt
    from apps.proxy.fleet.replicas import Fleet
    from apps.proxy.runtime import CompiledRoute, CompiledTarget, Runtime


class TargetState:
    """``now`` is the loop's time in seconds everywhere."""

    __slots__ = ("_good", "_latencies", "_time", "breaker", "health", "resting_until", "slots")

    def __init__(self, breaker: Breaker, time: Callable[[], float]) -> None:
        self.breaker = breaker
        self.health = Health()
        self.slots: Slots | None = None
        """None: no cap."""
        self.resting_until = 0.0
        """The target asked to be left alone until then (429, or 503 with Retry-After)."""
        self._time = time
        self._latencies: list[int] = []
        """Of attempts that succeeded since the last ``drain``, nanoseconds: added up many at a time, off the requests' path."""
        self._good = 0

    def started(self) -> None:
        self.health.in_flight += 1

    def succeeded(self, attempt: Attempt) -> None:
        self.health.in_flight -= 1
        self._latencies.append((attempt.first_token_ns or attempt.first_byte_ns) - attempt.sent_ns)
        breaker = self.breaker
        if breaker.row or breaker.state != "closed":
            breaker.success(self._time(), _began(attempt))
        else:
            self._good += 1

    def drain(self, now: float) -> None:
        """Tell health and breaker of what went well."""
        latencies, self._latencies = self._latencies, []
        if latencies:
            self.health.first_tokens(latencies, now)
        good, self._good = self._good, 0
        if good:
            self.breaker.successes(good, now)

    def failed(self, attempt: Attempt, verdict: Verdict) -> None:
        now = self._time()
        self.drain(now)
        self.health.finished(now)
        if verdict.pause:
            self.resting_until = max(self.resting_until, now + min(verdict.pause, MAX_PAUSE_SECONDS))
        if verdict.counts:
            self.health.failed(now)
            self.breaker.failure(now, _began(attempt))
        else:
            self.breaker.release(now, _began(attempt))

    def ended(self, attempt: Attempt) -> None:
        """Without evidence: the app left, another attempt was quicker, or the proxy itself failed."""
        now = self._time()
        self.health.finished(now)
        self.breaker.release(now, _began(attempt))


class States:
    """All targets' states of this process, and what routes keep between requests."""

    def __init__(self, time: Callable[[], float], breakers: Breakers) -> None:
        self._time = time
        self.breakers = breakers
        self.retries = RetryBudgets()
        self.bulkheads = Bulkheads()
        self._targets: dict[str, TargetState] = {}
        self._hedges: dict[str, HedgeBudget] = {}
        self._forced: dict[str, Forced] = {}
        self._in_config: dict[str, CompiledTarget] = {}
        self.fleet: Fleet | None = None
        """Deployments that targets stand for; None: there are none."""

    def find(self, key: str) -> CompiledTarget | None:
        """A target of the config in force, for probing it; None when no route has it any more."""
        return self._in_config.get(key)

    def attach(self, runtime: Runtime) -> None:
        """Gives every route and target of a new config what this process knows of it. Called before the config is swapped in."""
        seen: set[int] = set()
        forced: dict[str, Forced] = {}
        self._in_config = {}
        for table in runtime.tables.values():
            for route in table.values():
                if id(route) not in seen:
                    seen.add(id(route))
                    self._attach_route(route)
                    for key, held in route.forced.items():
                        if forced.get(key) != "open":
                            forced[key] = cast(Forced, held)
        if self.fleet is not None:
            self.fleet.keep({"/".join(target.deployment) for target in self._in_config.values() if target.deployment is not None})
        self.breakers.keep(self._in_config)
        self.bulkheads.keep({*self._in_config, *(f"route {route.id}" for table in runtime.tables.values() for route in table.values())})
        for key in [key for key, state in self._targets.items() if key not in self._in_config and not state.health.in_flight]:
            del self._targets[key]
        self._force(forced)

    def _force(self, forced: dict[str, Forced]) -> None:
        """What people hold open or closed from now on; what they let go decides by itself again."""
        now = self._time()
        for key in self._forced.keys() - forced.keys():
            self.breakers.force(key, "", now)
        for key, held in forced.items():
            self.breakers.force(key, held, now)
        self._forced = forced

    def _attach_route(self, route: CompiledRoute) -> None:
        settings = route.resilience
        route.retries = self.retries.of(route.id, settings.retry_budget_percent)
        limit = settings.max_concurrency
        route.slots = self.bulkheads.of(f"route {route.id}", limit, settings.queue_size) if limit else None
        for target in route.every_target:
            state = target.state = self.of(target.key, settings.breaker)
            self._in_config[target.key] = target
            if target.deployment is not None and self.fleet is not None:
                target.replicas = self.fleet.of(*target.deployment, settings.breaker)
            limit = target.max_concurrency
            state.slots = self.bulkheads.of(target.key, limit, settings.queue_size) if limit else None

    def of(self, key: str, policy: BreakerPolicy) -> TargetState:
        breaker = self.breakers.of(key, policy)
        found = self._targets.get(key)
        if found is None:
            found = self._targets[key] = TargetState(breaker, self._time)
        found.breaker = breaker
        return found

    def items(self) -> Iterable[tuple[str, TargetState]]:
        """Every target that was ever in this process's config, by key."""
        return self._targets.items()

    def hedges(self, route: CompiledRoute) -> HedgeBudget:
        found = self._hedges.get(route.id)
        if found is None:
            found = self._hedges[route.id] = HedgeBudget(route.resilience.hedge_share)
        found.share = route.resilience.hedge_share
        return found

    def drain(self, now: float) -> None:
        for state in self._targets.values():
            if state._latencies or state._good:
                state.drain(now)

    def view(self) -> list[dict[str, object]]:
        """For the admin port and heartbeats."""
        now = self._time()
        rows: list[dict[str, object]] = []
        for label, state in sorted(self._targets.items()):
            breaker = state.breaker
            p95 = state.health.p95()
            wait = breaker.retry_at() - now  # endless while a person holds it open
            rows.append(
                {
                    "target": label,
                    "breaker": breaker.forced or breaker.state,
                    "retry_in_ms": None if wait == math.inf else max(0, round(wait * 1000)),
                    "resting_ms": max(0, int((state.resting_until - now) * 1000)),
                    "running": state.slots.running if state.slots is not None else None,
                    "waiting": state.slots.waiting if state.slots is not None else None,
                    "p95_first_token_ms": None if p95 is None else round(p95 * 1000, 1),
                }
            )
        return rows


def _began(attempt: Attempt) -> float:
    """When it was sent, in the loop's seconds: evidence older than a breaker's last change says nothing of it."""
    return attempt.sent_ns / 1e9 if attempt.sent_ns else math.inf
