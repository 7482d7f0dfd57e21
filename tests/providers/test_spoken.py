"""Each kind of provider is tested by one real call in its own format, against a simulation that speaks it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from apps.providers.choices import KINDS
from apps.providers.probe import Address, chat_try, models_list
from apps.providers.spoken import call_headers
from apps.proxy.dialects import DIALECTS
from apps.simulator.harness import SimulatorServer

KEY = "sk-live-31415926535897932384"
PLACE = "/v1/projects/acme/locations/europe-west4"
BASES = {
    "openai": "/v1",
    "azure": "/v1",
    "anthropic": "/v1",
    "gemini": "/v1beta",
    "azure-deployments": "/openai",
    "responses": "/v1",
    "bedrock": "",
    "cohere": "",
    "ollama": "",
}
VERSION = "2024-10-21"


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorServer]:
    with SimulatorServer("sim-kinds", scenario={"api_keys": [KEY], "served": ["sim-a", "sim-b"]}) as server:
        yield server


def test_every_kind_has_a_dialect_and_every_dialect_a_kind() -> None:
    assert KINDS.keys() == DIALECTS.keys()
    assert {kind: KINDS[kind].forms for kind in KINDS} == {kind: dialect.forms for kind, dialect in DIALECTS.items()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_credential_is_sent_as_the_proxy_sends_it(kind: str) -> None:
    """What a test proves must hold for requests."""
    dialect = DIALECTS[kind]
    heads = dialect.request_heads(base_path="/v1", host=b"h", secret=KEY.encode(), model="m", api_version=VERSION)
    asked = heads.get("probe") or b"POST / HTTP/1.1\r\n" + dialect.told({}) + heads["rest"]
    assert all(f"\r\n{name}: {value}\r\n" in asked.decode() for name, value in call_headers(kind, KEY).items())
    without = dialect.request_heads(base_path="/v1", host=b"h", secret=None, model="m", api_version=VERSION)
    assert not any(KEY.encode() in head for head in without.values())


@pytest.mark.parametrize("kind", BASES)
def test_one_real_call(sim: SimulatorServer, kind: str) -> None:
    version = VERSION if KINDS[kind].versioned else ""
    address = Address(base_url=sim.url + BASES[kind], secret=KEY, kind=kind, allow_private=True, api_version=version)
    assert models_list(address).models == ("sim-a", "sim-b")
    tried = chat_try(address, "sim-a")
    assert tried.problem is None and tried.text and tried.tokens and tried.tokens[1] > 0
    refused = chat_try(replace(address, secret="sk-other"), "sim-a")
    assert refused.problem is not None and refused.problem.code == "unauthorised"


@pytest.mark.parametrize(("kind", "base"), [("anthropic", "/v1beta"), ("gemini", "/v1")])
def test_the_wrong_format_is_told(sim: SimulatorServer, kind: str, base: str) -> None:
    problem = models_list(Address(base_url=sim.url + base, secret=KEY, kind=kind, allow_private=True)).problem
    assert problem is not None and (problem.code, KINDS[kind].base_url in problem.advice) == ("other_format", True)
