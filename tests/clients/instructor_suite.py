"""``instructor``: typed answers by tools and by schemas, whole and while they grow."""

from __future__ import annotations

import os
from typing import Any, Literal

import anthropic
import instructor
import openai
import pytest
from pydantic import BaseModel

URL, KEY = os.environ["PROXY_URL"], os.environ["PROXY_KEY"]
HELLO: Any = [{"role": "user", "content": "Ada Lovelace, 36, lives in London."}]
KINDS = ("by-openai", "by-anthropic", "by-gemini")


class Place(BaseModel):
    city: str
    country: Literal["UK", "FR"]


class Person(BaseModel):
    name: str
    age: int
    home: Place
    tags: list[str] = []


@pytest.fixture(scope="module")
def gpt() -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0)


@pytest.mark.parametrize("model", KINDS)
@pytest.mark.parametrize("mode", [instructor.Mode.TOOLS, instructor.Mode.TOOLS_STRICT, instructor.Mode.JSON_SCHEMA])
def test_a_typed_answer(gpt: openai.OpenAI, model: str, mode: instructor.Mode) -> None:
    client = instructor.from_openai(gpt, mode=mode)
    person, completion = client.chat.completions.create_with_completion(model=model, messages=HELLO, response_model=Person, max_retries=0)
    assert isinstance(person, Person) and person.home.country == "UK" and completion.usage.completion_tokens > 0


@pytest.mark.parametrize("model", KINDS)
def test_a_typed_answer_that_grows(gpt: openai.OpenAI, model: str) -> None:
    client = instructor.from_openai(gpt, mode=instructor.Mode.TOOLS)
    seen = list(client.chat.completions.create_partial(model=model, messages=HELLO, response_model=Person, max_retries=0))
    assert seen[-1].home is not None and seen[-1].home.country == "UK"
    assert len(seen) > 1 or model == "by-gemini", "Gemini gives the arguments of a call whole"


@pytest.mark.parametrize("model", KINDS)
def test_anthropics_client(model: str) -> None:
    client = instructor.from_anthropic(anthropic.Anthropic(base_url=URL, api_key=KEY, max_retries=0))
    person = client.messages.create(model=model, max_tokens=500, messages=HELLO, response_model=Person, max_retries=0)
    assert isinstance(person, Person) and person.home.country == "UK"


async def test_many_at_once() -> None:
    client = instructor.from_openai(openai.AsyncOpenAI(base_url=f"{URL}/v1", api_key=KEY, max_retries=0))
    person = await client.chat.completions.create(model="by-openai", messages=HELLO, response_model=Person, max_retries=0)
    assert person.name
