"""The agent of one worker: four loops around one set of replicas. None of them needs the others to go on.

- *orders* hold a call open for what shall run, keep it on the disk, and wake the second;
- *reconciling* compares what shall run with what runs, and acts;
- *heartbeats* tell what is so, in time, when something changes and when an engine's load moves;
- *facts* look at the machine.

The control plane may be away for hours: the last order stands, on the disk too, and engines go on serving. A worker whose credential was
revoked keeps serving as well (proxies are told by the control plane, not by it) and says so in its log until it is joined anew.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import hashlib
import logging
import os
import signal
import time
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import Any

import httpx
import msgspec

from apps.agent.drivers import DRIVERS, Grounds
from apps.agent.gpus import Gpus, Seen
from apps.agent.host import host_facts, listening_ports
from apps.agent.link import BackOff, Link, LinkLost, Rejected
from apps.agent.load import broke, load_moved
from apps.agent.processes import read_json, write_json
from apps.agent.reconcile import Drain, Forget, Machine, Start, Stop, Wait, newer, reconcile
from apps.agent.replica import Replica, Surroundings
from apps.agent.settings import AgentSettings
from apps.agent.watching import Pace
from apps.contracts.early import Early
from apps.contracts.fleet import (
    EARLY_SECONDS,
    PROTOCOL,
    Acknowledgement,
    DesiredState,
    DesiredWant,
    Heartbeat,
    JoinRequest,
    LogTail,
    PreemptionNotice,
    ReplicaRefusal,
    ReplicaSpec,
)
from apps.contracts.fleet_facts import EngineMetrics, GpuFacts, HostFacts
from apps.contracts.identifiers import uuid7

logger = logging.getLogger(__name__)

VERSION = "0.1.0"
FACTS_SECONDS = 5.0
IDLE_SECONDS = 2.0
"""The longest pause between two looks at what to do: a GPU that comes back is noticed by then."""
PREEMPTION_SECONDS = 120
LOG_LINES = 500


class InUse(Exception):
    """Another agent works in this directory."""


class Refused(Exception):
    """The control plane will not have this worker; the message says what to do."""


class Agent:
    """``run`` returns when it was told to stop and everything is ended, or let go of."""

    def __init__(self, settings: AgentSettings, link: Link, gpus: Gpus, client: httpx.AsyncClient, pace: Pace | None = None) -> None:
        self.settings = settings
        self.link = link
        self.gpus = gpus
        self.boot = str(uuid7())
        self.desired: DesiredState | None = None
        self.replicas: dict[str, Replica] = {}
        self.seen = Seen([])
        self.host = HostFacts(hostname="", address=settings.address)
        self._sequence = 0
        self._skew_ms = 0.0
        self._told: dict[str, tuple[str, int]] = {}
        self._told_load: dict[str, EngineMetrics | None] = {}
        self._early = Early(EARLY_SECONDS, time.monotonic())
        self._wake = asyncio.Event()
        self._news = asyncio.Event()
        self._applied = asyncio.Event()
        self._ended = asyncio.Event()
        self._leave_engines = False
        self._lock: int | None = None
        self._joined = read_json(settings.state / "joined.json")
        """By which token it joined: a start with another one may join anew."""
        self._refused: list[ReplicaRefusal] = []
        self._heard_at = time.monotonic()
        self._heartbeat_seconds = 10.0
        self._goes_away = False
        self._preempted: PreemptionNotice | None = None
        pace = pace or Pace(orphan=float(settings.orphan_seconds))
        self.driver = DRIVERS[settings.driver](Grounds(settings.state, settings.address, settings.listen, pace.orphan))
        self._around = Surroundings(
            settings.state,
            settings.engines,
            client,
            self.driver,
            lambda: {gpu.uuid: gpu.memory_total for gpu in self.seen.gpus},
            self.control_ms,
            self._changed,
            self._load_seen,
            pace,
        )

    # From outside

    def stop(self, *, leave_engines: bool = False) -> None:
        """End. leave_engines: for the next agent, which has ``orphan_seconds`` to come."""
        self._leave_engines = leave_engines
        self._ended.set()

    def preempt(self) -> None:
        """The machine will be taken away."""
        if not self._goes_away:
            self._goes_away = True
            self._preempted = PreemptionNotice(at_ms=self.control_ms() + PREEMPTION_SECONDS * 1000, source="signal")
            self._news.set()

    def control_ms(self) -> int:
        """The control plane's clock, as far as it is known."""
        return round(time.time() * 1000 - self._skew_ms)

    async def run(self) -> None:
        """Raises InUse, Refused, OSError."""
        state = self.settings.state
        state.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chmod(state, 0o700)
        self._lock = _locked(state / "agent.lock")
        loops: list[asyncio.Task[None]] = []
        try:
            await self._look()
            await self._recover()
            work: list[Coroutine[Any, Any, None]] = [self._facts(), self._reconciling(), self._linked()]
            loops = [asyncio.create_task(one) for one in work]
            ended = asyncio.create_task(self._ended.wait())
            done, _ = await asyncio.wait([*loops, ended], return_when=asyncio.FIRST_COMPLETED)
            for one in done - {ended}:
                one.result()  # a loop ends only by an error
        finally:
            for one in loops:
                one.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            await self._leave()
            os.close(self._lock)

    # What was there before

    async def _recover(self) -> None:
        """The last order, and the engines of the agent before this one: taken over where they run, cleared away where they do not."""
        self.desired = _order_kept(self.settings.state)
        kept = set()
        for process in await self.driver.left():
            spec = _spec_of(process.meta)
            if spec is None or spec.replica in self.replicas:
                await process.end(0)
                await asyncio.to_thread(process.remove)
                continue
            replica = self.replicas[spec.replica] = Replica(spec, self._around)
            replica.adopt(spec, process)
            kept.add(process.mark)
            logger.info("took over replica %s of %s", spec.replica, spec.deployment)
        strays = await self.driver.sweep(kept)
        if strays:
            logger.warning("ended %d processes that an earlier agent had left behind", strays)

    # What to do

    def _changed(self) -> None:
        self._wake.set()
        self._news.set()

    def _load_seen(self) -> None:
        """An engine's figures were read: what a scale decision hangs on is told before its time, coalesced with what else is new."""
        now = {name: replica.metrics for name, replica in self.replicas.items() if replica.state == "ready"}
        if load_moved(self._told_load, now) and not self._news.is_set() and self._early.take(time.monotonic()):
            self._news.set()

    async def _reconciling(self) -> None:
        while True:
            self._wake.clear()
            self.carry_out()
            now = time.monotonic()
            due = [replica.retry_at - now for replica in self.replicas.values() if replica.retry_at is not None]
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.02, min([IDLE_SECONDS, *due]))):  # wait_for may swallow a cancellation (3.11)
                    await self._wake.wait()
            await asyncio.sleep(0.02)  # several changes that come together are one look

    def carry_out(self) -> None:
        """One look at what shall be and what is, and what follows from it."""
        if self.desired is None:
            return
        specs = {spec.replica: spec for spec in reversed(self.desired.replicas)}
        for name, replica in self.replicas.items():
            if name in specs:
                replica.order(specs[name])
        gpus = {gpu.uuid: gpu.memory_total for gpu in self.seen.gpus}
        actual = {name: replica.actual for name, replica in self.replicas.items()}
        refused = []
        for action in reconcile(self.desired, actual, Machine(gpus, listening_ports(), self.settings.ports), time.monotonic()):
            match action:
                case Start(spec, port):
                    self._replica(spec).start(spec, port)
                case Drain(name, seconds, by_ms):
                    self.replicas[name].drain(seconds, by_ms)
                case Stop(name):
                    self.replicas[name].stop()
                case Forget(name):
                    self.replicas.pop(name).forget()
                    self._news.set()
                case Wait(name, reason, message, final):
                    self._replica(specs[name]).waits(reason, message, final=final)
                    if final:
                        refused.append(ReplicaRefusal(replica=name, reason=reason, message=message))
        self._refused = refused
        self._applied.set()

    def _replica(self, spec: ReplicaSpec) -> Replica:
        found = self.replicas.get(spec.replica)
        if found is None:
            found = self.replicas[spec.replica] = Replica(spec, self._around)
        return found

    # The machine

    async def _facts(self) -> None:
        while True:
            await asyncio.sleep(FACTS_SECONDS)
            self._keep_directory()
            await self._look()

    def _keep_directory(self) -> None:
        """Where somebody deleted the directory below a running agent, what its next start needs is written again. Raises InUse."""
        state = self.settings.state
        if self._lock is not None and not _held(state / "agent.lock", self._lock):
            try:
                state.mkdir(mode=0o700, parents=True, exist_ok=True)
                fresh = _locked(state / "agent.lock")
                os.close(self._lock)
                self._lock = fresh
                if self.link.credential.joined:
                    self.link.credential.write()
                    write_json(state / "joined.json", self._joined)
                if self.desired is not None:
                    write_json(state / "desired.json", self.desired.plain())
            except OSError as error:
                logger.error("%s was deleted and cannot be made again: %s", state, error)
            else:
                logger.warning("%s was deleted below this agent: credential and order are written again", state)

    async def _look(self) -> None:
        before = self.seen.gpus
        self.seen = await asyncio.to_thread(self.gpus.seen)
        self.host = await asyncio.to_thread(host_facts, self.settings, self.seen.problem)
        if {gpu.uuid for gpu in self.seen.gpus} != {gpu.uuid for gpu in before}:
            self._wake.set()
        if broke(before, self.seen.gpus):
            self._news.set()

    async def _gpus(self) -> list[GpuFacts]:
        """With the replica that each process belongs to."""
        gpus = self.seen.gpus
        if not any(gpu.processes for gpu in gpus):
            return gpus
        held = {
            replica.process.pid: name
            for name, replica in self.replicas.items()
            if replica.process is not None and replica.process.pid and replica.hold != "none"
        }
        owners = await asyncio.to_thread(_owners, held)
        return [
            gpu
            if not gpu.processes
            else msgspec.structs.replace(
                gpu, processes=[msgspec.structs.replace(one, replica=owners.get(one.pid, "")) for one in gpu.processes]
            )
            for gpu in gpus
        ]

    # The link

    async def _linked(self) -> None:
        if not self.link.credential.joined:
            await self._join()
        await asyncio.gather(self._heartbeats(), self._orders())

    async def _join(self) -> None:
        settings, back_off = self.settings, BackOff()
        if not settings.token:
            raise Refused(
                f"This worker has not joined {settings.control}: make a join token on its page Fleet, and start with BULKHEAD_AGENT_TOKEN."
            )
        while True:
            request = JoinRequest(
                protocol=PROTOCOL,
                token=settings.token,
                secret_digest="0" * 64,
                name=settings.name,
                agent_version=VERSION,
                sent_at_ms=_now_ms(),
                host=self.host,
                gpus=self.seen.gpus,
            )
            try:
                answer = await self.link.join(request)
            except LinkLost as error:
                logger.warning("cannot join yet: %s", error)
                await asyncio.sleep(back_off.pause())
                continue
            except Rejected as error:
                if error.fatal:
                    raise Refused(f"{settings.control} refuses this worker: {error.refused.message} ({error.refused.code})") from None
                await asyncio.sleep(back_off.pause(error.refused.retry_seconds))
                continue
            self._joined = {"token": _digest(settings.token), "control": settings.control, "name": answer.name}
            write_json(settings.state / "joined.json", self._joined)
            self._heartbeat_seconds = answer.heartbeat_seconds
            logger.info("joined %s as %s", settings.control, answer.name)
            return

    async def _heartbeats(self) -> None:
        back_off = BackOff()
        while True:
            self._news.clear()
            try:
                await self.beat()
                back_off.reset()
                pause = self._heartbeat_seconds
            except LinkLost as error:
                pause = back_off.pause()
                logger.warning("no heartbeat got through: %s; tries again in %.1f s; engines go on", error, pause)
            except Rejected as error:
                pause = await self._turned_away(error, back_off)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(max(0.1, pause)):
                    await self._news.wait()
            await asyncio.sleep(0.1)

    async def beat(self) -> None:
        """One heartbeat and what its answer asks for. Raises LinkLost, Rejected."""
        if self._preempted is not None:
            await self.link.preempted(self._preempted)
            self._preempted = None
            logger.warning("told the control plane that this machine goes away")
        self._sequence += 1
        gpus = await self._gpus()  # before the rest: replicas come and go meanwhile
        loads = {name: replica.metrics for name, replica in self.replicas.items()}
        states: dict[str, tuple[str, int]] = {name: (replica.state, replica.since_ms) for name, replica in self.replicas.items()}
        beat = Heartbeat(
            protocol=PROTOCOL,
            agent_version=VERSION,
            boot=self.boot,
            sequence=self._sequence,
            sent_at_ms=_now_ms(),
            host=self.host,
            gpus=gpus,
            replicas=[replica.report(lines=self._told.get(name) != states[name]) for name, replica in self.replicas.items()],
            epoch=self.desired.epoch if self.desired is not None else 0,
            applied=self.desired.sequence if self.desired is not None else 0,
            link_lost_seconds=max(0.0, round(time.monotonic() - self._heard_at - self._heartbeat_seconds, 1)),
        )
        began = time.time() * 1000
        answer = await self.link.heartbeat(beat)
        self._skew_ms = (began + time.time() * 1000) / 2 - answer.now_ms
        self._told, self._told_load = states, loads
        self._heard_at = time.monotonic()
        self._heartbeat_seconds = min(60.0, max(0.1, answer.heartbeat_seconds))
        self._early.seconds = max(0.1, answer.early_seconds)
        if answer.rotate:
            await self.link.rotate()
            logger.info("took a new credential")
        for name in answer.logs_of[:20]:
            process = self.replicas[name].process if name in self.replicas else None
            if process is not None:
                lines = await asyncio.to_thread(process.lines, LOG_LINES)
                await self.link.logs(LogTail(replica=name, at_ms=_now_ms(), lines=lines))

    async def _turned_away(self, error: Rejected, back_off: BackOff) -> float:
        """Seconds until the next try. A credential that is worth nothing is replaced where a token that was not used yet is at hand."""
        code = error.refused.code
        if code in ("credential_unknown", "credential_revoked"):
            used = self._joined.get("token")
            if self.settings.token and _digest(self.settings.token) != used:
                self.link.credential.forget()
                await self._join()
                return 0.0
            logger.error("%s: engines go on serving; join anew with a fresh token: %s", code, error.refused.message)
        elif code == "boot_replaced":
            logger.error("another agent reports under this worker's credential: %s", error.refused.message)
        else:
            logger.warning("heartbeat refused: %s", error)
        return max(back_off.pause(error.refused.retry_seconds), 5.0 if code != "busy" else 0.0)

    async def _orders(self) -> None:
        back_off = BackOff()
        while True:
            held = self.desired
            want = DesiredWant(epoch=held.epoch if held else 0, sequence=held.sequence if held else 0)
            began = time.monotonic()
            try:
                answer = await self.link.desired(want)
                if answer.state is not None and newer(self.desired, answer.state):
                    await self._take(answer.state)
                elif time.monotonic() - began < 1.0:  # a control plane that holds no call open is not asked a thousand times a second
                    await asyncio.sleep(back_off.pause())
                    continue
                back_off.reset()
            except LinkLost as error:
                logger.debug("no orders: %s", error)
                await asyncio.sleep(back_off.pause())
            except Rejected as error:
                await asyncio.sleep(max(2.0, back_off.pause(error.refused.retry_seconds)))

    async def _take(self, order: DesiredState) -> None:
        """Act on an order, and say so. It is on the disk first: a restart must not fall back to an older one."""
        try:
            await asyncio.to_thread(write_json, self.settings.state / "desired.json", order.plain())
        except OSError as error:
            logger.error("the order %d.%d cannot be kept: %s; it is acted on", order.epoch, order.sequence, error)
        self.desired = order
        self._applied.clear()
        self._wake.set()
        await self._applied.wait()
        self._news.set()
        acknowledgement = Acknowledgement(epoch=order.epoch, sequence=order.sequence, applied_at_ms=_now_ms(), refused=self._refused)
        await self.link.acknowledge(acknowledgement)

    # The end

    async def _leave(self) -> None:
        if self._leave_engines:
            for replica in self.replicas.values():
                await replica.leave()
            return
        for replica in self.replicas.values():
            if replica.hold == "running":
                replica.drain(float(self.settings.stop_seconds), None)
        waiting = [asyncio.create_task(replica.gone()) for replica in self.replicas.values()]
        if waiting:
            await asyncio.wait(waiting, timeout=self.settings.stop_seconds + 1.0)
            for replica in self.replicas.values():
                if replica.hold != "none":
                    replica.stop()
            await asyncio.wait(waiting)
        for replica in self.replicas.values():
            replica.forget()
        if self.link.credential.joined:
            with contextlib.suppress(LinkLost, Rejected, TimeoutError):
                async with asyncio.timeout(5.0):
                    await self.beat()


