"""Streams that pass through in a format of their own and break off: the vendors' SDKs see one whole answer, whoever goes on with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import openai
import pytest
from google import genai
from google.genai import types as genai_types

from apps.contracts.snapshot import CredentialFragment, Endpoint, Fragment, KeyFragment, ProviderFragment, Resilience, RouteFragment, Target
from apps.simulator.harness import SimulatorServer
from tests.proxy.standalone import StandaloneProxy, digest_of, seal
from tests.scale import FULL

KEY = "bk-nativeresc-of-the-tests"
BASES = {"openai": "/v1", "anthropic": "/v1", "gemini": "/v1beta", "responses": "/v1"}
HELLO: Any = [{"role": "user", "content": "Hello"}]
CUTS = {"early": "cut:events=5", "late": "cut:events=12"} if FULL else {"early": "cut:events=5"}
LENGTH = 64
"""Characters of every answer: sixteen tokens."""


def fragments(sim: SimulatorServer) -> list[Fragment]:
    found: list[Fragment] = [CredentialFragment(id="c", sealed=seal("upstream"))]
    for kind, base in BASES.items():
        endpoint = Endpoint(name="sim", base_url=sim.url + base, credential="c")
        found.append(
            ProviderFragment(
                id=kind, name=kind, kind=kind, organisation="o", simulated=True, allow_private_addresses=True, endpoints=[endpoint]
            )
        )
        for other in BASES:
            for when, fault in CUTS.items():
                name = f"{kind}-{when}-{other}"
                targets = [Target(provider=kind, model=f"sim-fault/{fault}#{name}"), Target(provider=other, model=f"sim-{other}")]
                found.append(
                    RouteFragment(
                        id=name, name=name, organisation="o", targets=targets, resilience=Resilience(rescue="any"), max_attempts=3
                    )
                )
    return [*found, KeyFragment(id="k", name="k", public_id="nativeresc", organisation="o", digests=[digest_of(KEY)])]


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandaloneProxy]:
    with (
        SimulatorServer("sim-native", scenario={"api_keys": ["upstream"]}) as sim,
        StandaloneProxy(fragments(sim), tmp_path_factory.mktemp("native")) as running,
    ):
        yield running
        said = running.log.read_text()
        assert "failed inside the proxy" not in said and "could not be" not in said, said[-4000:]


each = pytest.mark.parametrize("other", BASES)
whenever = pytest.mark.parametrize("when", CUTS)


@each
@whenever
def test_anthropics_messages(proxy: StandaloneProxy, other: str, when: str) -> None:
    asked: Any = {"model": f"anthropic-{when}-{other}", "max_tokens": 100, "messages": HELLO, "extra_body": {"temperature": 0}}
    with anthropic.Anthropic(base_url=proxy.url, api_key=KEY, max_retries=0) as client, client.messages.stream(**asked) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert len(text) == LENGTH and [block.type for block in final.content] == ["text"]
    assert final.content[0].type == "text" and final.content[0].text == text and final.stop_reason == "end_turn"


@each
@whenever
def test_openais_responses(proxy: StandaloneProxy, other: str, when: str) -> None:
    asked: Any = {"model": f"responses-{when}-{other}", "max_output_tokens": 100, "temperature": 0, "input": "Hello"}
    with openai.OpenAI(base_url=f"{proxy.url}/v1", api_key=KEY, max_retries=0) as client, client.responses.stream(**asked) as stream:
        events = list(stream)
        final = stream.get_final_response()
    text = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    assert len(text) == LENGTH and text == final.output_text and final.status == "completed"
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert {event.response.id for event in events if event.type in ("response.created", "response.completed")} == {final.id}


@each
@whenever
def test_googles_content(proxy: StandaloneProxy, other: str, when: str) -> None:
    options = genai_types.HttpOptions(base_url=proxy.url, timeout=60_000)
    with genai.Client(api_key=KEY, http_options=options) as client:
        config = genai_types.GenerateContentConfig(temperature=0, max_output_tokens=100)
        chunks = list(client.models.generate_content_stream(model=f"gemini-{when}-{other}", contents="Hello", config=config))
    text = "".join(chunk.text or "" for chunk in chunks)
    assert len(text) == LENGTH and len({chunk.response_id for chunk in chunks}) == 1
    candidates = chunks[-1].candidates
    assert candidates is not None and candidates[0].finish_reason == genai_types.FinishReason.STOP
