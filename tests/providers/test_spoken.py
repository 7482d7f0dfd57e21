"""Each kind of provider is tested by one real call in its own format, against a simulation that speaks it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from apps.providers.choices import KINDS
from apps.providers.probe import Address, chat_try, models_list
from apps.providers.spoken import call_headers
from apps.proxy.dialects import DIALECTS
from apps.simulator.harness import SimulatorServer

KEY = "sk-live-31415926535897932384"
BASES = {"openai": "/v1", "azure": "/v1", "anthropic": "/v1", "gemini": "/v1beta"}


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorServer]:
    with SimulatorServer("sim-kinds", scenario={"api_keys": [KEY], "served": ["sim-a", "sim-b"]}) as server:
        yield server


def test_every_kind_has_a_dialect_and_every_dialect_a_kind() -> None:
    assert KINDS.keys() == DIALECTS.keys()


@pytest.mark.parametrize("kind", KINDS)
def test_a_credential_is_sent_as_the_proxy_sends_it(kind: str) -> None:
    """What a test proves must hold for requests."""
    heads = DIALECTS[kind].request_heads(base_path="/v1", host=b"h", secret=KEY.encode())
    probe = heads["probe"].decode()
    assert all(f"\r\n{name}: {value}\r\n" in probe for name, value in call_headers(kind, KEY).items())


@pytest.mark.parametrize("kind", BASES)
def test_one_real_call(sim: SimulatorServer, kind: str) -> None:
    address = Address(base_url=sim.url + BASES[kind], secret=KEY, kind=kind, allow_private=True)
    assert models_list(address).models == ("sim-a", "sim-b")
    tried = chat_try(address, "sim-a")
    assert tried.problem is None and tried.text and tried.tokens and tried.tokens[1] > 0
    refused = chat_try(Address(base_url=address.base_url, secret="sk-other", kind=kind, allow_private=True), "sim-a")
    assert refused.problem is not None and refused.problem.code == "unauthorised"


@pytest.mark.parametrize(("kind", "base"), [("anthropic", "/v1beta"), ("gemini", "/v1")])
def test_the_wrong_format_is_told(sim: SimulatorServer, kind: str, base: str) -> None:
    problem = models_list(Address(base_url=sim.url + base, secret=KEY, kind=kind, allow_private=True)).problem
    assert problem is not None and (problem.code, KINDS[kind].base_url in problem.advice) == ("other_format", True)