def signals_heeded(agent: Agent) -> None:
    """SIGTERM, SIGINT: end engines and agent. SIGHUP: end, and leave the engines to the next agent. SIGUSR1: the machine goes away."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, agent.stop)
    loop.add_signal_handler(signal.SIGHUP, lambda: agent.stop(leave_engines=True))
    loop.add_signal_handler(signal.SIGUSR1, agent.preempt)


def _locked(path: Path) -> int:
    number = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(number, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(number)
        raise InUse(
            f"Another agent works in {path.parent}: stop it, or give this one a directory of its own (BULKHEAD_AGENT_DIR)."
        ) from None
    return number


def _held(path: Path, lock: int) -> bool:
    """Whether the file of a lock is still where it was."""
    try:
        return os.path.samestat(path.stat(), os.fstat(lock))
    except OSError:
        return False


def _order_kept(state: Path) -> DesiredState | None:
    try:
        return msgspec.convert(read_json(state / "desired.json"), DesiredState)
    except msgspec.ValidationError:
        return None


def _spec_of(meta: dict[str, Any]) -> ReplicaSpec | None:
    try:
        return msgspec.convert(meta.get("spec"), ReplicaSpec)
    except msgspec.ValidationError:
        return None


def _owners(leaders: Mapping[int, str]) -> dict[int, str]:
    """Process -> the name beside its session's leader; those of other sessions are left out."""
    found = {}
    for name in os.listdir("/proc"):
        if name.isdigit():
            with contextlib.suppress(OSError, IndexError, ValueError):
                fields = Path(f"/proc/{name}/stat").read_text(errors="replace").rpartition(")")[2].split()
                if int(fields[3]) in leaders:
                    found[int(name)] = leaders[int(fields[3])]
    return found


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode()).hexdigest()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
