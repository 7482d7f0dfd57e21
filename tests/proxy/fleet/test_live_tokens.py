"""Tokens of replicas at a proxy: sealed on their way and on the disk, sent as they are; a wrong one costs no request."""

from __future__ import annotations

import uuid
from collections import Counter
from pathlib import Path

import httpx
import msgspec
import pytest

from apps.contracts.fleet import PROVIDER_PREFIX, EndpointFacts, ReplicaEndpoint
from apps.proxy.fleet.follow import FILE
from apps.simulator.harness import SimulatorServer
from tests.proxy.fleet.test_live_replicas import CALM, deployment
from tests.proxy.lab import ORG, Lab, at, keys, prices, route
from tests.proxy.standalone import StandaloneProxy, seal

pytestmark = pytest.mark.kill

ROUTES = [route("chat", [at(PROVIDER_PREFIX + "chat", "sim-chat")], deadlines=CALM)]
RIGHT, OTHER = "bhr_" + "r" * 43, "bhr_" + "o" * 43


def test_a_replica_with_another_token_is_passed_over_and_said(tmp_path: Path) -> None:
    names = [str(uuid.UUID(int=number + 1)) for number in range(3)]
    with SimulatorServer("engine-1") as good, SimulatorServer("engine-2") as turned, SimulatorServer("engine-3") as strange:
        for engine in (good, turned, strange):
            engine.control(api_keys=[RIGHT])
        sealed = {names[0]: seal(RIGHT), names[1]: seal(OTHER), names[2]: "gAAAAA-no-token-of-this-key"}
        facts = [
            ReplicaEndpoint(
                replica=name,
                organisation=ORG,
                deployment="chat",
                url=engine.url,
                model="sim-chat",
                epoch=1,
                sequence=1,
                sealed=sealed[name],
            )
            for name, engine in zip(names, (good, turned, strange), strict=True)
        ]
        (tmp_path / FILE).write_bytes(msgspec.json.encode(EndpointFacts(epoch=1, sequence=1, whole=True, endpoints=facts)))
        with (
            StandaloneProxy([deployment("chat"), *ROUTES, *prices(ROUTES), *keys()], tmp_path) as proxy,
            httpx.Client(base_url=proxy.url, timeout=120) as client,
        ):
            lab = Lab(proxy, good, turned, client)
            answers = [lab.ask("chat", stream=bool(number % 2)) for number in range(9)]
            assert all(got.whole for got in answers), [got.body for got in answers]
            ended: Counter[tuple[str, str]] = Counter()
            for got in answers:
                attempts = lab.record(got)["attempts"]
                assert attempts[-1]["endpoint"] == names[0] and attempts[-1]["outcome"] == "ok"
                ended.update((one["endpoint"], one["outcome"]) for one in attempts)
                assert all(one["status"] == 401 for one in attempts[:-1])
            assert {place for place, outcome in ended if outcome != "ok"} == set(names[1:]), "both were asked, and refused"
            assert RIGHT not in (tmp_path / FILE).read_text(), "no file of the proxy holds the token open"
