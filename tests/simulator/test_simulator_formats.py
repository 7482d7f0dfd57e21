"""Each wire format as a reader of it understands it: the proxy's own, which was made from recordings, and AWS's library for Bedrock."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NamedTuple

import httpx
import pytest

from apps.proxy.dialects.anthropic import AnthropicBack
from apps.proxy.dialects.bedrock import BedrockBack
from apps.proxy.dialects.cohere import CohereBack
from apps.proxy.dialects.gemini import GeminiBack, VertexBack
from apps.proxy.dialects.ollama import OllamaBack
from apps.proxy.dialects.responses import ResponsesBack
from apps.proxy.dialects.translation import Back, NotAnAnswer
from apps.simulator.harness import SimulatorServer

SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city", "days"]}
TOOL = {"type": "function", "function": {"name": "weather", "description": "Tells it", "parameters": SCHEMA}}
FORM = {"type": "json_schema", "json_schema": {"name": "trip", "schema": SCHEMA}}
HELLO = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "hello"}]


class Spoken(NamedTuple):
    """back: reads the format. base: below which its calls are asked. listing: (path, headers, what names the models in its answer)."""

    back: Back
    base: str
    listing: tuple[str, dict[str, str], Callable[[Any], list[str]]]


PROJECT = "/v1/projects/p/locations/europe-west4"
FORMATS = {
    "responses": Spoken(ResponsesBack(), "/v1", ("/v1/models", {}, lambda told: [row["id"] for row in told["data"]])),
    "anthropic": Spoken(
        AnthropicBack(),
        "/v1",
        ("/v1/models", {"anthropic-version": "2023-06-01"}, lambda told: [row["display_name"] for row in told["data"]]),
    ),
    "gemini": Spoken(
        GeminiBack(), "/v1beta", ("/v1beta/models", {}, lambda told: [row["name"].removeprefix("models/") for row in told["models"]])
    ),
    "vertex": Spoken(
        VertexBack(),
        PROJECT,
        (f"{PROJECT}/publishers/google/models", {}, lambda told: [row["name"].rpartition("/")[2] for row in told["publisherModels"]]),
    ),
    "bedrock": Spoken(BedrockBack(), "", ("/foundation-models", {}, lambda told: [row["modelId"] for row in told["modelSummaries"]])),
    "cohere": Spoken(
        CohereBack(), "", ("/v1/models?page_size=1000&endpoint=chat", {}, lambda told: [row["name"] for row in told["models"]])
    ),
    "ollama": Spoken(OllamaBack(), "", ("/api/tags", {}, lambda told: [row["name"] for row in told["models"]])),
}
MODELS = {
    "anthropic": "claude-sonnet-4-5",
    "gemini": "gemini-2.5-flash",
    "vertex": "gemini-2.5-flash",
    "bedrock": "anthropic.claude-sonnet-4-5",
}
"""Whose names say that they can be held to a form."""
each = pytest.mark.parametrize("name", FORMATS)


def asked(sim: SimulatorServer, name: str, payload: dict[str, Any], *, stream: bool = False, model: str = "") -> httpx.Response:
    spoken = FORMATS[name]
    sent = spoken.back.request({"messages": HELLO, **payload}, model or MODELS.get(name, "m"), stream=stream)
    return httpx.post(f"{sim.url}{spoken.base}{sent.path}", json=sent.body, timeout=60)


def read(name: str, answer: httpx.Response) -> dict[str, Any]:
    """The choice's message, finish reason and the usage of a stream, as one whole."""
    stream = FORMATS[name].back.stream({})
    chunks = [chunk for at in range(0, len(answer.content), 7) for chunk in stream.feed(answer.content[at : at + 7])]
    chunks += stream.close()
    text, calls, finish, usage, error = "", [], None, None, None
    for chunk in chunks:
        error, usage = chunk.get("error") or error, chunk.get("usage") or usage
        for choice in chunk.get("choices", ()):
            text += choice["delta"].get("content") or ""
            finish = choice.get("finish_reason") or finish
            for call in choice["delta"].get("tool_calls") or ():
                if call["index"] == len(calls):
                    calls.append({"name": call["function"]["name"], "arguments": ""})
                calls[call["index"]]["arguments"] += call["function"].get("arguments") or ""
    return {"text": text, "calls": calls, "finish": finish, "usage": usage, "error": error, "whole": stream.finished}


