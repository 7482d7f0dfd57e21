"""A worker for tests: a real agent with real engines, and a control plane in memory."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import msgspec

from apps.agent.agent import Agent
from apps.agent.engines.command import RECIPES
from apps.agent.engines.protocol import EngineSettings, Recipe
from apps.agent.gpus import FakeGpus, Gpus
from apps.agent.link import Credential, Link
from apps.agent.link_fake import FakeControlPlane
from apps.agent.settings import AgentSettings
from apps.agent.watching import Pace
from apps.contracts.fleet import DesiredState, HealthPolicy, ReplicaSpec, RestartPolicy
from apps.contracts.fleet_facts import Failure, ReplicaReport
from apps.contracts.identifiers import uuid7

TOKEN = "bhj_" + "t" * 40
FIRST_PORT = 20_000 + os.getpid() * 37 % 180 * 50
"""Of fifty: other tests that run beside these have others."""
FAST = Pace(poll=0.02, watch=0.05, settle=0.05, grace=5.0, orphan=600.0)
HEALTH = HealthPolicy(interval_seconds=0.2, timeout_seconds=10.0, failures=2, ready_seconds=60.0, stall_seconds=60.0)
RESTART = RestartPolicy(first_seconds=0.05, most_seconds=0.2)


def python(script: str) -> Recipe:
    """A recipe that runs a script, with its port as first argument."""
    return Recipe((sys.executable, "-c", script, "{port}"), vocabulary="vllm")


def settings_at(state: Path, **recipes: Recipe) -> AgentSettings:
    engines = EngineSettings(recipes={**RECIPES, **recipes}, models=(state / "models",))
    return AgentSettings(
        control="http://control", token=TOKEN, name="worker-1", state=state / "agent", address="127.0.0.1", listen="127.0.0.1",
        region="eu", pool="default", spot=False, labels={}, orphan_seconds=600, stop_seconds=1, gpus="none", driver="local",
        engines=engines,
    )  # fmt: skip


def spec(**changes: Any) -> ReplicaSpec:
    changes.setdefault("replica", str(uuid7()))
    return msgspec.structs.replace(
        ReplicaSpec(replica=changes["replica"], deployment="chat", engine="simulated", health=HEALTH, restart=RESTART), **changes
    )


class Worker:
    """``agent`` is the one that runs now."""

    def __init__(self, state: Path, settings: AgentSettings, gpus: Gpus, control: FakeControlPlane) -> None:
        self.state = state
        self.settings = settings
        self.control = control
        self.gpus = gpus
        self.sequence = 0
        self._seen: dict[str, Failure] = {}
        self.agent: Agent
        self._task: asyncio.Task[None]
        self._clients: list[httpx.AsyncClient] = []

    async def start(self) -> None:
        client = httpx.AsyncClient(trust_env=False)
        link = httpx.AsyncClient(transport=httpx.ASGITransport(app=self.control), base_url="http://control")
        self._clients = [client, link]
        self.settings.state.mkdir(parents=True, exist_ok=True)
        self.agent = Agent(self.settings, Link(self.settings.control, Credential(self.settings.state), link), self.gpus, client, FAST)
        self._task = asyncio.create_task(self.agent.run())

    async def end(self, *, leave_engines: bool = False) -> None:
        self.agent.stop(leave_engines=leave_engines)
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.wait_for(self._task, 60)
        for client in self._clients:
            await client.aclose()

    async def order(self, *specs: ReplicaSpec, **changes: Any) -> None:
        self.sequence += 1
        state = DesiredState(epoch=1, sequence=self.sequence, port_first=FIRST_PORT, port_last=FIRST_PORT + 49, replicas=list(specs))
        await self.control.order(msgspec.structs.replace(state, **changes))

    async def until(self, condition: Callable[[], Any], what: str = "") -> Any:
        for _ in range(6_000):
            if self._task.done():
                self._task.result()
            if found := condition():
                return found
            await asyncio.sleep(0.01)
        last = self.control.beats[-1].replicas if self.control.beats else None
        raise AssertionError(f"never: {what}; last said: {last}")

    async def reported(self, replica: str, *states: str, reason: str | None = None) -> ReplicaReport:
        """Wait until the control plane was told that a replica is in one of these states."""

        def told() -> ReplicaReport | None:
            for beat in reversed(self.control.beats[-20:]):
                for one in beat.replicas:
                    if one.replica == replica and one.state in states and (reason is None or one.reason == reason):
                        return one
            return None

        self.control.beats[:-1] = []
        found: ReplicaReport = await self.until(told, f"{replica} {states} {reason}")
        return found

    async def failed(self, replica: str) -> Failure:
        """Wait until the control plane was told of a failure, past or present, and forget it."""

        def told() -> Failure | None:
            one = self.control.report(replica)
            return one.last_failure if one is not None and one.last_failure != self._seen.get(replica) else None

        found: Failure = await self.until(told, f"{replica} failed")
        self._seen[replica] = found
        return found


@contextlib.asynccontextmanager
async def worker(
    state: Path, *, gpus: Gpus | None = None, recipes: dict[str, Recipe] | None = None, **changes: Any
) -> AsyncIterator[Worker]:
    settings = replace(settings_at(state, **(recipes or {})), **changes)
    found = Worker(state, settings, gpus or FakeGpus(0), FakeControlPlane(TOKEN))
    await found.start()
    try:
        yield found
    finally:
        await found.end()
