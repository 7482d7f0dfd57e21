"""What the stock SDKs make of answers by themselves: typed results, tools that they run, streams that they follow, raw responses."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import anthropic
import openai
import pytest
from pydantic import BaseModel

from tests.clients.serving import KEY, served
from tests.proxy.standalone import StandaloneProxy

KINDS = ("by-openai", "by-anthropic", "by-gemini")
ASK: Any = [{"role": "user", "content": 'weather("Ulm")?'}]


class Place(BaseModel):
    city: str
    country: Literal["DE", "FR"]


class Trip(BaseModel):
    """Nested, with a choice and a list: what SDKs turn into ``$ref`` and ``enum``."""

    place: Place
    days: int
    notes: list[str]


class weather(BaseModel):
    city: str


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandaloneProxy]:
    with served(tmp_path_factory.mktemp("helpers")) as running:
        yield running


@pytest.fixture(scope="module")
def gpt(proxy: StandaloneProxy) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{proxy.url}/v1", api_key=KEY, max_retries=0, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def claude(proxy: StandaloneProxy) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=proxy.url, api_key=KEY, max_retries=0, timeout=60) as client:
        yield client


every = pytest.mark.parametrize("model", KINDS)


@every
def test_chat_parse(gpt: openai.OpenAI, model: str) -> None:
    done = gpt.chat.completions.parse(model=model, messages=[{"role": "user", "content": "A trip"}], response_format=Trip)
    trip = done.choices[0].message.parsed
    assert isinstance(trip, Trip) and trip.place.country == "DE"


@every
def test_chat_tools_parsed(gpt: openai.OpenAI, model: str) -> None:
    done = gpt.chat.completions.parse(model=model, messages=ASK, tools=[openai.pydantic_function_tool(weather)])
    calls = done.choices[0].message.tool_calls
    assert calls is not None and calls[0].function.parsed_arguments == weather(city="Ulm") and done.choices[0].finish_reason == "tool_calls"
    answered = gpt.chat.completions.create(
        model=model,
        messages=[*ASK, done.choices[0].message.to_dict(), {"role": "tool", "tool_call_id": calls[0].id, "content": "Rain."}],
        tools=[openai.pydantic_function_tool(weather)],
    )
    assert answered.choices[0].message.content and answered.choices[0].finish_reason == "stop"


@every
def test_chat_streams_followed(gpt: openai.OpenAI, model: str) -> None:
    kinds: list[str] = []
    with gpt.chat.completions.stream(
        model=model, messages=ASK, tools=[openai.pydantic_function_tool(weather)], stream_options={"include_usage": True}
    ) as stream:
        kinds.extend(event.type for event in stream)
        final = stream.get_final_completion()
    calls = final.choices[0].message.tool_calls
    assert calls is not None and calls[0].function.parsed_arguments == weather(city="Ulm")
    assert "tool_calls.function.arguments.done" in kinds and final.usage is not None and final.usage.completion_tokens > 0
    with gpt.chat.completions.stream(model=model, messages=[{"role": "user", "content": "A trip"}], response_format=Trip) as stream:
        events = list(stream)
        parsed = stream.get_final_completion().choices[0].message.parsed
    assert isinstance(parsed, Trip) and any(event.type == "content.done" for event in events)


@every
def test_responses_parse_and_stream(gpt: openai.OpenAI, model: str) -> None:
    trip = gpt.responses.parse(model=model, input="A trip", text_format=Trip).output_parsed
    assert isinstance(trip, Trip)
    with gpt.responses.stream(model=model, input="A trip", text_format=Trip) as stream:
        events = list(stream)
        final = stream.get_final_response()
    assert isinstance(final.output_parsed, Trip) and events[-1].type == "response.completed"
    called = gpt.responses.parse(model=model, input='weather("Ulm")?', tools=[openai.pydantic_function_tool(weather)])  # type: ignore[list-item]
    call = next(item for item in called.output if item.type == "function_call")
    assert call.parsed_arguments == weather(city="Ulm")


def test_raw_responses(gpt: openai.OpenAI, claude: anthropic.Anthropic) -> None:
    raw = gpt.chat.completions.with_raw_response.create(model="by-anthropic", messages=[{"role": "user", "content": "Hi"}])
    assert raw.headers["x-bulkhead-target"] and raw.parse().choices[0].message.content and raw.request_id
    with gpt.chat.completions.with_streaming_response.create(
        model="by-gemini", messages=[{"role": "user", "content": "Hi"}], stream=True
    ) as streamed:
        assert list(streamed.iter_lines())[-2:] != [] and streamed.status_code == 200
    message = claude.messages.with_raw_response.create(model="by-openai", max_tokens=9, messages=[{"role": "user", "content": "Hi"}])
    assert message.headers["request-id"] and message.parse().content


@every
def test_anthropics_typed_answers_and_tools(claude: anthropic.Anthropic, model: str) -> None:
    parsed = claude.messages.parse(model=model, max_tokens=500, messages=[{"role": "user", "content": "A trip"}], output_format=Trip)
    assert isinstance(parsed.parsed_output, Trip)
    asked: list[str] = []

    @anthropic.beta_tool
    def weather(city: str) -> str:
        """Tells the weather.

        Args:
            city: where
        """
        asked.append(city)
        return "Rain."

    runner = claude.beta.messages.tool_runner(model=model, max_tokens=500, tools=[weather], messages=[*ASK])
    final = runner.until_done()
    assert asked == ["Ulm"] and final.stop_reason == "end_turn" and final.content[0].type == "text"


@every
def test_anthropics_streams_followed(claude: anthropic.Anthropic, model: str) -> None:
    tool: Any = {"name": "weather", "input_schema": weather.model_json_schema()}
    with claude.messages.stream(model=model, max_tokens=500, messages=ASK, tools=[tool]) as stream:
        kinds = [event.type for event in stream]
        final = stream.get_final_message()
    block = final.content[-1]
    assert block.type == "tool_use" and block.input == {"city": "Ulm"} and "input_json" in kinds and kinds[-1] == "message_stop"
