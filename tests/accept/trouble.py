"""Whatever can happen to machines of a fleet, at random, a few machines at a time; and what must hold of the books meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import re
import signal
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import httpx

from tests.accept.conftest import Instance
from tests.accept.machines import Living, Machine, engine_model, living, served
from tests.launcher.conftest import wait_for

AT_ONCE = 4
"""Machines that are in trouble at the same time, of ten."""
CONNECTION = ("engine killed", "guardian killed", "machine killed", "engines refuse")
"""Troubles that a proxy sees as connections that are refused or break."""
SILENCE = ("engine stopped", "engines cut off", "machine cut off")
"""Those that it sees as nothing at all."""
OTHERS = ("agent killed", "agent stopped", "cordon", "drain", "removed")
LONG_SECONDS = 110.0
"""Longer than the control plane waits before a worker is lost."""


class Operator:
    """A person who works with the fleet as people do: pages and the control API. Calls may block; use them in a thread."""

    def __init__(self, one: Instance) -> None:
        self.one = one
        self._turn = threading.Lock()
        self.web = httpx.Client(base_url=one.facts["web_url"], timeout=60, trust_env=False, follow_redirects=True)
        self.web.get("/login/")
        typed = {**one.facts["login"], "csrfmiddlewaretoken": self.web.cookies["csrftoken"]}
        assert self.web.post("/login/", data=typed, headers={"referer": one.facts["web_url"]}).url.path == "/"

    def join_token(self) -> str:
        found = re.search(r"bhj_[\w-]+", self._page("/workers/join/", {}))
        assert found is not None, "the page shows no join token"
        return found.group()

    def remove(self, machine: Machine) -> None:
        self._page(f"/workers/{self.worker(machine)}/remove/", {"confirmation": machine.name, "reason": "chaos"})

    def mode(self, machine: Machine, mode: str) -> None:
        self._api(f"workers/{self.worker(machine)}/mode/", {"mode": mode, "reason": "chaos"})

    def scale(self, deployment: str, wanted: int) -> None:
        [[pk]] = self.one.query("SELECT id::text FROM fleet_deployment WHERE name = %s", deployment)
        self._api(f"deployments/{pk}/scale/", {"wanted": wanted, "reason": "chaos"})

    def deploy(self, **facts: Any) -> None:
        self._api("deployments/", {**facts, "reason": "chaos"}, expected=201)

    def worker(self, machine: Machine) -> str:
        """Its id now; waits where it is just joining anew."""
        mine = "SELECT id::text FROM fleet_worker WHERE name = %s AND revoked_at IS NULL"
        [[pk]] = wait_for(lambda: self.one.query(mine, machine.name), what=f"{machine.name} has joined")
        return str(pk)

    def _page(self, path: str, form: dict[str, str]) -> str:
        headers = {"referer": str(self.web.base_url)}
        with self._turn:
            answer = self.web.post(path, data={**form, "csrfmiddlewaretoken": self.web.cookies["csrftoken"]}, headers=headers)
        assert answer.status_code == 200, (path, answer.status_code, answer.text[:500])
        return answer.text

    def _api(self, path: str, body: dict[str, Any], expected: int = 200) -> None:
        headers = {"x-csrftoken": self.web.cookies["csrftoken"], "referer": str(self.web.base_url)}
        with self._turn:
            answer = self.web.post(f"/api/v1/organisations/demo/{path}", json=body, headers=headers)
        assert answer.status_code == expected, (path, answer.status_code, answer.text[:500])


@dataclass
class Trouble:
    """One thing that happened. at, until: wall clock. replicas: ids of those that it befell."""

    kind: str
    machine: str
    at: float
    replicas: tuple[str, ...]
    until: float = 0.0


@dataclass
class Chaos:
    """``history``: in order. seed: of every machine's dice."""

    operator: Operator
    machines: list[Machine]
    seed: int
    history: list[Trouble] = field(default_factory=list)

    async def play(self, seconds: float) -> None:
        """Trouble for so long; returns when the last of it is mended."""
        loop = asyncio.get_running_loop()
        over = loop.time() + seconds
        room = asyncio.Semaphore(max(1, len(self.machines) * AT_ONCE // 10))
        async with asyncio.TaskGroup() as group:
            for machine in self.machines:
                group.create_task(self._haunt(machine, over, room, unlucky=seconds > 3 * LONG_SECONDS and machine.number < 2))

    async def _haunt(self, machine: Machine, over: float, room: asyncio.Semaphore, *, unlucky: bool) -> None:
        """unlucky: it is away for so long, once, that it is lost."""
        loop = asyncio.get_running_loop()
        dice = random.Random(f"{self.seed}/{machine.number}")
        deck: list[str] = []
        while loop.time() < over:
            await asyncio.sleep(min(dice.uniform(1, 12), max(0.0, over - loop.time())))
            if not deck:
                deck = [*CONNECTION, *SILENCE, *OTHERS]
                dice.shuffle(deck)
            async with room:
                if loop.time() >= over:
                    return
                long = unlucky and over - loop.time() > LONG_SECONDS
                unlucky = unlucky and not long
                kind = ("machine killed", "machine cut off")[machine.number % 2] if long else deck.pop()
                await self._trouble(machine, kind, dice, LONG_SECONDS if long else 0.0)

    async def _trouble(self, machine: Machine, kind: str, dice: random.Random, least: float) -> None:
        found = await asyncio.to_thread(machine.living)
        engines = [one for one in found if one.kind == "engine"]
        befallen: list[Living] = engines
        acts: dict[str, Callable[[], Any]] = {}
        ends: Callable[[], Any] = lambda: None  # noqa: E731
        lasts = dice.uniform(3, 25)
        match kind:
            case "engine killed" | "engine stopped":
                befallen = [dice.choice(engines)] if engines else []
                acts[kind] = lambda: _send(befallen, signal.SIGKILL if kind == "engine killed" else signal.SIGSTOP)
                ends = (lambda: _send(befallen, signal.SIGCONT)) if kind == "engine stopped" else ends
                lasts = lasts if kind == "engine stopped" else 0.0
            case "guardian killed":
                guardians = [one for one in found if one.kind == "guardian"]
                victim = dice.choice(guardians) if guardians else None
                befallen = [one for one in engines if victim is not None and _parent(one.pid) == victim.pid]
                acts[kind] = lambda: _send([victim] if victim else [], signal.SIGKILL)
                lasts = 0.0
            case "machine killed":
                machine.wanted = False
                acts[kind] = machine.kill
                lasts = dice.uniform(1, 20)
                ends = lambda: setattr(machine, "wanted", True)  # noqa: E731
            case "engines refuse":
                acts[kind], ends = machine.cut_refused, machine.mend
            case "engines cut off" | "machine cut off":
                acts[kind], ends = lambda: machine.cut_silent(agent=kind == "machine cut off"), machine.mend
            case "agent killed":
                acts[kind] = lambda: machine.signal(signal.SIGKILL)
                befallen, lasts = [], 0.0
            case "agent stopped":
                acts[kind], ends = lambda: machine.signal(signal.SIGSTOP), lambda: machine.signal(signal.SIGCONT)
                befallen = []
            case "cordon" | "drain":
                acts[kind] = lambda: self.operator.mode(machine, "cordoned" if kind == "cordon" else "draining")
                ends = lambda: self.operator.mode(machine, "active")  # noqa: E731
                befallen = []
            case "removed":
                acts[kind] = lambda: self._remove(machine)
                befallen, lasts = [], 0.0
        trouble = Trouble(kind, machine.name, time.time(), tuple(one.replica for one in befallen))
        self.history.append(trouble)
        try:
            await asyncio.to_thread(acts[kind])
            await asyncio.sleep(max(lasts, least))
        finally:
            await asyncio.to_thread(ends)
            trouble.until = time.time()

    def _remove(self, machine: Machine) -> None:
        """It is removed, and joins anew at once, its engines running."""
        self.operator.remove(machine)
        machine.token = self.operator.join_token()
        machine.signal(signal.SIGHUP)

    @property
    def counts(self) -> Counter[str]:
        return Counter(trouble.kind for trouble in self.history)


def _send(processes: list[Living], number: int) -> None:
    for one in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one.pid, number)


def _parent(pid: int) -> int:
    with contextlib.suppress(OSError), open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as file:
        return int(file.read().rpartition(")")[2].split()[1])
    return 0


BOOKS = """
SELECT 'place given twice: ' || d.name || '/' || r.ordinal FROM fleet_replica r JOIN fleet_deployment d ON d.id = r.deployment_id
 WHERE r.ended_at IS NULL GROUP BY d.name, r.deployment_id, r.ordinal HAVING count(*) > 1
UNION ALL
SELECT 'promised beyond its memory: GPU ' || g.uuid || ' of ' || w.name FROM fleet_gpu g JOIN fleet_worker w ON w.id = g.worker_id
 WHERE g.claimed > g.capacity OR g.claimed <> (SELECT coalesce(sum(c.bytes), 0) FROM fleet_claim c WHERE c.gpu_id = g.id)
UNION ALL
SELECT 'promised to a replica that has ended: ' || r.id FROM fleet_claim c JOIN fleet_replica r ON r.id = c.replica_id
 WHERE r.ended_at IS NOT NULL
UNION ALL
SELECT 'not alone on its GPU: ' || r.id FROM fleet_claim c JOIN fleet_replica r ON r.id = c.replica_id
  JOIN fleet_deployment d ON d.id = r.deployment_id
 WHERE d.exclusive AND (SELECT count(*) FROM fleet_claim o WHERE o.gpu_id = c.gpu_id) > 1
UNION ALL
SELECT 'without its GPUs: ' || r.id FROM fleet_replica r JOIN fleet_deployment d ON d.id = r.deployment_id
 WHERE r.ended_at IS NULL AND (SELECT count(*) FROM fleet_claim c WHERE c.replica_id = r.id) <> d.gpus
UNION ALL
SELECT 'more stand than a surge allows: ' || d.name || ' ' || count(*) FROM fleet_replica r
  JOIN fleet_deployment d ON d.id = r.deployment_id WHERE r.ended_at IS NULL AND r.want = 'serve' AND d.wanted > 0
 GROUP BY d.name, d.wanted, d.surge HAVING count(*) > d.wanted + d.surge
"""
"""Every line that this gives is a fault. One statement, so one snapshot."""


@dataclass
class Auditor:
    """Looks at the books and at the machines again and again. ``alone``: the model whose engines have their GPUs alone."""

    one: Instance
    machines: list[Machine]
    alone: str
    faults: Counter[str] = field(default_factory=Counter)
    looks: int = 0
    served: dict[str, tuple[str, str]] = field(default_factory=dict)
    """URL -> (token, model), of all that was ever served there the last."""

    async def play(self, stop: asyncio.Event) -> None:
        while not stop.is_set():
            await asyncio.to_thread(self.look)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(0.5):
                    await stop.wait()

    def look(self) -> None:
        self.looks += 1
        with self.one.connect() as connection:
            self.faults.update(row[0] for row in connection.execute(BOOKS).fetchall())
        self.served |= served(self.machines)
        for name, found in living(self.machines).items():
            users = defaultdict(list)
            for one in found:
                if one.kind == "engine":
                    users[one.gpus].append(one)
            for gpu, engines in users.items():
                if len(engines) > 1 and any(engine_model(one.pid) == self.alone for one in engines):
                    self.faults[f"two engines on {gpu} of {name}"] += 1


async def kept(machines: list[Machine], stop: asyncio.Event) -> None:
    """The machines' service managers."""
    while not stop.is_set():
        for machine in machines:
            await asyncio.to_thread(machine.keep)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.2):
                await stop.wait()


async def eventually(condition: Callable[[], Any], *, seconds: float, what: str, said: Callable[[], Any] = str) -> float:
    """Seconds until it held; asked in a thread. Fails after ``seconds`` with what was ``said`` last."""
    began = time.monotonic()
    while not await asyncio.to_thread(condition):
        assert time.monotonic() - began < seconds, f"{what} did not come about in {seconds:.0f} s: {await asyncio.to_thread(said)}"
        await asyncio.sleep(0.25)
    return time.monotonic() - began
