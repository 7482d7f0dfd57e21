"""A simulator that obeys tools and schemas, and a proxy before it, for clients of other people's making."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from apps.contracts.snapshot import CredentialFragment, Endpoint, Fragment, KeyFragment, ProviderFragment, RouteFragment, Target
from apps.simulator.harness import SimulatorServer
from tests.proxy.standalone import StandaloneProxy, digest_of, seal

KEY = "bk-clientskey-of-the-tests"
SECRET = "upstream-secret"
BASES = {"openai": "/v1", "anthropic": "/v1", "gemini": "/v1beta"}
SCENARIO = {"api_keys": [SECRET], "server": {"calls_tools": True, "output_tokens": {"kind": "fixed", "value": 40}}}


def fragments(sim: SimulatorServer) -> list[Fragment]:
    """A route ``by-<kind>`` for each format of a provider, whatever the client speaks."""
    found: list[Fragment] = [CredentialFragment(id="c", sealed=seal(SECRET))]
    for kind, base in BASES.items():
        endpoint = Endpoint(name="sim", base_url=sim.url + base, credential="c")
        found.append(
            ProviderFragment(
                id=kind, name=kind, kind=kind, organisation="o", simulated=True, allow_private_addresses=True, endpoints=[endpoint]
            )
        )
        name = f"by-{kind}"
        found.append(RouteFragment(id=name, name=name, organisation="o", targets=[Target(provider=kind, model=f"sim-{kind}")]))
    return [*found, KeyFragment(id="k", name="k", public_id="clientskey", organisation="o", digests=[digest_of(KEY)])]


@contextmanager
def served(folder: Path) -> Iterator[StandaloneProxy]:
    with SimulatorServer("sim-clients", scenario=SCENARIO) as sim, StandaloneProxy(fragments(sim), folder) as proxy:
        yield proxy
        said = proxy.log.read_text()
        assert "failed inside the proxy" not in said and "could not be" not in said, said[-4000:]
