"""Whether an engine is of use, asked of itself: is it ready, does it serve, do tokens come, what still runs.

Ready is a generation that succeeded, not an open port. While it serves two eyes watch it: a generation now and then, and whether tokens
come while requests run.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from apps.agent.engines.metrics import Reading
from apps.agent.engines.protocol import Launch
from apps.agent.failures import Broken
from apps.agent.probe import Health, Probe
from apps.contracts.fleet import HealthPolicy, ReplicaSpec
from apps.contracts.fleet_facts import EngineMetrics, Reason, ReplicaState

logger = logging.getLogger(__name__)

STRANGE_ANSWERS = 5
WRITING = frozenset({"chat", "completions"})
"""Tasks whose progress is what is written; that of the others is what is read."""


@dataclass(frozen=True, slots=True)
class Pace:
    """Seconds. settle: between saying that it drains and counting what runs: proxies hear of it meanwhile. grace: from SIGTERM to SIGKILL.
    orphan: how long an engine goes on without its agent."""

    poll: float = 0.25
    watch: float = 1.0
    settle: float = 2.0
    grace: float = 10.0
    orphan: float = 30.0


@dataclass(slots=True)
class Vitals:
    """What an engine said last. healthy_at_ms: when it was last seen to serve; the Unix clock in milliseconds."""

    version: str | None = None
    metrics: EngineMetrics | None = None
    healthy_at_ms: int | None = None


class Watch:
    """Over one engine. spec: its order as it is now. vitals: written to."""

    def __init__(self, probe: Probe, spec: Callable[[], ReplicaSpec], how: Launch, vitals: Vitals, pace: Pace) -> None:
        self._probe = probe
        self._spec = spec
        self._how = how
        self._vitals = vitals
        self._pace = pace

    async def until_ready(self, phase: ReplicaState, say: Callable[[ReplicaState], None]) -> None:
        """Return once a generation succeeded and the warm-up is over. phase: which it is in; each that begins is said. Raises Broken."""
        spec, probe = self._spec(), self._probe
        health, warm = spec.health, spec.warm_up
        deadline = time.monotonic() + health.ready_seconds
        strange = failed = 0
        last = "it does not listen on its port"
        while True:
            found = await probe.health(min(5.0, health.timeout_seconds))
            if phase == "starting" and found in (Health.LOADING, Health.WELL):
                phase = "loading"
                say(phase)
            if found is Health.LOADING:
                last = "it listens and says that it is not ready"
            elif found is Health.STRANGE:
                strange += 1
                last = "what it answers is not HTTP"
                if strange >= STRANGE_ANSWERS:
                    raise Broken("not_an_engine", "What listens on its port does not speak HTTP. Is the command an engine's?")
            elif found is Health.WELL:
                if phase != "warming":
                    phase = "warming"
                    say(phase)
                problem = await probe.generate(max(health.timeout_seconds, 1.0), prompt_tokens=warm.prompt_tokens)
                if problem is None:
                    break
                failed += 1
                last = problem.sentence
                if failed >= health.failures:
                    reason: Reason = "token_refused" if problem.refused else "not_an_engine" if problem.strange else "serves_errors"
                    raise Broken(reason, f"It says that it is well, and {failed} generations in a row failed. {problem.sentence}")
            if time.monotonic() > deadline:
                raise Broken(
                    "never_ready", f"It was not ready within {health.ready_seconds:g} s: {last}. Give it longer, or look at its lines."
                )
            await asyncio.sleep(self._pace.poll)
        for _ in range(warm.requests - 1):
            await probe.generate(health.timeout_seconds, prompt_tokens=warm.prompt_tokens, output_tokens=warm.output_tokens)
        if await probe.open(health.timeout_seconds):
            raise Broken(
                "serves_anyone", "It answers calls without the token that it was told to demand. Correct its recipe, or replace it."
            )
        self._vitals.healthy_at_ms = _now_ms()

    async def ask_version(self) -> None:
        spec = self._spec()
        self._vitals.version = await self._probe.version(spec.health.timeout_seconds) or spec.engine_version or None

    async def keep(self, *, seen: Callable[[], None], steady: Callable[[], None]) -> None:
        """For as long as it serves. seen: called when its figures were read; steady: while it has served long enough for its past failures
        not to count. Raises Broken."""
        vitals, probe = self._vitals, self._probe
        reading = Reading(self._how.vocabulary)
        began = progressed = probed = time.monotonic()
        tokens: tuple[int | None, int | None] | None = None
        failed = 0
        while True:
            await asyncio.sleep(self._pace.watch)
            spec, now = self._spec(), time.monotonic()
            health = spec.health
            metrics = vitals.metrics = await self._read(reading, health)
            seen()
            if metrics is not None:
                written = (metrics.output_tokens, metrics.prompt_tokens)
                if not metrics.running:
                    progressed = now
                elif written != tokens:
                    progressed = now
                    flow = 0 if spec.tasks[0] in WRITING else 1
                    if tokens is not None and written[flow] != tokens[flow]:
                        vitals.healthy_at_ms, probed, failed = _now_ms(), now, 0
                tokens = written
                if written[0] is not None and now - progressed > health.stall_seconds:
                    raise Broken(
                        "stalled", f"{metrics.running} requests run, and for {now - progressed:.0f} s no token came. The engine hangs."
                    )
            if now - probed >= health.interval_seconds:
                problem = await probe.generate(health.timeout_seconds)
                probed = time.monotonic()
                if problem is None:
                    failed, vitals.healthy_at_ms = 0, _now_ms()
                else:
                    failed += 1
                    logger.warning("replica %s: probe %d of %d: %s", spec.replica, failed, health.failures, problem.sentence)
                    if failed >= health.failures:
                        well = await probe.health(min(5.0, health.timeout_seconds)) is Health.WELL
                        reason: Reason = "token_refused" if problem.refused else "serves_errors" if well else "unhealthy"
                        raise Broken(reason, f"{failed} generations in a row failed. {problem.sentence}")
            if not failed and now - began > spec.restart.settled_seconds:
                steady()

    async def finished(self, by: Callable[[], float], gone: asyncio.Event, hurry: asyncio.Event) -> int | None:
        """Wait until nothing runs: not beyond ``by`` (of time.monotonic), not once it is gone or somebody is in a hurry. How many requests
        run at the end of the wait; None: it does not tell."""
        reading = Reading(self._how.vocabulary)
        running: int | None = None
        quiet = 0
        settled = time.monotonic() + self._pace.settle
        while time.monotonic() < by() and not gone.is_set() and not hurry.is_set():
            found = await self._read(reading, self._spec().health)
            if found is not None:
                self._vitals.metrics = found
            running = None if found is None or found.running is None else found.running + (found.waiting or 0)
            over = time.monotonic() >= settled
            quiet = quiet + 1 if running == 0 and over else 0
            if quiet >= 2 or (running is None and over and self._how.finishes):
                break
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._pace.poll):
                    await hurry.wait()
        return running

    async def _read(self, reading: Reading, health: HealthPolicy) -> EngineMetrics | None:
        text = await self._probe.metrics(health.timeout_seconds)
        return None if text is None else reading.read(text, self._vitals.version, at_ms=_now_ms())


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
