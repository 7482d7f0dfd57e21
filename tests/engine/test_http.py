"""An engine's HTTP layer over a real socket: OpenAI's shapes to the letter, what is refused and how, hanging up, the line, the end."""

from __future__ import annotations

import asyncio
import base64
import json
import struct
from array import array
from typing import Any

import httpx
import openai
import pytest

from apps.agent.engines.metrics import Reading, scraped
from apps.engine.backend import Vector
from apps.engine.backend_fake import FakeBackend
from tests.engine.serving import BEARER, MODEL, Served, served, until

TEXT = "one two three four"
CHAT = "/v1/chat/completions"


def chat(**changes: Any) -> dict[str, Any]:
    return {"model": MODEL, "messages": [{"role": "user", "content": TEXT}], **changes}


def events(text: str) -> list[dict[str, Any]]:
    """The events of a whole stream, which must end in [DONE]."""
    parts = text.split("\n\n")
    assert parts[-2:] == ["data: [DONE]", ""], parts[-3:]
    return [json.loads(part.removeprefix("data: ")) for part in parts[:-2]]


async def test_a_chat_and_a_completion_whole() -> None:
    async with served() as at:
        answer = await at.client.post(CHAT, json=chat())
        found = answer.json()
        assert answer.status_code == 200 and found["object"] == "chat.completion" and found["id"].startswith("chatcmpl-")
        assert found["choices"] == [
            {
                "index": 0,
                "message": {"role": "assistant", "content": TEXT, "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ]
        assert found["usage"] == {"prompt_tokens": 4, "completion_tokens": 4, "total_tokens": 8} and found["model"] == MODEL
        answer = await at.client.post("/v1/completions", json={"model": MODEL, "prompt": ["a b c", "d e"], "max_tokens": 2, "n": 2})
        found = answer.json()
        assert found["object"] == "text_completion" and found["usage"]["completion_tokens"] == 8 and found["usage"]["prompt_tokens"] == 5
        assert [(one["index"], one["text"], one["finish_reason"]) for one in found["choices"]] == [
            (0, "a b", "length"), (1, "a b", "length"), (2, "d e", "stop"), (3, "d e", "stop"),
        ]  # fmt: skip


async def test_streams_have_openais_events() -> None:
    async with served() as at:
        answer = await at.client.post(CHAT, json=chat(stream=True, stream_options={"include_usage": True}, max_completion_tokens=3))
        assert answer.headers["content-type"].startswith("text/event-stream")
        found = events(answer.text)
        assert {one["object"] for one in found} == {"chat.completion.chunk"} and len({(one["id"], one["created"]) for one in found}) == 1
        choices = [one["choices"][0] for one in found[:-1]]
        assert choices[0] == {
            "index": 0, "delta": {"role": "assistant", "content": "", "refusal": None}, "logprobs": None, "finish_reason": None,
        }  # fmt: skip
        assert [choice["delta"].get("content") for choice in choices[1:]] == ["one", " two", " three", None]
        assert choices[-1] == {"index": 0, "delta": {}, "logprobs": None, "finish_reason": "length"}
        assert (
            found[-1]["choices"] == [] and found[-1]["usage"]["completion_tokens"] == 3 and all(one["usage"] is None for one in found[:-1])
        )
        answer = await at.client.post("/v1/completions", json={"model": MODEL, "prompt": "a b", "stream": True})
        found = events(answer.text)
        assert [one["choices"][0]["text"] for one in found] == ["a", " b", ""] and "usage" not in found[0]


async def test_the_stock_sdk() -> None:
    async with served(bearer=BEARER) as at, openai.AsyncOpenAI(base_url=f"{at.url}/v1", api_key=BEARER, max_retries=0) as sdk:
        stream = await sdk.chat.completions.create(
            model=MODEL, messages=[{"role": "user", "content": TEXT}], stream=True, stream_options={"include_usage": True}
        )
        chunks = [chunk async for chunk in stream]
        assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == TEXT
        assert chunks[-1].usage is not None and chunks[-1].usage.total_tokens == 8
        assert [model.id async for model in sdk.models.list()] == [MODEL] and (await sdk.models.retrieve(MODEL)).id == MODEL
        vectors = await sdk.embeddings.create(model=MODEL, input=["a b", "c"])  # asks for base64 by itself
        assert vectors.data[0].embedding == [3.0, 0.5] and vectors.usage.prompt_tokens == 3
        with pytest.raises(openai.AuthenticationError):
            await openai.AsyncOpenAI(base_url=f"{at.url}/v1", api_key="other", max_retries=0).models.list()
        with pytest.raises(openai.BadRequestError) as refused:
            await sdk.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": "x"}], logprobs=True)
        assert refused.value.param == "logprobs" and refused.value.code == "unsupported_parameter"


STOPS: list[tuple[Any, str, int]] = [
    (" three", "one two", 3), (["wo thr", "zzz"], "one t", 3), ("four!", TEXT, 4), (["four", "two"], "one ", 2), ("one", "", 1),
]  # fmt: skip


async def test_stops_are_found_across_pieces_and_not_shown() -> None:
    async with served() as at:
        for stop, text, tokens in STOPS:
            found = (await at.client.post(CHAT, json=chat(stop=stop))).json()
            assert found["choices"][0]["message"]["content"] == text and found["usage"]["completion_tokens"] == tokens, stop
            streamed = events((await at.client.post(CHAT, json=chat(stop=stop, stream=True, stream_options={"include_usage": True}))).text)
            assert "".join(one["choices"][0]["delta"].get("content", "") for one in streamed[:-1]) == text, stop
            assert streamed[-2]["choices"][0]["finish_reason"] == "stop" and streamed[-1]["usage"]["completion_tokens"] == tokens
            await until(lambda: at.backend.held == 0, "what a stop ended is freed")


REFUSED: list[tuple[dict[str, Any], int, str, str]] = [
    ({"model": "other"}, 404, "model", "serves 'echo'"), ({"model": None}, 400, "model", "must name"),
    ({"messages": []}, 400, "messages", "not empty"), ({"messages": [{"role": "robot", "content": "x"}]}, 400, "messages[0]", "role"),
    ({"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]}, 400, "messages[0].content", "image_url"),
    ({"messages": [{"role": "assistant", "content": None}]}, 400, "messages[0].content", "text"),
    ({"tools": [{"type": "function"}]}, 400, "tools", "does not do"),
    ({"response_format": {"type": "json_object"}}, 400, "response_format", ""), ({"logit_bias": {"1": 5}}, 400, "logit_bias", ""),
    ({"temperature": 3}, 400, "temperature", "from 0 to 2"), ({"top_p": "much"}, 400, "top_p", "number"), ({"n": 0}, 400, "n", "whole"),
    ({"max_tokens": 0}, 400, "max_tokens", "whole"), ({"stop": [""]}, 400, "stop", "empty"), ({"stream": 1}, 400, "stream", "true or"),
    ({"stream_options": {"include_usage": True}}, 400, "stream_options", "goes with"), ({"seed": 1.5}, 400, "seed", "whole"),
    ({"frequency_penalty": 0.5}, 400, "frequency_penalty", ""), ({"colour": "blue"}, 400, "colour", "does not know"),
]  # fmt: skip


async def test_what_is_not_done_is_refused_by_its_name() -> None:
    async with served() as at:
        for changes, status, param, words in REFUSED:
            answer = await at.client.post(CHAT, json=chat(**changes))
            error = answer.json()["error"]
            assert (answer.status_code, error["param"], error["type"]) == (status, param, "invalid_request_error"), answer.text
            assert words in error["message"], answer.text


async def test_what_asks_for_nothing_is_taken() -> None:
    async with served() as at:
        harmless = {
            "logprobs": False, "frequency_penalty": 0, "presence_penalty": 0.0, "tools": [], "response_format": {"type": "text"}, "n": 1,
            "user": "u", "metadata": {"a": "b"}, "logit_bias": {}, "seed": 7, "temperature": 0, "store": False, "top_logprobs": None,
        }  # fmt: skip
        answer = await at.client.post(CHAT, json=chat(**harmless))
        assert answer.status_code == 200, answer.text
        parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
        answer = await at.client.post(CHAT, json=chat(messages=[{"role": "developer", "content": parts}]))
        assert answer.json()["choices"][0]["message"]["content"] == "one two"


async def test_addresses_bodies_and_tokens() -> None:
    async with served(FakeBackend(tasks=frozenset({"chat"})), bearer=BEARER) as at:
        token = {"authorization": f"Bearer {BEARER}"}
        for path, body, status in (("/health", None, 200), ("/metrics", None, 200), ("/version", None, 200), ("/v1/models", None, 401)):
            assert (await at.client.get(path)).status_code == status, (path, body)
        assert (await at.client.post(CHAT, json=chat())).status_code == 401
        odd = [(b"authorization", "Bearer é".encode())]
        assert (await at.client.post(CHAT, json=chat(), headers=odd)).status_code == 401
        answer = await at.client.post("/v1/embeddings", json={"model": MODEL, "input": "a"}, headers=token)
        assert answer.status_code == 404 and "does no embeddings" in answer.json()["error"]["message"]
        assert (await at.client.get(CHAT, headers=token)).status_code == 405 and (await at.client.post("/v1/what")).status_code == 404
        for body in (b"", b"{", b"[]", b'"x"', b"[" * 100_000):
            answer = await at.client.post(CHAT, content=body, headers=token)
            assert answer.status_code == 400 and "JSON" in answer.json()["error"]["message"]
        answer = await at.client.post(CHAT, content=b"x" * (17 * 1024 * 1024), headers=token)
        assert answer.status_code == 413
        assert (await at.client.post(CHAT, json=chat(messages=[{"role": "user", "content": "w " * 300}]), headers=token)).status_code == 400


async def test_a_stream_that_fails_says_so_and_has_no_end() -> None:
    backend = FakeBackend()
    backend.fails_after = 2
    async with served(backend) as at:
        answer = await at.client.post(CHAT, json=chat(stream=True))
        assert "data: [DONE]" not in answer.text and '"error"' in answer.text.split("\n\n")[-2]
        assert (await at.client.post(CHAT, json=chat())).status_code == 500
        backend.dead = "the generation thread died"
        answer = await at.client.get("/health")
        assert answer.status_code == 500 and "thread died" in answer.text


async def _first(at: Served) -> httpx.Response:
    """A stream whose first event has come, and no more will for now."""
    request = at.client.build_request("POST", CHAT, json=chat(stream=True))
    return await at.client.send(request, stream=True)


@pytest.mark.parametrize("stream", [False, True])
async def test_hanging_up_frees_what_was_held(stream: bool) -> None:
    async with served() as at:
        at.backend.hold.clear()
        if stream:
            answer = await _first(at)
            assert at.backend.held == 1
            await answer.aclose()
        else:
            asked = asyncio.create_task(at.client.post(CHAT, json=chat()))
            await until(lambda: at.backend.held == 1, "it is generating")
            asked.cancel()
        await until(lambda: at.backend.held == 0 and at.app.gate.running == 0, "it is freed")
        assert at.app.metrics.cancelled == 1


async def test_the_line_is_bounded_and_first_come_first_served() -> None:
    async with served(FakeBackend(max_running=1), max_waiting=2) as at:
        at.backend.hold.clear()
        running = await _first(at)
        order: list[int] = []

        async def ask(number: int) -> int:
            answer = await at.client.post(CHAT, json=chat())
            order.append(number)
            return answer.status_code

        waiting = []
        for number in range(2):
            waiting.append(asyncio.create_task(ask(number)))
            await until(lambda number=number: at.app.gate.waiting == number + 1, "it waits")
        full = await at.client.post(CHAT, json=chat(stream=True))
        assert full.status_code == 503 and full.headers["retry-after"] == "1" and full.json()["error"]["code"] == "queue_full"
        seen = Reading("vllm").read((await at.client.get("/metrics")).text, None, at_ms=0)
        assert seen is not None and (seen.running, seen.waiting, seen.kv_used) == (1, 2, 0.1)
        waiting[0].cancel()  # whoever hangs up in line holds nobody up
        await until(lambda: at.app.gate.waiting == 1, "it left the line")
        at.backend.hold.set()
        await running.aread()
        assert await waiting[1] == 200 and order == [1] and at.app.gate.running == 0
        assert at.app.metrics.refused == 1


async def test_draining_finishes_what_runs_and_refuses_what_comes() -> None:
    async with served() as at:
        at.backend.hold.clear()
        running = await _first(at)
        drain = asyncio.create_task(at.app.gate.drained(60))
        await until(lambda: at.app.gate.leaving, "it drains")
        refused = await at.client.post(CHAT, json=chat())
        assert refused.status_code == 503 and refused.json()["error"]["code"] == "shutting_down"
        assert (await at.client.get("/health")).status_code == 503
        at.backend.hold.set()
        assert "data: [DONE]" in (await running.aread()).decode() and await drain
    async with served() as at:
        at.backend.hold.clear()
        running = await _first(at)
        assert not await at.app.gate.drained(0.05) and at.app.cut() == 1
        text = (await running.aread()).decode()
        assert "[DONE]" not in text and "shut down before" in text


async def test_while_it_loads_it_says_so() -> None:
    async with served(loaded=False) as at:
        for answer in (await at.client.get("/health"), await at.client.post(CHAT, json=chat()), await at.client.get("/v1/models")):
            assert answer.status_code == 503 and answer.json()["error"]["code"] == "loading" and "retry-after" in answer.headers
        assert (await at.client.get("/metrics")).status_code == 200
        at.app.opened(at.backend.load())
        assert (await at.client.get("/health")).status_code == 200


async def test_embeddings_rerank_and_classify() -> None:
    async with served() as at:
        answer = await at.client.post("/v1/embeddings", json={"model": MODEL, "input": "a b", "encoding_format": "base64"})
        packed = base64.b64decode(answer.json()["data"][0]["embedding"])
        assert struct.unpack("<2f", packed) == (3.0, 0.5)
        answer = await at.client.post("/v1/embeddings", json={"model": MODEL, "input": [[1, 2, 3]]})
        assert answer.json()["data"][0] == {"object": "embedding", "index": 0, "embedding": [3.0, 0.5]}
        assert (await at.client.post("/v1/embeddings", json={"model": MODEL, "input": "a", "dimensions": 3})).status_code == 400
        for wrong in ([], "", [""], None, [1.5], [[]]):
            status = (await at.client.post("/v1/embeddings", json={"model": MODEL, "input": wrong})).status_code
            assert status == (200 if wrong in ("", [""]) else 400), wrong
        asked = {"model": MODEL, "query": "red apple", "documents": ["blue sky", {"text": "red apple"}, "red sky"], "top_n": 2}
        found = (await at.client.post("/v1/rerank", json=asked)).json()
        assert [(one["index"], one["relevance_score"]) for one in found["results"]] == [(1, 1.0), (2, 0.5)]
        assert found["results"][0]["document"] == {"text": "red apple"}
        found = (await at.client.post("/classify", json={"model": MODEL, "input": ["ab", "abc"]})).json()
        assert [one["label"] for one in found["data"]] == ["even", "odd"] and found["data"][0]["num_classes"] == 2


async def test_texts_are_cut_where_it_is_asked_for() -> None:
    async with served() as at:
        for path, body, tokens in (
            ("/v1/embeddings", {"input": "a b c d", "truncate_prompt_tokens": 3}, 3),
            ("/v1/embeddings", {"input": [[1, 2, 3]], "truncate_prompt_tokens": 2}, 2),
            ("/v2/rerank", {"query": "a", "documents": ["a b c", "d"], "max_tokens_per_doc": 2}, 3),
        ):
            answer = await at.client.post(path, json={"model": MODEL, **body})
            assert answer.status_code == 200 and answer.json()["usage"]["total_tokens"] == tokens, body
        for path, field in (
            ("/v1/embeddings", "truncate_prompt_tokens"),
            ("/classify", "truncate_prompt_tokens"),
            ("/rerank", "max_tokens_per_doc"),
        ):
            body = {"model": MODEL, "input": "a"} if field != "max_tokens_per_doc" else {"model": MODEL, "query": "a", "documents": ["b"]}
            for wrong in (0, -2, "3", True, 1.5):
                answer = await at.client.post(path, json={**body, field: wrong})
                assert answer.status_code == 400 and answer.json()["error"]["param"] == field, (path, wrong)


async def test_vectors_of_single_precision_are_written_as_they_are() -> None:
    async with served() as at:
        numbers = array("f", [0.1, -2.5, 3e-8])

        async def embed(texts: object, **named: object) -> list[Vector]:
            return [Vector(numbers, 4)]

        at.backend.embed = embed  # type: ignore[method-assign, assignment]
        for form in ("base64", "float"):
            said = (await at.client.post("/v1/embeddings", json={"model": MODEL, "input": "a", "encoding_format": form})).json()
            found = said["data"][0]["embedding"]
            assert (base64.b64decode(found) if form == "base64" else array("f", found).tobytes()) == numbers.tobytes()


async def test_metrics_count_what_was_served() -> None:
    async with served() as at:
        for _ in range(3):
            await at.client.post(CHAT, json=chat(stream=True))
        text = (await at.client.get("/metrics")).text
        seen = Reading("vllm").read(text, None, at_ms=0)
        assert seen is not None and (seen.prompt_tokens, seen.output_tokens, seen.finished, seen.running) == (12, 12, 3, 0)
        assert seen.ttft_p95 is not None and seen.itl_p95 is not None
        assert scraped(text).buckets["vllm:e2e_request_latency_seconds"][float("inf")] == 3
