"""A real agent with real engines against the real control side: the API that agents call, the rows behind it, and a run each look."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import httpx

from apps.accounts.models import Organisation
from apps.agent.agent import Agent
from apps.agent.engines.protocol import Recipe
from apps.agent.gpus import Gpus, NoGpus
from apps.agent.link import Credential, Link
from apps.agent.settings import AgentSettings
from apps.agent.watching import Pace
from apps.audit.actors import Actor
from apps.fleet.agents.server import AgentApi
from apps.fleet.bearers import bearer_read
from apps.fleet.joining import join_token_create
from apps.fleet.models import Replica
from apps.fleet.reconciling import fleet_reconcile
from tests.agent.worker import FAST, FIRST_PORT, settings_at
from tests.fleet.test_agents_api import Quiet, inside


class Stage:
    """``agent`` works in ``settings.state``; ``client`` calls engines."""

    def __init__(self, agent: Agent, settings: AgentSettings, bell: Quiet, client: httpx.AsyncClient) -> None:
        self.agent = agent
        self.settings = settings
        self.bell = bell
        self.client = client
        self.running = asyncio.create_task(agent.run())

    async def until(self, found: Callable[[], Any], *, looks: int = 2_000, each: Callable[[], Any] = fleet_reconcile) -> Any:
        """What ``found`` gives once it gives something; ``each`` is run before every look."""
        for _ in range(looks):
            if self.running.done():
                self.running.result()
            await inside(each)
            for worker in list(self.bell._waiting):
                self.bell.ring(worker)
            if answer := await inside(found):
                return answer
            await asyncio.sleep(0.05)
        said = [replica.report(lines=True) for replica in self.agent.replicas.values()]
        raise AssertionError(f"it never came true: {said}; rows: {await inside(lambda: list(Replica.objects.values()))}")

    def headers(self, replica: Replica) -> dict[str, str]:
        """What its engine demands, as the control plane keeps it."""
        return {"authorization": f"Bearer {bearer_read(replica.bearer)}"}

    async def end(self) -> None:
        self.agent.stop()
        await asyncio.wait_for(self.running, 60)


@contextlib.asynccontextmanager
async def stage(
    state: Path,
    token: str,
    *,
    gpus: Gpus | None = None,
    pace: Pace = FAST,
    recipes: dict[str, Recipe] | None = None,
    **changes: Any,
) -> AsyncIterator[Stage]:
    """token: ``token_made``. changes: of ``AgentSettings``."""
    own = {"token": token, "name": "real-worker", "ports": (FIRST_PORT, FIRST_PORT + 49), **changes}  # other agents run beside this one
    settings = dataclasses.replace(settings_at(state, **(recipes or {})), **own)
    bell = Quiet()
    api = httpx.ASGITransport(app=AgentApi(None, run=inside, bell=bell))  # type: ignore[arg-type]
    async with httpx.AsyncClient(transport=api) as link, httpx.AsyncClient(trust_env=False, timeout=60) as client:
        agent = Agent(settings, Link("http://control", Credential(settings.state), link), gpus or NoGpus(), client, pace)
        found = Stage(agent, settings, bell, client)
        try:
            yield found
        finally:
            if not found.running.done():
                await found.end()


def token_made(organisation: Organisation, actor: Actor) -> str:
    return join_token_create(actor=actor, organisation=organisation)[1]