@each
def test_a_text(sim: SimulatorServer, name: str) -> None:
    answer = asked(sim, name, {"max_tokens": 6})
    assert (answer.status_code, answer.headers["x-bulkhead-simulated"], answer.json()["bulkhead_simulated"]) == (200, "sim-test", True)
    told = FORMATS[name].back.answer(answer.content, {})
    assert len(told["choices"][0]["message"]["content"]) == 24 and told["choices"][0]["finish_reason"] == "length"
    assert told["usage"]["completion_tokens"] == 6 and told["usage"]["prompt_tokens"] == 5
    line = sim.bill()["seen"][-1]
    assert (line["input_tokens"], line["output_tokens"], line["outcome"]) == (5, 6, "ok")


@each
def test_a_stream(sim: SimulatorServer, name: str) -> None:
    sim.control(models={MODELS.get(name, "m"): {"output_tokens": {"kind": "fixed", "value": 9}}})
    answer = asked(sim, name, {"temperature": 0}, stream=True)
    assert answer.headers["content-type"].partition(";")[0].encode() == FORMATS[name].back.stream_type
    told = read(name, answer)
    assert (len(told["text"]), told["finish"], told["whole"], told["error"]) == (36, "stop", True, None)
    assert (told["usage"]["prompt_tokens"], told["usage"]["completion_tokens"]) == (5, 9)
    whole = FORMATS[name].back.answer(asked(sim, name, {"temperature": 0}).content, {})
    assert whole["choices"][0]["message"]["content"] == told["text"], "a stream says what the whole answer says"


@each
@pytest.mark.parametrize("stream", [False, True])
def test_a_tool_that_it_is_made_to_call(sim: SimulatorServer, name: str, stream: bool) -> None:
    choice = {"tool_choice": {"type": "function", "function": {"name": "weather"}}}
    if name == "ollama":  # which knows no force
        sim.control(server={"calls_tools": True})
        choice = {}
    answer = asked(sim, name, {"tools": [TOOL], **choice}, stream=stream)
    if stream:
        told = read(name, answer)
        calls, finish = told["calls"], told["finish"]
    else:
        first = FORMATS[name].back.answer(answer.content, {})["choices"][0]
        calls, finish = [call["function"] for call in first["message"]["tool_calls"]], first["finish_reason"]
    assert [call["name"] for call in calls] == ["weather"] and finish == "tool_calls"
    assert json.loads(calls[0]["arguments"]) == {"city": "sim", "days": 0}


@each
def test_a_tool_of_its_own_accord_until_a_result_came_back(sim: SimulatorServer, name: str) -> None:
    sim.control(server={"calls_tools": True})
    back = FORMATS[name].back
    message = back.answer(asked(sim, name, {"tools": [TOOL]}).content, {})["choices"][0]["message"]
    result = {"role": "tool", "tool_call_id": message["tool_calls"][0]["id"], "content": "sunny"}
    second = back.answer(asked(sim, name, {"tools": [TOOL], "messages": [*HELLO, message, result]}).content, {})
    assert "tool_calls" not in second["choices"][0]["message"] and second["choices"][0]["message"]["content"]


@each
def test_an_answer_in_a_form(sim: SimulatorServer, name: str) -> None:
    told = FORMATS[name].back.answer(asked(sim, name, {"response_format": FORM}).content, {})
    assert json.loads(told["choices"][0]["message"]["content"]) == {"city": "sim", "days": 0}


@each
def test_errors(sim: SimulatorServer, name: str) -> None:
    for status, kind in ((429, "rate_limit_error"), (500, "server_error"), (503, "server_error")):
        sim.control(server={"faults": [str(status)]})
        answer = asked(sim, name, {})
        trouble = FORMATS[name].back.error(answer.status_code, answer.content)
        assert (answer.status_code, trouble.type) == (status, kind) and "(simulated)" in trouble.message
    sim.control(server={}, api_keys=["k"])
    answer = asked(sim, name, {})
    trouble = FORMATS[name].back.error(answer.status_code, answer.content)
    assert (answer.status_code, trouble.type) == (403 if name == "bedrock" else 401, trouble.type)
    assert trouble.type in ("authentication_error", "permission_error")


