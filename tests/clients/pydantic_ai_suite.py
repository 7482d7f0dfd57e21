"""``pydantic-ai``: agents with tools, typed results and streams, by four of its model classes."""

from __future__ import annotations

import os
from typing import Any

import pytest
from pydantic import BaseModel
from pydantic_ai import Agent, NativeOutput, RunContext, ToolOutput
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.google import GoogleModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.google import GoogleProvider
from pydantic_ai.providers.openai import OpenAIProvider

URL, KEY = os.environ["PROXY_URL"], os.environ["PROXY_KEY"]
KINDS = ("by-openai", "by-anthropic", "by-gemini")


def model_of(client: str, name: str) -> Model:
    openai = OpenAIProvider(base_url=f"{URL}/v1", api_key=KEY)
    if client == "chat":
        return OpenAIChatModel(name, provider=openai)
    if client == "responses":
        return OpenAIResponsesModel(name, provider=openai)
    if client == "anthropic":
        return AnthropicModel(name, provider=AnthropicProvider(base_url=URL, api_key=KEY))
    return GoogleModel(name, provider=GoogleProvider(api_key=KEY, base_url=URL))


class Weather(BaseModel):
    city: str
    degrees: int


every = pytest.mark.parametrize("name", KINDS)
clients = pytest.mark.parametrize("client", ["chat", "responses", "anthropic", "google"])


@every
@clients
async def test_an_agent_calls_its_tool_and_answers(client: str, name: str) -> None:
    agent: Any = Agent(model_of(client, name), instructions="Be brief.")
    asked: list[str] = []

    @agent.tool
    async def weather(context: RunContext, city: str) -> str:
        asked.append(city)
        return f"It rains in {city}."

    result = await agent.run('What is weather("Ulm")?')
    assert asked == ["Ulm"] and isinstance(result.output, str) and result.output
    assert result.usage().input_tokens > 0 and result.usage().output_tokens > 0 and result.usage().requests == 2
    again = await agent.run("And now?", message_history=result.all_messages())
    assert again.output


@every
@clients
async def test_a_typed_result(client: str, name: str) -> None:
    agent: Any = Agent(model_of(client, name), output_type=ToolOutput(Weather))
    assert isinstance((await agent.run("Ulm?")).output, Weather)


@pytest.mark.parametrize("name", ["by-openai", "by-gemini"])
@pytest.mark.parametrize("client", ["chat", "responses"])
async def test_a_typed_result_by_schema(client: str, name: str) -> None:
    agent: Any = Agent(model_of(client, name), output_type=NativeOutput(Weather))
    assert isinstance((await agent.run("Ulm?")).output, Weather)


@every
@clients
async def test_a_streamed_answer(client: str, name: str) -> None:
    agent: Any = Agent(model_of(client, name))
    async with agent.run_stream("Say something.") as result:
        pieces = [piece async for piece in result.stream_text(delta=True, debounce_by=None)]
    assert len(pieces) > 1 and "".join(pieces) == await result.get_output()
