"""A real agent, a real engine and the real control plane: from the token to tokens, and back to nothing."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from asgiref.sync import async_to_sync

from apps.accounts.models import Organisation
from apps.agent.agent import Agent
from apps.agent.gpus import NoGpus
from apps.agent.link import Credential, Link
from apps.audit.actors import Actor
from apps.fleet.agents.server import AgentApi
from apps.fleet.joining import join_token_create
from apps.fleet.models import Replica, ReplicaFact, Worker
from apps.fleet.reconciling import fleet_reconcile
from apps.fleet.services import deployment_delete
from tests.agent.worker import FAST, settings_at
from tests.fleet.test_agents_api import Quiet, inside


@pytest.mark.kill
def test_from_the_token_to_tokens_and_back(demo: Organisation, actor: Actor, deploy: Callable[..., Any], tmp_path: Path) -> None:
    _, token = join_token_create(actor=actor, organisation=demo)
    deployment = deploy("chat")
    settings = dataclasses.replace(settings_at(tmp_path), token=token, name="real-worker")

    async def play() -> None:
        bell = Quiet()
        api = httpx.ASGITransport(app=AgentApi(None, run=inside, bell=bell))  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=api) as link_client, httpx.AsyncClient(trust_env=False, timeout=60) as client:
            agent = Agent(settings, Link("http://control", Credential(settings.state), link_client), NoGpus(), client, FAST)
            running = asyncio.create_task(agent.run())

            async def until(found: Callable[[], Any]) -> Any:
                for _ in range(2_000):
                    if running.done():
                        running.result()
                    await inside(fleet_reconcile)
                    for worker in list(bell._waiting):
                        bell.ring(worker)
                    if answer := await inside(found):
                        return answer
                    await asyncio.sleep(0.05)
                raise AssertionError(f"it never came true: {[replica.report(lines=True) for replica in agent.replicas.values()]}")

            replica = await until(lambda: Replica.objects.filter(state="ready").first())
            assert await inside(lambda: Worker.objects.get().name) == "real-worker"
            fact = await until(lambda: ReplicaFact.objects.filter(replica=replica.pk, gone=False).first())
            url = fact.body["url"]
            assert url == replica.url
            body = {"model": fact.body["model"], "messages": [{"role": "user", "content": "hello"}]}
            answer = await client.post(f"{url}/v1/chat/completions", json=body)
            assert answer.status_code == 200 and answer.json()["bulkhead_simulated"]
            await inside(lambda: deployment_delete(actor=actor, deployment=deployment))
            await until(lambda: not Replica.objects.filter(pk=replica.pk, ended_at=None).exists())
            await until(lambda: not agent.replicas)
            with pytest.raises(httpx.ConnectError):
                await client.post(f"{url}/v1/chat/completions", json=body)
            agent.stop()
            await asyncio.wait_for(running, 60)

    async_to_sync(play)()
    assert msgspec.json.decode((settings.state / "credential.json").read_bytes())["worker"] == str(Worker.objects.get().pk)
