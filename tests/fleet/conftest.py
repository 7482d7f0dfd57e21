from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from django.test import Client
from django.utils import timezone

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.contracts.fleet import PROTOCOL, Heartbeat, HeartbeatAnswer, JoinRequest, secret_digest
from apps.contracts.fleet_facts import GpuFacts, HostFacts, ReplicaReport
from apps.contracts.identifiers import uuid7
from apps.fleet.heartbeats import Beat, heartbeats_take
from apps.fleet.joining import AgentRefused, join_token_create, worker_join
from apps.fleet.models import Deployment, Worker
from apps.fleet.orders import desired_of
from apps.fleet.services import deployment_ensure
from tests.people import client_of, member

GB = 1_000_000_000


class FakeAgent:
    """An agent's side of the contract, without a process: it joins, and reports whatever a test makes of its orders."""

    def __init__(self, organisation: Organisation, name: str, *, gpus: int = 0, memory: int = 24 * GB, **host: Any) -> None:
        actor = Actor.command("test")
        _, self.token = join_token_create(actor=actor, organisation=organisation)
        self.secret = f"secret-of-{name}".ljust(40, "x")
        self.gpus = [GpuFacts(uuid=f"GPU-{name}-{n}", index=n, name="L4", memory_total=memory, memory_used=0) for n in range(gpus)]
        self.host = HostFacts(hostname=name, address="127.0.0.1", memory_total=64 * GB, **host)
        self.name = name
        self.boot = str(uuid7())
        self.sequence = 0
        self.epoch = self.applied = 0
        self.reports: list[ReplicaReport] = []
        self.worker = worker_join(self.joining())

    def joining(self, **changes: Any) -> JoinRequest:
        facts = {
            "protocol": PROTOCOL,
            "token": self.token,
            "secret_digest": secret_digest(self.secret),
            "name": self.name,
            "agent_version": "test",
            "sent_at_ms": now_ms(),
            "host": self.host,
            "gpus": self.gpus,
        }
        return JoinRequest(**{**facts, **changes})

    @property
    def id(self) -> UUID:
        return self.worker.pk

    def heartbeat(self, **changes: Any) -> Heartbeat:
        self.sequence += 1
        facts = {
            "protocol": PROTOCOL,
            "agent_version": "test",
            "boot": self.boot,
            "sequence": self.sequence,
            "sent_at_ms": now_ms(),
            "host": self.host,
            "gpus": self.gpus,
            "replicas": self.reports,
            "epoch": self.epoch,
            "applied": self.applied,
        }
        return Heartbeat(**{**facts, **changes})

    def beat(self, **changes: Any) -> HeartbeatAnswer | AgentRefused:
        beat = Beat(self.id, secret_digest(self.secret), self.heartbeat(**changes), timezone.now())
        return heartbeats_take([beat])[0]

    def obey(self, state: str = "ready") -> HeartbeatAnswer | AgentRefused:
        """Act on the newest order: what shall serve is in ``state``, what shall go has stopped; then report it."""
        desired = desired_of(self.id)
        self.epoch, self.applied = desired.version
        self.reports = [
            ReplicaReport(
                replica=spec.replica,
                deployment=spec.deployment,
                state=state if spec.want == "serve" else "stopped",
                since_ms=now_ms(),
                url=f"http://127.0.0.1:3{number:04}" if state == "ready" else "",
                model=spec.model,
            )
            for number, spec in enumerate(desired.replicas)
        ]
        return self.beat()


def now_ms() -> int:
    return int(timezone.now().timestamp() * 1000)


@pytest.fixture
def demo(db: None) -> Organisation:
    return Organisation.objects.create(name="Demo", slug="demo-fleet", simulated=True)


@pytest.fixture
def agent(demo: Organisation) -> Callable[..., FakeAgent]:
    """``agent("w1", gpus=2)``: a worker of the demo organisation that has joined."""
    return lambda name="w1", **facts: FakeAgent(demo, name, **facts)


@pytest.fixture
def deploy(demo: Organisation, actor: Actor) -> Callable[..., Deployment]:
    """``deploy(gpus=1, memory=...)``: the deployment ``chat`` as given."""

    def make(name: str = "chat", **facts: Any) -> Deployment:
        return deployment_ensure(actor=actor, organisation=demo, name=name, **{"model": "sim-chat", "engine": "simulated", **facts})

    return make


@pytest.fixture
def signed_in(demo: Organisation) -> Callable[..., Client]:
    """``signed_in("viewer")``: the client of a person with that role in the demo organisation."""
    return lambda role="admin": client_of(member(demo, role))


def worker_again(worker: Worker) -> Worker:
    return Worker.objects.get(pk=worker.pk)
