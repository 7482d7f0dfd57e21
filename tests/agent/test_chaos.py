"""Ten agents, and for ten minutes whatever can happen to processes: SIGKILL and SIGSTOP of agents, guardians and engines, control planes
that come and go, orders that change. At no moment do two engines hold one GPU, at the end everything runs as ordered, and after it nothing.

Under ``make accept``; ``BULKHEAD_CHAOS=agents,seconds`` runs it as long as it is told."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import msgspec
import pytest

from apps.agent.link_fake import FakeControlPlane
from apps.contracts.fleet import DesiredState, ReplicaSpec
from tests.agent.test_bad_engines import offspring
from tests.agent.test_process import ROOT, serving, until
from tests.agent.worker import FIRST_PORT, HEALTH, RESTART, TOKEN, spec
from tests.scale import FULL

WISH = os.environ.get("BULKHEAD_CHAOS", "10,600" if FULL else "")
GPUS = 2
PORTS = 20
SETTLED_SECONDS = 180.0


class Node:
    """One machine: an agent that is started again whenever it is gone, and its control plane."""

    def __init__(self, state: Path, number: int) -> None:
        self.state = state
        self.number = number
        self.control = FakeControlPlane(TOKEN)
        self.sequence = 0
        self.specs = [self.fresh(f"GPU-fake-{gpu}") for gpu in range(GPUS)]
        self.url = ""
        self.process: subprocess.Popen[bytes] | None = None

    def fresh(self, gpu: str) -> ReplicaSpec:
        health = msgspec.structs.replace(HEALTH, interval_seconds=1.0, timeout_seconds=2.0, stall_seconds=1.0)
        return spec(gpus=[gpu], health=health, restart=RESTART, drain_seconds=1.0, arguments={"seed": str(self.number)})

    def start(self) -> None:
        environment = {
            **os.environ, "BULKHEAD_CONTROL_URL": self.url, "BULKHEAD_AGENT_TOKEN": TOKEN, "BULKHEAD_AGENT_DIR": str(self.state),
            "BULKHEAD_AGENT_GPUS": f"fake:{GPUS}", "BULKHEAD_AGENT_ORPHAN_SECONDS": "3", "BULKHEAD_AGENT_STOP_SECONDS": "1",
            "BULKHEAD_AGENT_NAME": f"worker-{self.number}",
        }  # fmt: skip
        with (self.state.parent / f"agent-{self.number}.log").open("ab") as log:
            self.process = subprocess.Popen([sys.executable, "-m", "apps.agent"], cwd=ROOT, env=environment, stderr=log)

    async def order(self, **changes: object) -> None:
        self.sequence += 1
        first = FIRST_PORT + 50 + self.number * PORTS
        state = DesiredState(epoch=1, sequence=self.sequence, port_first=first, port_last=first + PORTS - 1, replicas=self.specs)
        await self.control.order(msgspec.structs.replace(state, **changes))

    def engines(self) -> dict[int, str]:
        """Engines that run on this node: process -> the GPU that it was given."""
        found = {}
        for pid in offspring(self.state):
            with contextlib.suppress(OSError):
                place = Path(f"/proc/{pid}")
                if b"apps.simulator" not in place.joinpath("cmdline").read_bytes() or place.joinpath("stat").read_text().split()[2] == "Z":
                    continue
                for word in place.joinpath("environ").read_bytes().split(b"\0"):  # empty, where it has just ended
                    if word.startswith(b"CUDA_VISIBLE_DEVICES="):
                        found[pid] = word.partition(b"=")[2].decode()
        return found

    def check(self) -> None:
        """What must hold at every moment, whatever the agent believes."""
        twice = [gpu for gpu, count in Counter(self.engines().values()).items() if count > 1]
        assert not twice, f"two engines on {twice} of worker {self.number}: {self.engines()}"

    async def something(self, chance: random.Random) -> str:
        what = chance.choice(
            ["kill agent", "stop agent", "kill engine", "freeze engine", "kill guardian", "freeze guardian", "away", "order", "drain"]
        )
        guardians = sorted(set(offspring(self.state)) - set(self.engines()))
        victims = {"engine": sorted(self.engines()), "guardian": guardians, "agent": [self.process.pid] if self.process else []}
        of = victims.get(what.split()[-1], [])
        if of:
            pid = chance.choice(of)
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL if what.startswith("kill") else signal.SIGSTOP)
                if what == "stop agent":
                    await asyncio.sleep(chance.uniform(0.1, 2))
                    os.kill(pid, signal.SIGCONT)
        elif what == "away":
            self.control.down = not self.control.down
        elif what == "order":
            at = chance.randrange(GPUS)
            self.specs[at] = self.fresh(self.specs[at].gpus[0])
            await self.order()
        elif what == "drain":
            await self.order(mode=chance.choice(["active", "draining", "cordoned"]))
        return what

    def settled(self) -> bool:
        """Whether the control plane was told, by the agent that runs now, that all that it ordered serves."""
        beat = self.control.beats[-1] if self.control.beats else None
        if beat is None or beat.applied != self.sequence:
            return False
        ready = {report.replica: report.pid for report in beat.replicas if report.state == "ready"}
        return set(ready) == {one.replica for one in self.specs} and set(ready.values()) == set(self.engines())


async def settled(node: Node) -> None:
    """Waits until it is; longer than all that may lawfully come together: half a minute of a link's pause, ten seconds for a guardian that
    hangs, as many until a frozen engine is found out, a start anew."""
    began = time.monotonic()
    while not node.settled():
        if time.monotonic() - began > SETTLED_SECONDS:
            raise AssertionError(f"worker {node.number}: {node.engines()} run, ordered: {node.sequence}, it says {node.control.beats[-1:]}")
        await asyncio.sleep(0.05)
    print(f"worker {node.number} settled after {time.monotonic() - began:.1f} s")


@pytest.mark.skipif(not WISH, reason="long: runs under make accept, or where BULKHEAD_CHAOS says how long")
@pytest.mark.kill
@pytest.mark.slow
async def test_whatever_happens_nothing_is_held_twice_and_nothing_stays(tmp_path: Path) -> None:
    agents, seconds = map(int, WISH.split(","))
    seed = random.SystemRandom().randrange(10**6)
    print("seed", seed)
    nodes = [Node(tmp_path / str(number), number) for number in range(agents)]
    loop = asyncio.get_running_loop()
    done: Counter[str] = Counter()
    async with contextlib.AsyncExitStack() as stack:
        for node in nodes:
            node.url = await stack.enter_async_context(serving(node.control))
            node.start()
            await node.order()
        over = loop.time() + seconds

        async def trouble(node: Node) -> None:
            chance = random.Random(f"{seed}/{node.number}")
            while loop.time() < over:
                await asyncio.sleep(chance.uniform(0.2, 2.0))
                done[await node.something(chance)] += 1

        async def care(node: Node) -> None:
            """What a service manager does, and what must hold meanwhile."""
            while loop.time() < over:
                await asyncio.sleep(0.1)
                if node.process is not None and node.process.poll() is not None:
                    node.start()
                await asyncio.to_thread(node.check)

        try:
            await asyncio.gather(*(each(node) for node in nodes for each in (trouble, care)))
            for node in nodes:
                node.control.down = False
                if node.process is None or node.process.poll() is not None:
                    node.start()
                await node.order()
            for node in nodes:
                await settled(node)
                node.check()
                node.specs = []
                await node.order()
            for node in nodes:
                await until(lambda node=node: not offspring(node.state))
                assert node.process is not None and node.process.poll() is None
                node.process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(node.process.wait) == 0
            print("happened", dict(done))
        finally:
            for node in nodes:
                if node.process is not None:
                    node.process.kill()
                    node.process.wait()
            for pid in (pid for node in nodes for pid in offspring(node.state)):  # who was frozen goes on, and ends
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGCONT)
            await until(lambda: not any(offspring(node.state) for node in nodes))
