"""OpenAI's wire format: answers, streams, embeddings, models, refusals, and how tokens are counted."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.simulator.content import completion_text
from apps.simulator.counting import prompt_tokens, text_tokens
from apps.simulator.harness import SimulatorServer


def chat(**more: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": "hello"}], **more}


def events_of(answer: httpx.Response) -> list[dict[str, Any]]:
    """The decoded events of a stream, which must end with ``[DONE]``."""
    events = answer.text.removesuffix("\n\n").split("\n\n")
    assert events.pop() == "data: [DONE]"
    return [json.loads(event.removeprefix("data: ")) for event in events]


def test_a_json_answer(client: httpx.Client) -> None:
    answer = client.post("/chat/completions", json=chat(), headers={"x-request-id": "abc"})
    body = answer.json()
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["x-bulkhead-simulated"] == "sim-test"
    assert answer.headers["x-request-id"].startswith("req-")
    assert body["bulkhead_simulated"] is True
    assert body["object"] == "chat.completion"
    assert body["choices"][0]["message"]["role"] == "assistant"
    assert body["choices"][0]["finish_reason"] == "stop"
    assert body["usage"]["prompt_tokens"] == 2
    assert body["usage"]["completion_tokens"] == 16 == text_tokens(body["choices"][0]["message"]["content"])
    assert body["usage"]["total_tokens"] == 18


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_limits_are_respected(client: httpx.Client, field: str) -> None:
    body = client.post("/chat/completions", json=chat(**{field: 3})).json()
    assert (body["choices"][0]["finish_reason"], body["usage"]["completion_tokens"]) == ("length", 3)


@pytest.mark.parametrize("wish", [{"bulkhead_sim": {"output_tokens": 77}}, {"metadata": {"bulkhead_sim": "77"}}])
@pytest.mark.parametrize("stream", [False, True])
def test_an_exact_length_on_request(client: httpx.Client, wish: dict[str, Any], stream: bool) -> None:
    more: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
    answer = client.post("/chat/completions", json=chat(**wish, **more))
    usage = events_of(answer)[-1]["usage"] if stream else answer.json()["usage"]
    assert usage["completion_tokens"] == 77


def test_no_output_at_all(client: httpx.Client) -> None:
    body = client.post("/chat/completions", json=chat(bulkhead_sim={"output_tokens": 0})).json()
    assert (body["choices"][0]["message"]["content"], body["usage"]["completion_tokens"]) == ("", 0)


def test_a_stream_in_order(client: httpx.Client) -> None:
    answer = client.post("/chat/completions", json=chat(stream=True, stream_options={"include_usage": True}))
    assert answer.headers["content-type"].startswith("text/event-stream")
    role, *contents, finish, usage = events_of(answer)
    assert role["choices"][0]["delta"]["role"] == "assistant"
    assert len(contents) == 16
    assert all(event["choices"][0]["delta"]["content"] and event["usage"] is None for event in contents)
    assert (finish["choices"][0]["delta"], finish["choices"][0]["finish_reason"]) == ({}, "stop")
    assert (usage["choices"], usage["usage"]["completion_tokens"]) == ([], 16)
    assert len({event["id"] for event in (role, *contents, finish, usage)}) == 1


def test_a_stream_without_usage_has_none(client: httpx.Client) -> None:
    assert all("usage" not in event for event in events_of(client.post("/chat/completions", json=chat(stream=True))))


@pytest.mark.parametrize("per_event", [1, 4, 5, 100])
def test_a_stream_says_what_the_json_answer_says(sim: SimulatorServer, client: httpx.Client, per_event: int) -> None:
    sim.control(server={"tokens_per_event": per_event, "output_tokens": {"kind": "fixed", "value": 33}})
    events = events_of(client.post("/chat/completions", json=chat(stream=True)))
    text = "".join(event["choices"][0]["delta"].get("content") or "" for event in events)
    assert text_tokens(text) == 33
    assert len(events) == 2 + -(-33 // per_event)


def test_several_choices(client: httpx.Client) -> None:
    body = client.post("/chat/completions", json=chat(n=3, max_tokens=5)).json()
    assert [choice["index"] for choice in body["choices"]] == [0, 1, 2]
    assert len({choice["message"]["content"] for choice in body["choices"]}) == 3
    assert body["usage"]["completion_tokens"] == 15
    events = events_of(client.post("/chat/completions", json=chat(n=3, max_tokens=5, stream=True)))
    for index in range(3):
        own = [event["choices"][0] for event in events if event["choices"][0]["index"] == index]
        assert own[0]["delta"]["role"] == "assistant" and own[-1]["finish_reason"] == "length" and len(own) == 7


def test_stop_ends_before_the_text(sim: SimulatorServer, client: httpx.Client) -> None:
    text = completion_text(500, 1)
    word = text.split()[7]
    for stop in (word, [word, "never written"]):
        body = client.post("/chat/completions", json=chat(stop=stop, bulkhead_sim={"output_tokens": 4000})).json()
        content = body["choices"][0]["message"]["content"]
        assert word not in content and body["choices"][0]["finish_reason"] == "stop"
        assert body["usage"]["completion_tokens"] == text_tokens(content) < 4000


WEATHER = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string"}, "days": {"type": "integer", "minimum": 1}, "unit": {"enum": ["C", "F"]}},
            "required": ["city", "days", "unit"],
        },
    },
}


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "weather"}}])
def test_a_forced_tool_call(client: httpx.Client, choice: Any) -> None:
    body = client.post("/chat/completions", json=chat(tools=[WEATHER], tool_choice=choice)).json()
    [call] = body["choices"][0]["message"]["tool_calls"]
    assert body["choices"][0]["finish_reason"] == "tool_calls"
    assert (call["function"]["name"], json.loads(call["function"]["arguments"])) == ("weather", {"city": "sim", "days": 1, "unit": "C"})
    events = events_of(client.post("/chat/completions", json=chat(tools=[WEATHER], tool_choice=choice, stream=True)))
    deltas = [event["choices"][0]["delta"]["tool_calls"][0] for event in events if "tool_calls" in event["choices"][0]["delta"]]
    assert deltas[0]["function"]["name"] == "weather" and deltas[0]["id"]
    assert json.loads("".join(delta["function"]["arguments"] for delta in deltas)) == {"city": "sim", "days": 1, "unit": "C"}


def test_tools_that_are_not_forced_are_not_called(client: httpx.Client) -> None:
    assert "tool_calls" not in client.post("/chat/completions", json=chat(tools=[WEATHER])).json()["choices"][0]["message"]


def test_json_content(client: httpx.Client) -> None:
    schema = {"type": "object", "properties": {"n": {"type": "array", "items": {"type": "null"}, "minItems": 2}}, "required": ["n"]}
    for wanted, expected in (
        ({"type": "json_object"}, {"simulated": True}),
        ({"type": "json_schema", "json_schema": {"name": "x", "schema": schema}}, {"n": [None, None]}),
    ):
        body = client.post("/chat/completions", json=chat(response_format=wanted)).json()
        assert json.loads(body["choices"][0]["message"]["content"]) == expected


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"messages": []}, "model"),
        ({"model": "m"}, "messages"),
        ({"model": "m", "messages": []}, "messages"),
        ({"model": "m", "messages": ["hello"]}, "messages[0]"),
        (chat(n=0), "n"),
        (chat(n=True), "n"),
        (chat(max_tokens=0), "max_tokens"),
        (chat(max_tokens="5"), "max_tokens"),
        (chat(stop=[1]), "stop"),
        (chat(stream_options={}), "stream_options"),
        (chat(tool_choice="required"), "tool_choice"),
        (chat(response_format={"type": "xml"}), "response_format"),
        (chat(bulkhead_sim={"output_tokens": -1}), "bulkhead_sim.output_tokens"),
        (chat(bulkhead_sim={"fault": "explode"}), "bulkhead_sim.fault"),
        (chat(bulkhead_sim=5), "bulkhead_sim"),
    ],
)
def test_bad_requests_are_refused_by_name(client: httpx.Client, body: dict[str, Any], param: str) -> None:
    answer = client.post("/chat/completions", json=body)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
    assert answer.json()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"x"', b"\xff", b"[" * 100_000])
def test_bodies_that_are_no_object(client: httpx.Client, body: bytes) -> None:
    for path in ("/chat/completions", "/embeddings"):
        assert client.post(path, content=body).status_code == 400


# embeddings and models


@pytest.mark.parametrize(
    ("given", "count", "tokens"), [("hello", 1, 2), (["a", "bcdef"], 2, 3), ([1, 2, 3], 1, 3), ([[1], [2, 3]], 2, 3), ("ü" * 4, 1, 2)]
)
def test_embeddings(client: httpx.Client, given: Any, count: int, tokens: int) -> None:
    body = client.post("/embeddings", json={"model": "e", "input": given}).json()
    assert [item["index"] for item in body["data"]] == list(range(count))
    assert body["usage"] == {"prompt_tokens": tokens, "total_tokens": tokens}
    assert body["bulkhead_simulated"] is True
    for item in body["data"]:
        assert sum(value * value for value in item["embedding"]) == pytest.approx(1)


def test_base64_carries_the_same_floats(client: httpx.Client) -> None:
    request = {"model": "e", "input": "hello", "dimensions": 7}
    floats = client.post("/embeddings", json=request).json()["data"][0]["embedding"]
    packed = client.post("/embeddings", json={**request, "encoding_format": "base64"}).json()["data"][0]["embedding"]
    assert len(floats) == 7
    assert struct.unpack("<7f", base64.b64decode(packed)) == pytest.approx(floats)


@pytest.mark.parametrize("given", [None, "", [], [""], [[]], [1, "a"], 5])
def test_bad_embedding_inputs(client: httpx.Client, given: Any) -> None:
    answer = client.post("/embeddings", json={"model": "e", "input": given})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "input")


def test_models(sim: SimulatorServer, client: httpx.Client) -> None:
    assert [model["id"] for model in client.get("/models").json()["data"]] == ["sim-chat", "sim-embed"]
    assert client.get("/models/sim-chat").json()["object"] == "model"
    assert client.get("/models/nothing").json()["error"]["code"] == "model_not_found"
    sim.control(only_served=True)
    assert client.post("/chat/completions", json=chat()).json()["error"]["code"] == "model_not_found"


def test_api_keys(sim: SimulatorServer, client: httpx.Client) -> None:
    sim.control(api_keys=["right"])
    for key, status in (("right", 200), ("wrong", 401)):
        headers = {"authorization": f"Bearer {key}"}
        assert client.post("/chat/completions", json=chat(), headers=headers).status_code == status
        assert client.post("/embeddings", json={"model": "e", "input": "x"}, headers=headers).status_code == status
        assert client.get("/models", headers=headers).status_code == status


# counting


@given(st.integers(0, 20_000), st.integers(0, 10**6))
def test_completions_have_their_exact_length(tokens: int, ordinal: int) -> None:
    text = completion_text(tokens, ordinal)
    assert text.isascii() and text_tokens(text) == tokens


CONTENT = st.text() | st.lists(st.builds(lambda text: {"type": "text", "text": text}, st.text()))


@given(st.lists(st.builds(lambda content: {"role": "user", "content": content}, CONTENT), min_size=1))
def test_the_prompt_never_counts_above_its_bytes(messages: list[dict[str, Any]]) -> None:
    """What makes a reservation by UTF-8 bytes an upper bound."""
    assert len(messages) <= prompt_tokens(messages) <= len(json.dumps(messages, ensure_ascii=False).encode("utf-8", "surrogatepass"))


def test_the_rule_by_example() -> None:
    def count(content: Any) -> int:
        return prompt_tokens([{"role": "user", "content": content}])

    assert [count(text) for text in ("", "a", "abcd", "abcde", "ü" * 4, "x" * 4000)] == [1, 1, 1, 2, 2, 1000]
    assert count([{"type": "text", "text": "abcd"}, {"type": "text", "text": "efgh"}]) == 2
    assert count(None) == 1
