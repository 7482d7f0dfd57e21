"""A real proxy and a provider on this host: called with the switch; without it refused, told why, and failed over from."""

from __future__ import annotations

from pathlib import Path

import httpx

from apps.contracts.snapshot import Endpoint, KeyFragment, ProviderFragment, RouteFragment, Target
from apps.simulator.harness import SimulatorServer
from tests.proxy.conftest import KEY, ORG
from tests.proxy.standalone import StandaloneProxy, digest_of


def provider(name: str, base_url: str, *, allowed: bool) -> ProviderFragment:
    return ProviderFragment(
        id=f"p-{name}",
        name=name,
        kind="openai",
        organisation=ORG,
        allow_private_addresses=allowed,
        endpoints=[Endpoint(name="main", base_url=base_url)],
    )


def test_the_switch_decides_and_the_refusal_says_so(east: SimulatorServer, tmp_path: Path) -> None:
    by_name = east.base_url.replace("127.0.0.1", "localhost")
    config = [
        provider("closed", by_name, allowed=False),
        provider("open", by_name, allowed=True),
        RouteFragment(id="r1", name="refused", organisation=ORG, targets=[Target(provider="closed", model="sim-small")]),
        RouteFragment(
            id="r2",
            name="rescued",
            organisation=ORG,
            targets=[Target(provider="closed", model="sim-small"), Target(provider="open", model="sim-small")],
        ),
        KeyFragment(id="k", name="k", public_id="k", organisation=ORG, digests=[digest_of(KEY)]),
    ]
    headers = {"authorization": f"Bearer {KEY}"}
    with StandaloneProxy(config, tmp_path) as proxy, httpx.Client(base_url=proxy.url, headers=headers, timeout=30) as client:
        body = {"messages": [{"role": "user", "content": "hello"}], "max_tokens": 5}
        refused = client.post("/v1/chat/completions", json={"model": "refused", **body})
        error = refused.json()["error"]
        assert (refused.status_code, error["code"]) == (502, "upstream_unreachable")
        assert "loopback" in error["message"] and "allow_private_addresses" in error["message"]
        rescued = client.post("/v1/chat/completions", json={"model": "rescued", **body})
        assert rescued.status_code == 200 and int(rescued.headers["x-bulkhead-attempts"]) >= 2
