"""Each replica demands a token of its own: its engine and proxies know it, the database holds it encrypted, and nobody else has it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from cryptography.fernet import Fernet

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.contracts.fleet import BEARER_PREFIX
from apps.contracts.fleet_facts import EngineOffer
from apps.fleet.bearers import bearer_read
from apps.fleet.models import Deployment, Replica, ReplicaFact
from apps.fleet.orders import desired_of
from apps.fleet.reconciling import fleet_reconcile
from apps.fleet.services import replica_replace
from apps.providers import vault
from controlplane import env
from tests.fleet.conftest import FakeAgent
from tests.fleet.stage import Stage, stage, token_made
from tests.fleet.test_agents_api import inside

OFFERS = [
    EngineOffer(engine="simulated", bearer=True),
    EngineOffer(engine="command", recipe="closed", bearer=True),
    EngineOffer(engine="command", recipe="open"),
]


def command_of(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_text()


@pytest.mark.kill
def test_an_engine_serves_whoever_has_its_token_and_nobody_else(
    demo: Organisation, actor: Actor, deploy: Callable[..., Deployment], tmp_path: Path
) -> None:
    token = token_made(demo, actor)
    deploy()

    async def asked(s: Stage, replica: Replica, headers: dict[str, str]) -> int:
        body = {"model": "sim-chat", "messages": [{"role": "user", "content": "hello"}]}
        return (await s.client.post(f"{replica.url}/v1/chat/completions", json=body, headers=headers)).status_code

    async def play() -> None:
        async with stage(tmp_path, token) as s:
            first = await s.until(lambda: Replica.objects.filter(state="ready").first())
            own = s.headers(first)
            assert [await asked(s, first, headers) for headers in ({}, {"authorization": "Bearer bhr_wrong"}, own)] == [401, 401, 200]
            process = s.agent.replicas[str(first.pk)].process
            assert process is not None
            secret = own["authorization"].removeprefix("Bearer ")
            assert secret.startswith(BEARER_PREFIX) and secret not in command_of(process.pid)
            kept = s.settings.state / "desired.json"
            assert secret in kept.read_text() and kept.stat().st_mode & 0o077 == 0
            fact = await s.until(lambda: ReplicaFact.objects.filter(replica=first.pk, gone=False).first())
            assert secret not in json.dumps(fact.body) + json.dumps(first.spec) + first.bearer
            assert Fernet(env.secret("BULKHEAD_SEAL_KEY", "seal_key")).decrypt(fact.body["sealed"].encode()).decode() == secret
            await inside(lambda: replica_replace(actor=actor, replica=first, reason="another token"))
            second = await s.until(lambda: Replica.objects.filter(state="ready").exclude(pk=first.pk).first())
            assert await asked(s, second, own) == 401 and await asked(s, second, s.headers(second)) == 200

    async_to_sync(play)()


def test_an_engine_gets_a_token_where_its_worker_says_that_it_can_demand_one(
    agent: Callable[..., FakeAgent], deploy: Callable[..., Deployment]
) -> None:
    worker = agent("w1", engines=OFFERS)
    worker.beat()
    for name, facts in {
        "sim": {"engine": "simulated"},
        "closed": {"engine": "command", "recipe": "closed"},
        "open": {"engine": "command", "recipe": "open"},
    }.items():
        deploy(name, **facts)
    fleet_reconcile()
    bearers = {spec.deployment: spec.bearer for spec in desired_of(worker.id).replicas}
    assert bearers["open"] == "" and len(bearers) == 3
    assert bearers["sim"] != bearers["closed"] and all(bearers[name].startswith(BEARER_PREFIX) for name in ("sim", "closed"))
    for row in Replica.objects.select_related("deployment"):
        assert bearer_read(row.bearer) == bearers[row.deployment.name]
    worker.obey()
    before = {fact.replica: fact.body for fact in ReplicaFact.objects.all()}
    worker.obey()
    assert {fact.replica: fact.body for fact in ReplicaFact.objects.all()} == before, "the same is sealed alike: no proxy learns news"


def test_without_a_key_nothing_is_started_open(
    agent: Callable[..., FakeAgent], deploy: Callable[..., Deployment], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    agent("w1", engines=OFFERS).beat()
    deploy()

    def missing(value: str) -> str:
        raise vault.VaultError("there is no master key: set BULKHEAD_MASTER_KEY")

    with monkeypatch.context() as patched:
        patched.setattr(vault, "encrypt", missing)
        fleet_reconcile()
    assert not Replica.objects.exists() and "there is no master key" in caplog.text
    fleet_reconcile()
    assert Replica.objects.count() == 1


def test_no_page_or_answer_shows_a_token(
    agent: Callable[..., FakeAgent], deploy: Callable[..., Deployment], signed_in: Callable[..., Any]
) -> None:
    worker = agent("w1", engines=OFFERS)
    worker.beat()
    deployment = deploy()
    fleet_reconcile()
    worker.obey()
    [row] = Replica.objects.all()
    client = signed_in()
    for url in (f"/deployments/{deployment.pk}/", f"/workers/{worker.id}/", f"/replicas/{row.pk}/log/"):
        answer = client.get(url)
        assert bearer_read(row.bearer) not in answer.content.decode() and row.bearer not in answer.content.decode()
