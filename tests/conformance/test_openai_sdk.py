"""What apps do with the stock ``openai`` package works unchanged."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import openai
import pytest
from pydantic import BaseModel

from tests.conformance.conftest import Stack

HELLO: Any = [{"role": "system", "content": "You are brief."}, {"role": "user", "content": "Hello"}]
WEATHER: Any = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}},
}


def length(tokens: int) -> dict[str, Any]:
    """An unknown field: must reach the provider untouched."""
    return {"bulkhead_sim": {"output_tokens": tokens}}


# chat, whole answers


def test_chat(client: openai.OpenAI, stack: Stack) -> None:
    answer = client.chat.completions.create(model=stack.model("chat"), messages=HELLO, extra_body=length(9))
    assert answer.object == "chat.completion"
    assert answer.choices[0].message.role == "assistant" and answer.choices[0].message.content
    assert answer.choices[0].finish_reason == "stop"
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (6, 9, 15)


def test_max_tokens(client: openai.OpenAI, stack: Stack) -> None:
    for limit in ({"max_tokens": 3}, {"max_completion_tokens": 3}):
        answer = client.chat.completions.create(model=stack.model("chat"), messages=HELLO, **limit)  # type: ignore[call-overload]
        assert answer.choices[0].finish_reason == "length" and answer.usage.completion_tokens == 3


def test_several_choices(client: openai.OpenAI, stack: Stack) -> None:
    answer = client.chat.completions.create(model=stack.model("chat"), messages=HELLO, n=3, max_tokens=4)
    assert [choice.index for choice in answer.choices] == [0, 1, 2]


def test_tools(client: openai.OpenAI, stack: Stack) -> None:
    answer = client.chat.completions.create(model=stack.model("chat"), messages=HELLO, tools=[WEATHER], tool_choice="required")
    calls = answer.choices[0].message.tool_calls
    assert calls is not None and calls[0].type == "function"
    assert (calls[0].function.name, json.loads(calls[0].function.arguments)) == ("weather", {"city": "sim"})


class City(BaseModel):
    name: str
    people: int


def test_structured_output(client: openai.OpenAI, stack: Stack) -> None:
    answer = client.chat.completions.parse(model=stack.model("chat"), messages=HELLO, response_format=City)
    assert answer.choices[0].message.parsed == City(name="sim", people=0)


def test_metadata_user_and_headers_are_taken(client: openai.OpenAI, stack: Stack) -> None:
    answer = client.chat.completions.create(
        model=stack.model("chat"),
        messages=HELLO,
        user="u-1",
        metadata={"ticket": "T-1"},
        extra_headers={"x-bulkhead-feature": "search", "x-bulkhead-tags": "a,b"},
    )
    assert answer.choices


async def test_async_chat_many_at_once(async_client: openai.AsyncOpenAI, stack: Stack) -> None:
    calls = [
        async_client.chat.completions.create(model=stack.model("chat"), messages=HELLO, extra_body=length(number + 1))
        for number in range(40)
    ]
    answers = await asyncio.gather(*calls)
    assert [answer.usage.completion_tokens for answer in answers if answer.usage] == list(range(1, 41))


# chat, streamed


def test_stream(client: openai.OpenAI, stack: Stack) -> None:
    chunks = list(client.chat.completions.create(model=stack.model("chat"), messages=HELLO, stream=True, extra_body=length(12)))
    assert chunks[0].choices[0].delta.role == "assistant"
    assert chunks[-1].choices[0].finish_reason == "stop"
    whole = client.chat.completions.create(model=stack.model("chat"), messages=HELLO, extra_body=length(12))
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    assert len(text) == len(whole.choices[0].message.content or "")
    assert all(chunk.usage is None for chunk in chunks), "the usage that only the proxy asked for stays with the proxy"


def test_stream_with_usage(client: openai.OpenAI, stack: Stack) -> None:
    stream = client.chat.completions.create(
        model=stack.model("chat"), messages=HELLO, stream=True, stream_options={"include_usage": True}, extra_body=length(12)
    )
    *chunks, last = list(stream)
    assert last.choices == [] and last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens) == (6, 12)
    assert all(chunk.usage is None for chunk in chunks)


async def test_async_stream(async_client: openai.AsyncOpenAI, stack: Stack) -> None:
    stream = await async_client.chat.completions.create(model=stack.model("chat"), messages=HELLO, stream=True, extra_body=length(300))
    chunks = [chunk async for chunk in stream]
    assert sum(1 for chunk in chunks if chunk.choices and chunk.choices[0].delta.content) == 300


def test_stream_of_a_tool_call(client: openai.OpenAI, stack: Stack) -> None:
    stream = client.chat.completions.create(model=stack.model("chat"), messages=HELLO, tools=[WEATHER], tool_choice="required", stream=True)
    calls = [chunk.choices[0].delta.tool_calls[0] for chunk in stream if chunk.choices and chunk.choices[0].delta.tool_calls]
    arguments = "".join(call.function.arguments or "" for call in calls if call.function)
    assert json.loads(arguments) == {"city": "sim"}


def test_the_stream_helper(client: openai.OpenAI, stack: Stack) -> None:
    with client.chat.completions.stream(model=stack.model("chat"), messages=HELLO, extra_body=length(5)) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_completion()
    assert kinds.count("content.delta") >= 5 and "content.done" in kinds
    assert final.choices[0].finish_reason == "stop" and final.choices[0].message.content


def test_leaving_a_stream_cancels_the_provider(client: openai.OpenAI, stack: Stack) -> None:
    stream = client.chat.completions.create(model=stack.model("slow-stream"), messages=HELLO, stream=True)
    first = next(iter(stream))
    assert first.choices
    stream.close()
    bill = stack.sim.wait_for(lambda bill: bill["running"] == 0)
    assert bill["cancelled"] == 1


# embeddings and models


def test_embeddings(client: openai.OpenAI, stack: Stack) -> None:
    """The SDK asks for base64 by itself and decodes it; both forms carry the same numbers."""
    packed = client.embeddings.create(model=stack.model("embed"), input=["one", "two"])
    plain = client.embeddings.create(model=stack.model("embed"), input=["one", "two"], encoding_format="float")
    assert [item.index for item in packed.data] == [0, 1]
    assert packed.data[1].embedding == pytest.approx(plain.data[1].embedding, abs=1e-6)
    assert packed.usage.prompt_tokens == 2


async def test_async_embeddings_with_dimensions(async_client: openai.AsyncOpenAI, stack: Stack) -> None:
    answer = await async_client.embeddings.create(model=stack.model("embed"), input="one", dimensions=5)
    assert len(answer.data[0].embedding) == 5


def test_models(client: openai.OpenAI, stack: Stack) -> None:
    names = [model.id for model in client.models.list()]
    assert {stack.model("chat"), stack.model("embed")} <= set(names)
    assert client.models.retrieve(stack.model("chat")).id == stack.model("chat")
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no-such-model")


# headers


def test_raw_responses_have_the_request_id(client: openai.OpenAI, stack: Stack) -> None:
    raw = client.chat.completions.with_raw_response.create(model=stack.model("chat"), messages=HELLO)
    answer = raw.parse()
    assert raw.headers["content-type"].startswith("application/json")
    assert raw.headers["x-request-id"] == answer._request_id == raw.request_id
    assert raw.headers["x-bulkhead-simulated"]


def test_streaming_responses_have_headers_before_the_body(client: openai.OpenAI, stack: Stack) -> None:
    create = client.chat.completions.with_streaming_response.create
    with create(model=stack.model("chat"), messages=HELLO, stream=True, max_tokens=2) as response:
        assert response.headers["content-type"].startswith("text/event-stream")
        assert response.headers["x-request-id"]
        lines = [line for line in response.iter_lines() if line]
    assert lines[-1] == "data: [DONE]"


# errors


def test_a_wrong_key(client: openai.OpenAI, stack: Stack) -> None:
    stranger = client.with_options(api_key="wrong-key-entirely")
    with pytest.raises(openai.AuthenticationError) as caught:
        stranger.chat.completions.create(model=stack.model("chat"), messages=HELLO)
    assert caught.value.code == "invalid_api_key"
    with pytest.raises(openai.AuthenticationError):
        stranger.models.list()


def test_a_bad_request(client: openai.OpenAI, stack: Stack) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=stack.model("bad-request"), messages=HELLO)
    assert caught.value.type == "invalid_request_error"


def test_a_request_without_messages(client: openai.OpenAI, stack: Stack) -> None:
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model=stack.model("chat"), messages=[])
    assert caught.value.param == "messages"


@pytest.mark.parametrize("stream", [False, True])
def test_a_busy_provider(client: openai.OpenAI, stack: Stack, stream: bool) -> None:
    """``retry-after`` is the provider's word to its caller; the proxy says it to apps only of its own limits."""
    with pytest.raises(openai.RateLimitError) as caught:
        client.chat.completions.create(model=stack.model("busy"), messages=HELLO, stream=stream)
    assert ("retry-after" in caught.value.response.headers) == (stack.kind != "proxy")


@pytest.mark.parametrize("stream", [False, True])
def test_a_broken_provider(client: openai.OpenAI, stack: Stack, stream: bool) -> None:
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model=stack.model("broken"), messages=HELLO, stream=stream)
    assert caught.value.status_code >= 500 and caught.value.request_id


def test_the_clients_own_timeout(client: openai.OpenAI, stack: Stack) -> None:
    with pytest.raises(openai.APITimeoutError):
        client.with_options(timeout=0.3).chat.completions.create(model=stack.model("stalling"), messages=HELLO)
    stack.sim.wait_for(lambda bill: (bill["cancelled"], bill["running"]) == (1, 0))


def test_the_clients_own_retries(client: openai.OpenAI, stack: Stack) -> None:
    """The SDK retries what says that it may be retried."""
    with pytest.raises(openai.InternalServerError):
        client.with_options(max_retries=1).chat.completions.create(model=stack.model("broken"), messages=HELLO)
    assert stack.sim.bill()["requests"] >= 2
