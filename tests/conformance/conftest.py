"""The stock OpenAI SDK against a simulator and against a real proxy in front of it: only base_url and api_key differ."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import openai
import pytest

from apps.contracts.snapshot import (
    CredentialFragment,
    Endpoint,
    Fragment,
    KeyFragment,
    PriceFragment,
    PriceVersion,
    ProviderFragment,
    RouteFragment,
    Target,
)
from apps.simulator.harness import SimulatorServer
from tests.proxy.standalone import StandaloneProxy, digest_of, seal

KEY = "bk-conformance-key-of-the-tests"
REVOKED = "bk-revoked-key-of-the-tests"
UPSTREAM_SECRET = "upstream-secret"
ROUTES = {
    "chat": "sim-chat",
    "embed": "sim-embed",
    "busy": "sim-fault/429:retry-after=1",
    "broken": "sim-fault/503",
    "bad-request": "sim-fault/400",
    "refused": "sim-fault/401",
    "stalling": "sim-fault/stall",
    "cut": "sim-fault/cut:events=4",
    "slow-stream": "slow",
}
"""Route -> the simulator's model."""


@dataclass(frozen=True)
class Stack:
    """One way to reach the simulator. kind: ``simulator`` directly, ``proxy`` through Bulkhead."""

    kind: str
    base_url: str
    key: str
    sim: SimulatorServer
    admin_url: str = ""

    def model(self, route: str) -> str:
        """What to ask for: the route's name, or what lies behind it where there are no routes."""
        return route if self.kind == "proxy" else ROUTES[route]


def fragments(sim: SimulatorServer) -> list[Fragment]:
    """A config of one organisation, one provider with a credential, a price for each model, and a key."""
    price = PriceVersion(version="p1", input=150_000_000, output=600_000_000)
    provider = ProviderFragment(
        id="provider-1",
        name="sim",
        kind="openai",
        organisation="org-1",
        simulated=True,
        allow_private_addresses=True,
        endpoints=[Endpoint(name="local", base_url=sim.base_url, credential="credential-1")],
    )
    return [
        provider,
        CredentialFragment(id="credential-1", sealed=seal(UPSTREAM_SECRET)),
        *(PriceFragment(id=f"sim/{model}", provider="sim", model=model, versions=[price]) for model in ROUTES.values()),
        *(
            RouteFragment(id=f"route-{name}", name=name, organisation="org-1", targets=[Target(provider="sim", model=model)])
            for name, model in ROUTES.items()
        ),
        KeyFragment(id="key-1", name="stock", public_id="stock", organisation="org-1", digests=[digest_of(KEY)]),
        KeyFragment(id="key-2", name="old", public_id="old", organisation="org-1", digests=[digest_of(REVOKED)], state="revoked"),
    ]


@pytest.fixture(scope="session")
def conformance_sim() -> Iterator[SimulatorServer]:
    scenario = {
        "api_keys": [UPSTREAM_SECRET],
        "served": ["sim-chat", "sim-embed"],
        "models": {"slow": {"tokens_per_second": 50, "output_tokens": {"kind": "fixed", "value": 100_000}}},
    }
    with SimulatorServer("sim-conformance", scenario=scenario) as server:
        yield server


@pytest.fixture(scope="session")
def proxy_stack(conformance_sim: SimulatorServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """A real proxy process, booted from a config file without any database."""
    folder: Path = tmp_path_factory.mktemp("conformance")
    with StandaloneProxy(fragments(conformance_sim), folder) as proxy:
        yield Stack("proxy", f"{proxy.url}/v1", KEY, conformance_sim, proxy.admin_url)


@pytest.fixture(params=["simulator", "proxy"])
def stack(request: pytest.FixtureRequest, conformance_sim: SimulatorServer) -> Stack:
    conformance_sim.reset()
    if request.param == "proxy":
        found: Stack = request.getfixturevalue("proxy_stack")
        return found
    return Stack("simulator", conformance_sim.base_url, UPSTREAM_SECRET, conformance_sim)


@pytest.fixture(scope="session")
def any_client() -> Iterator[openai.OpenAI]:
    """Shared, because each new client reads all of the system's certificates; ``with_options`` makes it a stack's."""
    with openai.OpenAI(base_url="http://127.0.0.1:1", api_key="none", max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture
def client(stack: Stack, any_client: openai.OpenAI) -> openai.OpenAI:
    return any_client.with_options(base_url=stack.base_url, api_key=stack.key)


@pytest.fixture
async def async_client(stack: Stack) -> AsyncIterator[openai.AsyncOpenAI]:
    async with openai.AsyncOpenAI(base_url=stack.base_url, api_key=stack.key, max_retries=0, timeout=60) as client:
        yield client
