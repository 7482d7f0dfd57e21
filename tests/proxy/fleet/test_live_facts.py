"""Facts on their way from Postgres to a proxy: a notification wakes it, a held request goes on, the last known outlives the database."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest

from apps.contracts.fleet import PROVIDER_PREFIX, REPLICAS_CHANNEL
from apps.contracts.snapshot import Fragment
from apps.simulator.harness import SimulatorServer
from tests.conftest import FreshDatabase
from tests.proxy.fleet.test_live_replicas import CALM, deployment
from tests.proxy.lab import ORG, Lab, at, keys, prices, route, until
from tests.proxy.standalone import StandaloneProxy
from tests.responses.test_stored import publish

pytestmark = pytest.mark.kill

ROUTES = [route("chat", [at(PROVIDER_PREFIX + "chat", "sim-chat")], deadlines=CALM, queue_ms=100_000)]
EPOCH = 77


def tell(database: FreshDatabase, sequence: int, replica: uuid.UUID, url: str, *, state: str = "ready") -> None:
    """As the control plane writes a fact."""
    body = {
        "replica": str(replica), "organisation": ORG, "deployment": "chat", "url": url, "model": "sim-chat", "state": state,
        "epoch": 0, "sequence": 0,
    }  # fmt: skip
    with psycopg.connect(database.url) as connection:
        connection.execute(
            "INSERT INTO fleet_fleetclock (id, epoch, sequence, forgotten) VALUES (1, %s, %s, 0) "
            "ON CONFLICT (id) DO UPDATE SET sequence = excluded.sequence",
            [EPOCH, sequence],
        )
        connection.execute(
            "INSERT INTO fleet_replicafact (replica, sequence, gone, body, at) VALUES (%s, %s, %s, %s, now()) ON CONFLICT (replica) "
            "DO UPDATE SET sequence = excluded.sequence, gone = excluded.gone, body = excluded.body",
            [replica, sequence, state == "gone", json.dumps(body)],
        )
        connection.execute("SELECT pg_notify(%s, %s)", [REPLICAS_CHANNEL, str(sequence)])


def reported(database: FreshDatabase) -> list[list[Any]]:
    """What the proxy's last heartbeat says of deployments."""
    with psycopg.connect(database.url) as connection:
        row = connection.execute("SELECT detail->'deployments' FROM publishing_proxy").fetchone()
    return list(row[0] or []) if row is not None else []


def test_facts_reach_a_proxy_and_outlive_the_database(fresh_database: FreshDatabase, tmp_path: Path) -> None:
    found: list[Fragment] = [deployment("chat"), *ROUTES, *prices(ROUTES), *keys()]
    publish(fresh_database, found)
    first, second = uuid.UUID(int=1), uuid.UUID(int=2)
    with SimulatorServer("engine-1") as one, SimulatorServer("engine-2") as two:
        environ = {"BULKHEAD_PROXY_DATABASE_URL": fresh_database.proxy_url}
        with StandaloneProxy(found, tmp_path, environ=environ) as proxy, httpx.Client(base_url=proxy.url, timeout=120) as client:
            lab = Lab(proxy, one, two, client)

            def chat() -> dict[str, Any]:
                return dict(next(row for row in lab.states()["fleet"] if row["deployment"] == f"{ORG}/chat"))

            held = lab.later("chat")
            until(lambda: chat()["waiting"] == 1, "the request is held")
            until(lambda: [row[2] for row in reported(fresh_database)] == [1], "the control plane hears that one is held")
            tell(fresh_database, 1, first, one.url)
            lab.join()
            assert held[0].whole, held[0].body
            assert [a["endpoint"] for a in lab.record(held[0])["attempts"]] == [str(first)]
            tell(fresh_database, 2, second, two.url)
            until(lambda: len(chat()["replicas"]) == 2, "the second is known")
            one.stop()
            until(lambda: lab.ask("chat").whole and chat()["replicas"][0]["out"], "the first cannot be reached")
            until(lambda: [out[0] for row in reported(fresh_database) for out in row[7]] == [str(first)], "the control plane hears of it")
            [[*_, answered, [[_, since]]]] = reported(fresh_database)
            assert 0 < since < answered + 60_000 and abs(answered - time.time() * 1000) < 60_000
            tell(fresh_database, 3, first, one.url, state="gone")
            until(lambda: [row["replica"] for row in chat()["replicas"]] == [str(second)], "the first is gone")
            assert lab.ask("chat").whole
            until(lambda: [row[2:5] for row in reported(fresh_database)] == [[0, 0, 0]], "nothing is outstanding")
            until(lambda: reported(fresh_database)[0][7] == [], "who is gone is not missed")
            until((tmp_path / "replicas.lkg").is_file, "the last known is on disk")
        away = {"BULKHEAD_PROXY_DATABASE_URL": "postgresql://nobody:x@127.0.0.1:1/nothing"}
        with StandaloneProxy([], tmp_path, environ=away) as proxy, httpx.Client(base_url=proxy.url, timeout=120) as client:
            lab = Lab(proxy, one, two, client)
            got = lab.ask("chat")
            assert got.whole, got.body
            assert [a["endpoint"] for a in lab.record(got)["attempts"]] == [str(second)]
