"""One replica over all its lives: checked, started, warmed up, watched, drained, started again after a pause that grows.

What it reports is what is so: it is ready when a generation succeeded, not when a port is open; and failed with the reason and the last
lines of its log, whoever noticed first: the process that ended, the probe, or the watch over its tokens.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import msgspec

from apps.agent import artifacts, failures, hub
from apps.agent.artifacts import Unfit
from apps.agent.drivers.protocol import Driver, Running
from apps.agent.engines import ENGINES
from apps.agent.engines.protocol import Engine, EngineSettings, Launch, Place
from apps.agent.failures import Broken, StartError
from apps.agent.probe import Probe
from apps.agent.reconcile import Actual, Hold
from apps.agent.watching import Pace, Vitals, Watch
from apps.contracts.fleet import ReplicaSpec, launch_digest
from apps.contracts.fleet_facts import MAX_LINES, EngineMetrics, Failure, PhaseTimings, Reason, ReplicaReport, ReplicaState

logger = logging.getLogger(__name__)

FINAL: frozenset[Reason] = frozenset({"argument_refused", "engine_unknown", "recipe_unknown", "artifact_outside"})
"""Nothing that happens on the machine makes these right: they are not tried again by themselves."""
PASSED_ON = (
    "PATH", "HOME", "USER", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH", "CUDA_HOME", "HF_HOME", "SSL_CERT_FILE", "SSL_CERT_DIR",
)  # fmt: skip
"""What every engine sees of the agent's environment. Nothing else, unless the worker's settings and the order both name it."""


@dataclass(slots=True)
class Surroundings:
    """What all replicas of a worker share. state: the agent's directory. driver: where engines run. control_ms: the control
    plane's clock. changed: called when a replica has something new to say; load_seen: when its engine's figures were read."""

    state: Path
    settings: EngineSettings
    client: httpx.AsyncClient
    driver: Driver
    gpu_memory: Callable[[], Mapping[str, int | None]]
    control_ms: Callable[[], int]
    changed: Callable[[], None]
    load_seen: Callable[[], None]
    pace: Pace = field(default_factory=Pace)


class Replica:
    """Lives on one event loop. ``actual`` and ``report`` may be asked at any time."""

    def __init__(self, spec: ReplicaSpec, around: Surroundings) -> None:
        self.spec = spec
        self.around = around
        self.state: ReplicaState = "pending"
        self.reason: Reason = ""
        self.message = ""
        self.since_ms = _now_ms()
        self.launch = ""
        self.port = 0
        self.starts = 0
        self.failures = 0
        self.retry_at: float | None = None
        self.given_up = False
        self.exit_code: int | None = None
        self.vitals = Vitals()
        self.phases = PhaseTimings()
        self.lines: list[str] = []
        self.last_failure: Failure | None = None
        self.process: Running | None = None
        self._how: Launch | None = None
        self._gpus: tuple[str, ...] = ()
        self._gpu_memory: int | None = None
        self.download: tuple[int, int] | None = None
        """(bytes that are there, in all) of the model that comes from a hub."""
        self._leaving = asyncio.Event()
        self._left = threading.Event()
        """The same for a download's thread."""
        self._now = asyncio.Event()
        self._leave_by = 0.0
        self._phase_began = 0.0
        self._life: asyncio.Task[None] | None = None

    # What is asked of it

    def start(self, spec: ReplicaSpec, port: int) -> None:
        """Begin a life; ``hold`` must be ``none``."""
        if launch_digest(spec) != self.launch:
            self.failures, self.starts, self.given_up = 0, 0, False
        self._begin(spec, port)
        self.exit_code, self.phases, self.lines, self.vitals = None, PhaseTimings(), [], Vitals()
        self.starts += 1
        self._say("pending")
        self._life = asyncio.create_task(self._live(None), name=f"replica {spec.replica}")

    def adopt(self, spec: ReplicaSpec, process: Running) -> None:
        """Take over an engine that an earlier agent started."""
        meta = process.meta
        self._begin(spec, int(meta["port"]))
        self.launch, self.starts = str(meta["launch"]), int(meta["starts"])
        self.phases = msgspec.convert(meta.get("phases", {}), PhaseTimings)
        self._how = Launch(**{**meta["how"], "argv": tuple(meta["how"]["argv"])})
        self._say("ready" if meta.get("ready") else "starting")
        self._life = asyncio.create_task(self._live(process), name=f"replica {spec.replica}")

    def order(self, spec: ReplicaSpec) -> None:
        """Learn what may change while it runs; an earlier end of a drain counts from now on."""
        if launch_digest(spec) == launch_digest(self.spec):
            self.spec = spec
            if self.hold == "draining" and spec.drain_by_ms is not None:
                self._leave_by = min(self._leave_by, self._monotonic(spec.drain_by_ms))

    def drain(self, seconds: float, by_ms: int | None) -> None:
        self._leave_by = time.monotonic() + seconds if by_ms is None else self._monotonic(by_ms)
        if self.state == "ready":
            self._say("draining")
        self._left.set()
        self._leaving.set()

    def stop(self) -> None:
        self._leave_by = 0.0
        self._now.set()
        self._left.set()
        self._leaving.set()

    def waits(self, reason: Reason, message: str, *, final: bool) -> None:
        """It shall run, and the machine does not allow it now. Only said while nothing runs."""
        if self.hold == "none" and (self.state, self.reason, self.message) != (wanted := "failed" if final else "pending", reason, message):
            self._say("failed" if wanted == "failed" else "pending", reason, message)

    async def gone(self) -> None:
        """Return when its life is over."""
        if self._life is not None:
            await asyncio.wait({self._life})

    async def leave(self) -> None:
        """Let go of the engine without ending it: the next agent takes it over, or its guardian ends it."""
        self._left.set()
        if self._life is not None:
            self._life.cancel()
            await asyncio.wait({self._life})
        if self.process is not None:
            self.process.leave()

    def forget(self) -> None:
        if self.process is not None:
            self.process.remove()

    # What it says of itself

    @property
    def hold(self) -> Hold:
        if self._life is None or self._life.done():
            return "none"
        if self._now.is_set() or self.state == "stopping":
            return "stopping"
        return "draining" if self._leaving.is_set() else "running"

    @property
    def metrics(self) -> EngineMetrics | None:
        return self.vitals.metrics

    @property
    def actual(self) -> Actual:
        return Actual(
            self.spec.replica,
            self.launch,
            self.hold,
            self._gpus,
            self._gpu_memory,
            self.port,
            self.retry_at,
            self.given_up,
            self.starts > 0,
            self.spec.drain_seconds,
        )

    def report(self, *, lines: bool) -> ReplicaReport:
        serving = self.state in ("warming", "ready", "draining")
        retry_in = None if self.retry_at is None or self.state != "failed" else self.retry_at - time.monotonic()
        return ReplicaReport(
            replica=self.spec.replica,
            deployment=self.spec.deployment,
            state=self.state,
            since_ms=self.since_ms,
            launch=self.launch,
            reason=self.reason,
            message=self.message[:2_000],
            url=f"http://{_bracketed(self.process.address)}:{self.port}" if serving and self.process is not None else "",
            model=self._how.model if self._how is not None else self.spec.model,
            engine=self.spec.engine,
            engine_version=self.vitals.version,
            pid=(self.process.pid or None) if self.process is not None and self.hold != "none" else None,
            gpus=list(self._gpus),
            starts=self.starts,
            retry_at_ms=None if retry_in is None else _now_ms() + round(retry_in * 1000),
            exit_code=self.exit_code,
            healthy_at_ms=self.vitals.healthy_at_ms,
            phases=self.phases,
            downloaded=self.download[0] if self.download is not None and self.state == "downloading" else None,
            download_bytes=self.download[1] if self.download is not None and self.state == "downloading" else None,
            metrics=self.metrics if serving else None,
            last_failure=self.last_failure,
            lines=self.lines if lines or self.state == "failed" else [],
        )

    # A life

    def _begin(self, spec: ReplicaSpec, port: int) -> None:
        self.spec, self.port, self.launch = spec, port, launch_digest(spec)
        self._gpus, self._gpu_memory = tuple(spec.gpus), spec.gpu_memory
        self._leaving, self._now, self._left = asyncio.Event(), asyncio.Event(), threading.Event()
        self.retry_at, self.download = None, None

    async def _live(self, process: Running | None) -> None:
        killed_before = _oom_kills()
        try:
            if process is None:
                process = await self._started()
            self.process = process
            if process is not None:
                await self._until_it_leaves(process)
                if not self._leaving.is_set():
                    lines = await asyncio.to_thread(process.lines, MAX_LINES)
                    raise Broken(*failures.why(process.code, process.error, lines, oom_kills=_oom_kills() - killed_before))
            if self.state != "stopped":
                self._say("stopped")
        except Unfit as unfit:
            await self._failed(unfit.reason, unfit.message, final=unfit.reason in FINAL, slow=True)
        except Broken as broken:
            await self._failed(broken.reason, broken.message)
        except (StartError, OSError) as error:
            space = isinstance(error, OSError) and error.errno == 28
            await self._failed("no_space" if space else "start_failed", f"It could not be started: {error}", slow=space)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # a fault of the agent's own must be seen, and must not leave an engine behind
            logger.exception("replica %s", self.spec.replica)
            await self._failed("start_failed", f"The agent failed: {type(error).__name__}: {error}")

    async def _started(self) -> Running | None:
        """None: it was told to leave before anything ran."""
        spec, around = self.spec, self.around
        if self.process is not None:
            self.process.remove()
            self.process = None
        engine = ENGINES.get(spec.engine)
        if engine is None:
            raise Unfit("engine_unknown", f"This agent knows no engine {spec.engine!r}. It knows: {', '.join(ENGINES)}. Upgrade the agent.")
        if spec.artifact.source == "hub" and not around.settings.hub:
            raise Unfit("artifact_outside", "This worker takes no models from a hub (BULKHEAD_AGENT_HUB). Name a path.")
        self._say("downloading")
        began = time.monotonic()
        path = await asyncio.to_thread(artifacts.checked, spec.artifact, around.settings.models)
        memory = {gpu: around.gpu_memory().get(gpu) for gpu in spec.gpus}
        if spec.artifact.source == "hub":
            _launchable(engine, spec, Place(around.driver.listen, self.port, path, memory, spec.drain_seconds), around.settings)
            path = await self._fetched()
        if spec.artifact.source != "none":
            self.phases = msgspec.structs.replace(self.phases, downloading=round(time.monotonic() - began, 3))
        if self._leaving.is_set():
            return None
        how = engine.launch(spec, Place(around.driver.listen, self.port, path, memory, spec.drain_seconds), around.settings)
        self._how = how
        self._say("starting")
        self._phase_began = time.monotonic()
        return await around.driver.start(argv=how.argv, environment=self._environment(how), meta=self._meta(ready=False))

    async def _fetched(self) -> str:
        """The model's directory, whole and judged; "" where the replica was told to leave meanwhile. In a thread of its own: it may take
        hours, and nobody else shall wait for it."""
        artifact, folder = self.spec.artifact, self.around.settings.hub_dir or self.around.state / "hub"

        def came(there: int, total: int) -> None:
            self.download = (there, total)

        executor = ThreadPoolExecutor(1, thread_name_prefix="hub")
        left = self._left
        try:
            work = asyncio.get_running_loop().run_in_executor(
                executor, lambda: artifacts.judged(artifact, hub.fetched(artifact, folder, progress=came, left=left))
            )
            return await work
        except hub.Left:
            return ""
        finally:
            executor.shutdown(wait=False)

    def _environment(self, how: Launch) -> dict[str, str]:
        refused = sorted(set(self.spec.environment) - self.around.settings.variables)
        if refused:
            allowed = ", ".join(sorted(self.around.settings.variables)) or "none"
            raise Unfit(
                "argument_refused", f"The worker passes on no {refused[0]}. BULKHEAD_AGENT_ENGINE_ENV on the worker allows: {allowed}."
            )
        names = (*PASSED_ON, *self.spec.environment)
        found = {name: os.environ[name] for name in names if name in os.environ}
        if self.spec.artifact.source == "hub":
            found["HF_HUB_OFFLINE"] = "1"  # its files are there: an engine asks nobody for others
        return {**found, "CUDA_VISIBLE_DEVICES": ",".join(self.spec.gpus), "PYTHONUNBUFFERED": "1", **how.environment}

    def _meta(self, *, ready: bool) -> dict[str, Any]:
        how = self._how._asdict() if self._how is not None else {}
        how = {**how, "argv": [], "environment": {}}
        return {
            "spec": self.spec.plain(), "port": self.port, "launch": self.launch, "starts": self.starts, "ready": ready, "how": how,
            "phases": msgspec.to_builtins(self.phases),
        }  # fmt: skip

    async def _until_it_leaves(self, process: Running) -> None:
        """Carry it to ready and watch it; return when nothing of it is left. Raises Broken."""
        assert self._how is not None
        url = f"http://{_bracketed(process.near)}:{self.port}"
        probe = Probe(self.around.client, url, self.spec, self._how)
        watch = Watch(probe, lambda: self.spec, self._how, self.vitals, self.around.pace)
        work = asyncio.create_task(self._serve(process, watch))
        gone, leaving = asyncio.create_task(process.exited.wait()), asyncio.create_task(self._leaving.wait())
        try:
            await asyncio.wait({work, gone, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not gone.done() and work.done():
                await work
            work.cancel()
            await asyncio.wait({work})
            if not gone.done():
                await self._depart(process, watch)
        except Exception:  # whatever went wrong, no engine stays behind that nobody watches
            self.lines = await asyncio.to_thread(process.lines, MAX_LINES)
            self._say("stopping")
            await process.end(min(2.0, self.around.pace.grace))
            raise
        finally:
            for task in (work, gone, leaving):
                task.cancel()
            if process.exited.is_set():
                self.exit_code = process.code

    async def _serve(self, process: Running, watch: Watch) -> None:
        if self.state != "ready":
            await watch.until_ready(self.state, self._say)
            await watch.ask_version()
            self.lines = await asyncio.to_thread(process.lines, MAX_LINES)
            self._say("ready")
            await asyncio.to_thread(process.remember, {**process.meta, **self._meta(ready=True)})
        await watch.keep(seen=self.around.load_seen, steady=self._steady)

    def _steady(self) -> None:
        self.failures = 0

    async def _depart(self, process: Running, watch: Watch) -> None:
        """Let it finish what runs, as long as it may; then end it."""
        assert self._how is not None
        running: int | None = 0
        if self.state in ("ready", "draining") and not self._now.is_set():
            self._say("draining")
            running = await watch.finished(lambda: self._leave_by, process.exited, self._now)
        left = max(0.0, self._leave_by - time.monotonic())
        self._say("stopping")
        # Where it tells nothing of what runs, only SIGTERM can let it finish.
        grace = left if self._how.finishes and running is None else 0.0
        # What would not end by the deadline is not waited for a second time.
        await process.end(min(1.0, self.around.pace.grace) if running else max(grace, self.around.pace.grace))
        if running:
            self._say("stopped", "drain_deadline", f"{running} requests still ran at the end of the drain and were cut off.")
        else:
            self._say("stopped")

    async def _failed(self, reason: Reason, message: str, *, final: bool = False, slow: bool = False) -> None:
        if self.process is not None:
            self.exit_code = self.process.code
            self.lines = await asyncio.to_thread(self.process.lines, MAX_LINES) or self.lines
        if self._leaving.is_set():  # it was to go anyway
            self._say("stopped", reason, message)
            return
        policy = self.spec.restart
        self.failures += 1
        self.given_up = final or bool(policy.attempts and self.failures >= policy.attempts)
        if self.given_up:
            self.retry_at = None
        else:
            pause = min(policy.most_seconds, policy.first_seconds * 2.0 ** min(self.failures - 1, 30))
            pause = policy.most_seconds if slow else pause
            self.retry_at = time.monotonic() + pause * random.uniform(0.75, 1.0)
        self.last_failure = Failure(
            reason=reason, message=message[:2_000], at_ms=_now_ms(), starts=self.starts, exit_code=self.exit_code, lines=self.lines
        )
        self._say("failed", reason, message)

    def _say(self, state: ReplicaState, reason: Reason = "", message: str = "") -> None:
        now = time.monotonic()
        if state != self.state:
            if self.state in ("starting", "loading", "warming") and state in ("loading", "warming", "ready", "failed"):
                self.phases = msgspec.structs.replace(self.phases, **{self.state: round(now - self._phase_began, 3)})
            self._phase_began = now
            self.since_ms = _now_ms()
            level = logging.WARNING if state == "failed" else logging.INFO
            logger.log(
                level, "replica %s of %s: %s%s", self.spec.replica, self.spec.deployment, state, f" ({reason}) {message}" if reason else ""
            )
        self.state, self.reason, self.message = state, reason, message
        self.around.changed()

    def _monotonic(self, control_ms: int) -> float:
        return time.monotonic() + (control_ms - self.around.control_ms()) / 1000


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _launchable(engine: Engine, spec: ReplicaSpec, place: Place, settings: EngineSettings) -> None:
    """Raises Unfit where the engine could not be started whatever its model holds: said before hours are spent on fetching that."""
    try:
        engine.launch(spec, place, settings)
    except Unfit as unfit:
        if unfit.reason in ("engine_missing", "recipe_unknown", "argument_refused"):
            raise
    except (OSError, ValueError):
        pass  # it looked at files that are not there yet


def _oom_kills() -> int:
    """Processes that the kernel has killed for memory since the machine started; 0 where it does not say."""
    try:
        for line in Path("/proc/vmstat").read_text().splitlines():
            if line.startswith("oom_kill "):
                return int(line.split()[1])
    except (OSError, ValueError):
        pass
    return 0


def _bracketed(address: str) -> str:
    return f"[{address}]" if ":" in address else address
