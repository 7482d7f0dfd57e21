"""What a thousand workers' heartbeats cost the control plane: CPU of this process and of Postgres, as shares of one core.

``python -m tests.bench.heartbeats [--workers 1000] [--gpus 8] [--replicas 4] [--seconds 30] [--moving 0.0]``

Simulated agents join, then send a heartbeat every ten seconds each, evenly spread, through the agents' ASGI application in this very
process, against an embedded Postgres. Each tells GPUs with every field and replicas with metrics, all of which move. ``--moving``: of this
share of the workers the load moves every second, so that they report early as agents do, by the pause that they are answered. The HTTP
server's own work (uvicorn, sockets) is not in it; encoding what agents send is done beforehand. Prints figures; asserts nothing.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import tempfile
import time
from pathlib import Path
from typing import Any

import msgspec

from tests.bench.shipper import postgres_cpu

EVERY = 10.0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workers", type=int, default=1000)
    parser.add_argument("--gpus", type=int, default=8)
    parser.add_argument("--replicas", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=30.0)
    parser.add_argument("--moving", type=float, default=0.0)
    options = parser.parse_args()
    from controlplane.launcher.postgres import Passwords, Postgres

    with tempfile.TemporaryDirectory(prefix="bulkhead-bench-", dir="/tmp") as name:
        home = Path(name)
        home.chmod(0o711)
        server = Postgres(home / "postgres", passwords=Passwords.random(), log=home / "postgres.log")
        server.start()
        try:
            os.environ.update(DATABASE_URL=server.url(), BULKHEAD_DATA_DIR=str(home / "data"), BULKHEAD_SECRET_KEY="bench")
            os.environ.setdefault("DJANGO_SETTINGS_MODULE", "controlplane.settings.dev")
            import django

            django.setup()
            from django.core.management import call_command

            call_command("migrate", verbosity=0, interactive=False)
            agents = joined(options.workers, options.gpus, options.replicas)
            asyncio.run(measured(agents, options.seconds, options.moving, server.process.pid if server.process else 0))
        finally:
            server.stop()


def joined(workers: int, gpus: int, replicas: int) -> list[Any]:
    """Agents whose workers stand, with replicas of one deployment on each."""
    from apps.accounts.models import Organisation
    from apps.audit.actors import Actor
    from apps.contracts.fleet_facts import EngineMetrics, ReplicaReport
    from apps.contracts.identifiers import uuid7
    from apps.fleet.models import Replica
    from apps.fleet.services import deployment_ensure
    from tests.fleet.conftest import FakeAgent, now_ms

    organisation = Organisation.objects.create(name="Bench", slug="bench-fleet", simulated=True)
    deployment = deployment_ensure(
        actor=Actor.command("bench"), organisation=organisation, name="chat", model="m", engine="simulated", least=0, most=1000, wanted=0
    )
    agents, rows = [], []
    for number in range(workers):
        agent = FakeAgent(organisation, f"w{number}", gpus=gpus)
        agent.epoch = agent.applied = 1
        for place in range(replicas):
            replica = uuid7()
            rows.append(
                Replica(
                    pk=replica, deployment=deployment, worker=agent.worker, ordinal=number * replicas + place, revision=1, state="ready",
                    url=f"http://10.0.0.1:{30_000 + place}", model="m",
                    spec={"replica": str(replica), "deployment": "chat", "engine": "simulated"},
                )
            )  # fmt: skip
            agent.reports.append(
                ReplicaReport(
                    replica=str(replica), deployment="chat", state="ready", since_ms=now_ms(), url=f"http://10.0.0.1:{30_000 + place}",
                    model="m", metrics=EngineMetrics(at_ms=now_ms(), running=3, waiting=0, kv_used=0.4, output_tokens=1000),
                )
            )  # fmt: skip
        agents.append(agent)
    Replica.objects.bulk_create(rows)
    return agents


def heartbeat_of(agent: Any) -> bytes:
    """One heartbeat whose figures have moved since the last."""
    from tests.fleet.conftest import now_ms

    replace = msgspec.structs.replace
    gpus = [
        replace(gpu, memory_used=random.randrange(24 * 10**9), utilisation=random.random(), power=random.uniform(50, 700), temperature=60.0)
        for gpu in agent.gpus
    ]
    reports = [
        replace(report, metrics=replace(report.metrics, at_ms=now_ms(), running=random.randrange(16), kv_used=random.random()))
        for report in agent.reports
    ]
    return msgspec.json.encode(agent.heartbeat(gpus=gpus, replicas=reports))


async def measured(agents: list[Any], seconds: float, moving: float, postmaster: int) -> None:
    from apps.contracts.early import Early
    from apps.contracts.fleet import EARLY_SECONDS, PATH, HeartbeatAnswer, credential_text
    from apps.fleet.agents.server import AgentApi

    api = AgentApi(None)
    took: list[float] = []
    statuses: dict[int, int] = {}

    decode = msgspec.json.Decoder(HeartbeatAnswer).decode

    async def send(agent: Any, body: bytes, early: Early | None = None) -> None:
        scope = {
            "type": "http", "method": "POST", "path": PATH + "heartbeat", "client": ("127.0.0.1", 1),
            "headers": [(b"authorization", f"Bearer {credential_text(str(agent.id), agent.secret)}".encode())],
        }  # fmt: skip

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": body}

        async def answer(message: Any) -> None:
            if message["type"] == "http.response.start":
                statuses[message["status"]] = statuses.get(message["status"], 0) + 1
            elif early is not None and statuses:
                early.seconds = decode(message["body"]).early_seconds

        began = time.perf_counter()
        await api(scope, receive, answer)
        took.append(time.perf_counter() - began)

    await asyncio.gather(*(send(agent, heartbeat_of(agent)) for agent in agents))  # the first of each is taken into rows
    restless = agents[: round(len(agents) * moving)]
    most = int(seconds / EARLY_SECONDS) + 4
    stock = {id(agent): [heartbeat_of(agent) for _ in range(most)] for agent in restless}
    agents = agents[len(restless) :]
    rounds = max(1, round(seconds / EVERY))
    bodies = [[heartbeat_of(agent) for agent in agents] for _ in range(rounds)]
    size = sum(map(len, bodies[0] or next(iter(stock.values())))) / len(bodies[0] or next(iter(stock.values())))
    took.clear()
    statuses.clear()
    own, database, began = time.process_time(), postgres_cpu(postmaster), time.perf_counter()
    tasks = []

    async def restlessly(agent: Any, place: int) -> None:
        """As an agent whose load moves with every look at it, which is each second."""
        early, told = Early(EARLY_SECONDS, time.perf_counter()), began - EVERY
        await asyncio.sleep(place / max(1, len(restless)))
        for body in stock[id(agent)]:
            while not early.take(now := time.perf_counter()) and now - told < EVERY:
                await asyncio.sleep(1.0)
            if now - began > seconds:
                return
            told = now
            await send(agent, body, early)
            await asyncio.sleep(1.0)

    tasks += [asyncio.ensure_future(restlessly(agent, place)) for place, agent in enumerate(restless)]
    for number in range(rounds):
        for place, agent in enumerate(agents):
            due = began + (number + place / len(agents)) * EVERY
            if (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait)
            tasks.append(asyncio.ensure_future(send(agent, bodies[number][place])))
    await asyncio.gather(*tasks)
    spent, own, database = time.perf_counter() - began, time.process_time() - own, postgres_cpu(postmaster) - database
    took.sort()
    workers = f"{len(agents) + len(restless)} workers, {len(restless)} of them restless"
    print(f"{workers}, {size:.0f} bytes a heartbeat, {len(took)} in {spent:.1f} s, statuses {statuses}")
    print(f"  control plane: {own / spent:.1%} of a core, {own / len(took) * 1e6:.0f} us a heartbeat")
    print(f"  Postgres:      {database / spent:.1%} of a core, {database / len(took) * 1e6:.0f} us a heartbeat")
    middle, late = took[len(took) // 2] * 1e3, took[int(len(took) * 0.99)] * 1e3
    print(f"  answered after p50 {middle:.0f} ms, p99 {late:.0f} ms (batches are open 250 ms)")


if __name__ == "__main__":
    main()