@each
def test_a_stream_that_breaks(sim: SimulatorServer, name: str) -> None:
    # A message of Anthropic's that says why it ended is whole without its last event.
    for fault in ("cut:events=3,clean", *(() if name == "anthropic" else ("missing_done",))):
        sim.control(server={"faults": [fault]})
        try:
            told = read(name, asked(sim, name, {}, stream=True))
        except NotAnAnswer:
            continue
        assert not told["whole"], fault
    sim.control(server={"faults": ["error_event:events=3"]})
    told = read(name, asked(sim, name, {}, stream=True))
    assert told["error"]["message"] and not told["whole"]
    sim.control(server={"faults": ["malformed_sse:events=3"]})
    broken = asked(sim, name, {}, stream=True)
    with pytest.raises(NotAnAnswer):
        read(name, broken)


@each
def test_the_list_of_models(sim: SimulatorServer, name: str) -> None:
    path, headers, names = FORMATS[name].listing
    answer = httpx.get(sim.url + path, headers=headers)
    assert names(answer.json()) == ["sim-chat", "sim-embed"] and answer.json()["bulkhead_simulated"] is True
    sim.control(down=429)
    refused = httpx.get(sim.url + path, headers=headers)
    assert refused.status_code == 429 and FORMATS[name].back.error(429, refused.content).type == "rate_limit_error"


def test_azures_deployments(sim: SimulatorServer) -> None:
    sim.control(api_keys=["k"])
    url = f"{sim.url}/openai/deployments/gpt-prod/chat/completions"
    body, key = {"messages": HELLO, "max_tokens": 3}, {"api-key": "k"}
    answer = httpx.post(url, params={"api-version": "2024-10-21"}, json=body, headers=key).json()
    assert (answer["model"], answer["usage"]["completion_tokens"]) == ("gpt-prod", 3)
    assert answer["prompt_filter_results"] and answer["choices"][0]["content_filter_results"]
    events = httpx.post(url, params={"api-version": "2024-10-21"}, json={**body, "stream": True}, headers=key).text.split("\n\n")
    assert json.loads(events[0][6:])["choices"] == [] and "prompt_filter_results" in events[0] and events[-2] == "data: [DONE]"
    assert httpx.post(url, json=body, headers=key).json()["error"]["code"] == "404", "without a version"
    wrong = httpx.post(url, params={"api-version": "2024-10-21"}, json=body, headers={"api-key": "x"})
    assert wrong.status_code == 401 and wrong.json()["error"]["code"] == "401"
    listed = httpx.get(f"{sim.url}/openai/deployments", params={"api-version": "2022-12-01"}, headers=key).json()
    assert [row["model"] for row in listed["data"]] == ["sim-chat", "sim-embed"]


def test_claude_on_vertex(sim: SimulatorServer) -> None:
    listed = httpx.get(f"{sim.url}/v1beta1/publishers/anthropic/models").json()["publisherModels"]
    assert [row["name"] for row in listed] == ["publishers/anthropic/models/sim-chat", "publishers/anthropic/models/sim-embed"]
    url = f"{sim.url}{PROJECT}/publishers/anthropic/models/claude-sonnet-4-5:rawPredict"
    body = {"anthropic_version": "vertex-2023-10-16", "max_tokens": 3, "messages": [{"role": "user", "content": "hi"}]}
    answer = httpx.post(url, json=body)
    assert AnthropicBack().answer(answer.content, {})["usage"]["completion_tokens"] == 3
    assert httpx.post(url, json={**body, "model": "x"}).status_code == 400
    streamed = httpx.post(url.replace("rawPredict", "streamRawPredict"), json=body)
    assert streamed.text.startswith("event: message_start") and "event: message_stop" in streamed.text


def test_ollamas_version(sim: SimulatorServer) -> None:
    assert "simulated" in httpx.get(f"{sim.url}/api/version").json()["version"]


def test_an_account_without_credit(client: httpx.Client) -> None:
    answer = client.post("/chat/completions", json={"model": "sim-fault/429:body=quota", "messages": HELLO})
    assert (answer.status_code, answer.json()["error"]["code"]) == (429, "insufficient_quota")


def test_a_response_that_is_not_kept(client: httpx.Client) -> None:
    answer = client.post("/responses", json={"model": "m", "input": "hi", "previous_response_id": "resp_1"})
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, "previous_response_id")
