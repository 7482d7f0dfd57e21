"""A real agent, a real engine and the real control plane: from the token to tokens, and back to nothing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import msgspec
import pytest
from asgiref.sync import async_to_sync

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.fleet.models import Replica, ReplicaFact, Worker
from apps.fleet.services import deployment_delete
from tests.fleet.stage import stage, token_made
from tests.fleet.test_agents_api import inside


@pytest.mark.kill
def test_from_the_token_to_tokens_and_back(demo: Organisation, actor: Actor, deploy: Callable[..., Any], tmp_path: Path) -> None:
    token, deployment = token_made(demo, actor), deploy("chat")

    async def play() -> None:
        async with stage(tmp_path, token) as s:
            replica = await s.until(lambda: Replica.objects.filter(state="ready").first())
            assert await inside(lambda: Worker.objects.get().name) == "real-worker"
            fact = await s.until(lambda: ReplicaFact.objects.filter(replica=replica.pk, gone=False).first())
            url = fact.body["url"]
            assert url == replica.url
            body = {"model": fact.body["model"], "messages": [{"role": "user", "content": "hello"}]}
            answer = await s.client.post(f"{url}/v1/chat/completions", json=body, headers=s.headers(replica))
            assert answer.status_code == 200 and answer.json()["bulkhead_simulated"]
            await inside(lambda: deployment_delete(actor=actor, deployment=deployment))
            await s.until(lambda: not Replica.objects.filter(pk=replica.pk, ended_at=None).exists())
            await s.until(lambda: not s.agent.replicas)
            with pytest.raises(httpx.ConnectError):
                await s.client.post(f"{url}/v1/chat/completions", json=body)

    async_to_sync(play)()
    assert msgspec.json.decode((tmp_path / "agent/credential.json").read_bytes())["worker"] == str(Worker.objects.get().pk)
