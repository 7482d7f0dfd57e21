"""What the stock SDK sees of the proxy alone: its refusals, its headers, its records."""

from __future__ import annotations

from typing import Any

import openai
import pytest

from tests.conformance.conftest import REVOKED, ROUTES, Stack

HELLO: Any = [{"role": "user", "content": "Hello"}]


@pytest.fixture
def client(proxy_stack: Stack, any_client: openai.OpenAI) -> openai.OpenAI:
    proxy_stack.sim.reset()
    return any_client.with_options(base_url=proxy_stack.base_url, api_key=proxy_stack.key)


def test_an_unknown_model_is_refused_with_those_that_exist(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError) as caught:
        client.chat.completions.create(model="gpt-nothing", messages=HELLO)
    assert caught.value.code == "model_not_found" and caught.value.param == "model"
    assert "chat" in caught.value.message and "embed" in caught.value.message


def test_a_revoked_key_is_refused_as_revoked(client: openai.OpenAI) -> None:
    with pytest.raises(openai.AuthenticationError) as caught:
        client.with_options(api_key=REVOKED).chat.completions.create(model="chat", messages=HELLO)
    assert caught.value.code == "key_revoked"


def test_the_models_are_the_keys_routes(client: openai.OpenAI) -> None:
    assert sorted(model.id for model in client.models.list()) == sorted(ROUTES)


def test_the_provider_sees_neither_the_key_nor_the_routes_name(client: openai.OpenAI, proxy_stack: Stack) -> None:
    client.chat.completions.create(model="chat", messages=HELLO)
    bill = proxy_stack.sim.bill()
    assert set(bill["models"]) == {"sim-chat"}
    assert bill["ok"] == 1, "the provider's own key was sent: it takes no other"


def test_cost_and_record(client: openai.OpenAI, proxy_stack: Stack) -> None:
    raw = client.chat.completions.with_raw_response.create(model="chat", messages=HELLO, max_tokens=7)
    bill = proxy_stack.sim.bill()
    assert int(raw.headers["x-bulkhead-cost-nano"]) == bill["cost_nano"] > 0
    record: Any = client.get(f"/requests/{raw.headers['x-bulkhead-request-id']}", cast_to=object)
    assert record["cost_nano"] == bill["cost_nano"]
    assert record["attempts"][0]["upstream_request_id"] == bill["seen"][0]["id"]


def test_a_streams_cost_is_in_its_record(client: openai.OpenAI, proxy_stack: Stack) -> None:
    """Without include_usage, too: the proxy asks for the usage itself and keeps it to itself."""
    create = client.chat.completions.with_raw_response.create
    raw = create(model="chat", messages=HELLO, stream=True, max_tokens=7)
    assert sum(1 for chunk in raw.parse() if chunk.choices and chunk.choices[0].delta.content) == 7
    bill = proxy_stack.sim.bill()
    record: Any = client.get(f"/requests/{raw.headers['x-bulkhead-request-id']}", cast_to=object)
    assert (record["cost_nano"], record["tokens"]["output"], record["estimated"]) == (bill["cost_nano"], 7, False)


def test_a_stream_that_breaks_off_is_an_error_never_a_short_answer(client: openai.OpenAI) -> None:
    received = []
    stream = client.chat.completions.create(model="cut", messages=HELLO, stream=True)
    with pytest.raises(openai.APIError) as caught:
        received.extend(stream)
    assert caught.value.code == "stream_interrupted"
    assert all(choice.finish_reason is None for chunk in received for choice in chunk.choices)
