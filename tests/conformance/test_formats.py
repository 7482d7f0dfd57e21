"""The stock SDKs of four formats through the proxy to simulated providers of three: any of them reaches any of those."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import anthropic
import httpx
import openai
import pytest
from google import genai
from google.genai import errors as genai_errors
from google.genai import types as genai_types

from apps.contracts.snapshot import (
    CredentialFragment,
    Endpoint,
    Fragment,
    KeyFragment,
    PriceFragment,
    PriceVersion,
    ProviderFragment,
    Resilience,
    RouteFragment,
    Target,
)
from apps.simulator.harness import SimulatorServer
from tests.proxy.standalone import StandaloneProxy, digest_of, seal

KEY = "bk-formats-key-of-the-tests"
SECRET = "upstream-secret"
BASES = {"openai": "/v1", "anthropic": "/v1", "gemini": "/v1beta"}
TOOL = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
HELLO: Any = [{"role": "user", "content": "Hello"}]


def fragments(sim: SimulatorServer) -> list[Fragment]:
    """A provider and a route for each kind, and routes on which a first one breaks and another goes on."""
    found: list[Fragment] = [CredentialFragment(id="c", sealed=seal(SECRET))]
    price = PriceVersion(version="p1", input=150_000_000, output=600_000_000)

    def route(name: str, *targets: tuple[str, str]) -> None:
        made = [Target(provider=kind, model=model) for kind, model in targets]
        found.append(RouteFragment(id=name, name=name, organisation="o", targets=made, resilience=Resilience(rescue="any")))
        found.extend(PriceFragment(id=f"{kind}/{model}", provider=kind, model=model, versions=[price]) for kind, model in targets)

    for kind, base in BASES.items():
        endpoint = Endpoint(name="sim", base_url=sim.url + base, credential="c")
        found.append(
            ProviderFragment(
                id=kind, name=kind, kind=kind, organisation="o", simulated=True, allow_private_addresses=True, endpoints=[endpoint]
            )
        )
        route(f"{kind}-route", (kind, f"sim-{kind}"))
        route(f"{kind}-busy", (kind, f"sim-fault/429:retry-after=600#{kind}"))
        for other in BASES:
            if other != kind:
                route(f"{kind}-cut-{other}", (kind, f"sim-fault/cut:events=5#{kind}-{other}"), (other, f"sim-{other}"))
    return [
        *{fragment.id: fragment for fragment in found}.values(),
        KeyFragment(id="k", name="k", public_id="k", organisation="o", digests=[digest_of(KEY)]),
    ]


@pytest.fixture(scope="module")
def sim() -> Iterator[SimulatorServer]:
    with SimulatorServer("sim-formats", scenario={"api_keys": [SECRET]}) as server:
        yield server


@pytest.fixture(scope="module")
def proxy(sim: SimulatorServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandaloneProxy]:
    with StandaloneProxy(fragments(sim), tmp_path_factory.mktemp("formats")) as running:
        yield running
        said = running.log.read_text()
        assert "failed inside the proxy" not in said and "could not be" not in said, said[-4000:]


@pytest.fixture(scope="module")
def shared() -> Iterator[httpx.Client]:
    """Reads the system's certificates once."""
    with httpx.Client(timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def claude(proxy: StandaloneProxy) -> anthropic.Anthropic:
    return anthropic.Anthropic(base_url=proxy.url, api_key=KEY, max_retries=0)


@pytest.fixture(scope="module")
def gpt(proxy: StandaloneProxy, shared: httpx.Client) -> openai.OpenAI:
    return openai.OpenAI(base_url=f"{proxy.url}/v1", api_key=KEY, max_retries=0, http_client=shared)


@pytest.fixture(scope="module")
def gemini(proxy: StandaloneProxy) -> Iterator[genai.Client]:
    options = genai_types.HttpOptions(base_url=proxy.url, timeout=60_000)
    with genai.Client(api_key=KEY, http_options=options) as client:
        yield client


each_kind = pytest.mark.parametrize("kind", BASES)


# --- Anthropic's SDK ---


@each_kind
def test_messages(claude: anthropic.Anthropic, kind: str) -> None:
    message = claude.messages.create(model=f"{kind}-route", max_tokens=12, system="Be brief.", messages=HELLO)
    assert message.content[0].type == "text" and len(message.content[0].text) == 48
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 12) and message.usage.input_tokens > 2


@each_kind
def test_a_stream_of_messages(claude: anthropic.Anthropic, kind: str) -> None:
    with claude.messages.stream(model=f"{kind}-route", max_tokens=12, messages=HELLO) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert len(text) == 48 and final.content[0].type == "text" and final.content[0].text == text
    assert (final.stop_reason, final.usage.output_tokens) == ("max_tokens", 12)


@each_kind
@pytest.mark.parametrize("streams", [False, True])
def test_a_forced_tool_of_messages(claude: anthropic.Anthropic, kind: str, streams: bool) -> None:
    asked: Any = {
        "model": f"{kind}-route",
        "max_tokens": 200,
        "messages": HELLO,
        "tools": [{"name": "weather", "description": "Tells it", "input_schema": TOOL}],
        "tool_choice": {"type": "tool", "name": "weather"},
    }
    if streams:
        with claude.messages.stream(**asked) as stream:
            message = stream.get_final_message()
    else:
        message = claude.messages.create(**asked)
    block = message.content[-1]
    assert block.type == "tool_use" and block.name == "weather" and "city" in block.input and message.stop_reason == "tool_use"


@each_kind
def test_errors_of_messages(claude: anthropic.Anthropic, kind: str) -> None:
    with pytest.raises(anthropic.RateLimitError) as caught:
        claude.messages.create(model=f"{kind}-busy", max_tokens=5, messages=HELLO)
    assert "Rate limit" in str(caught.value) and caught.value.request_id
    body: Any = caught.value.body
    assert body["type"] == "error" and body["error"]["type"] == "rate_limit_error"


def test_refusals_of_messages(claude: anthropic.Anthropic) -> None:
    with pytest.raises(anthropic.NotFoundError, match="There is no model"):
        claude.messages.create(model="nothing", max_tokens=5, messages=HELLO)
    with pytest.raises(anthropic.AuthenticationError):
        claude.with_options(api_key="bk-nobody").messages.create(model="openai-route", max_tokens=5, messages=HELLO)
    with pytest.raises(anthropic.BadRequestError):
        claude.messages.create(model="openai-route", max_tokens=5, messages=[])


@each_kind
def test_tokens_are_counted(claude: anthropic.Anthropic, kind: str) -> None:
    few = claude.messages.count_tokens(model=f"{kind}-route", messages=HELLO).input_tokens
    assert 0 < few < claude.messages.count_tokens(model=f"{kind}-route", messages=HELLO, system="x" * 400).input_tokens


@pytest.mark.parametrize("other", ["anthropic", "gemini"])
def test_a_broken_stream_of_messages_is_gone_on_with(claude: anthropic.Anthropic, other: str) -> None:
    with claude.messages.stream(model=f"openai-cut-{other}", max_tokens=30, messages=HELLO, extra_body={"temperature": 0}) as stream:
        text = "".join(stream.text_stream)
        final = stream.get_final_message()
    assert len(text) == 64 and final.stop_reason == "end_turn"


# --- OpenAI's SDK ---


@each_kind
def test_chat(gpt: openai.OpenAI, kind: str) -> None:
    raw = gpt.chat.completions.with_raw_response.create(model=f"{kind}-route", max_tokens=12, messages=HELLO)
    answer = raw.parse()
    assert len(answer.choices[0].message.content or "") == 48 and answer.choices[0].finish_reason == "length"
    assert answer.usage is not None and answer.usage.completion_tokens == 12
    assert raw.headers["x-bulkhead-cost-nano"] != "0" and raw.headers["x-bulkhead-simulated"] == "true"


@each_kind
def test_a_forced_tool_of_chat(gpt: openai.OpenAI, kind: str) -> None:
    tools: Any = [{"type": "function", "function": {"name": "weather", "parameters": TOOL}}]
    named: Any = {"type": "function", "function": {"name": "weather"}}
    answer = gpt.chat.completions.create(model=f"{kind}-route", max_tokens=200, messages=HELLO, tools=tools, tool_choice=named)
    calls = answer.choices[0].message.tool_calls
    assert calls and calls[0].type == "function" and calls[0].function.name == "weather" and "city" in calls[0].function.arguments


@pytest.mark.parametrize(("kind", "other"), [(a, b) for a in BASES for b in BASES if a != b])
def test_a_broken_stream_of_chat_is_gone_on_with(gpt: openai.OpenAI, kind: str, other: str) -> None:
    stream = gpt.chat.completions.create(
        model=f"{kind}-cut-{other}", max_tokens=30, temperature=0, messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    text, finish, ids = "", None, set()
    for event in stream:
        ids.add(event.id)
        for choice in event.choices:
            text += choice.delta.content or ""
            finish = choice.finish_reason or finish
    assert len(text) == 64 and finish == "stop" and len(ids) == 1


@each_kind
@pytest.mark.parametrize("streams", [False, True])
def test_responses(gpt: openai.OpenAI, kind: str, streams: bool) -> None:
    if streams:
        with gpt.responses.stream(model=f"{kind}-route", input="Hello") as stream:
            for _ in stream:
                pass
            answer: Any = stream.get_final_response()
    else:
        answer = gpt.responses.create(model=f"{kind}-route", input="Hello")
    assert len(answer.output_text) == 64 and answer.status == "completed"
    assert answer.usage is not None and answer.usage.output_tokens == 16


@each_kind
@pytest.mark.parametrize("streams", [False, True])
def test_a_forced_function_of_responses_and_its_output(gpt: openai.OpenAI, kind: str, streams: bool) -> None:
    tools: Any = [{"type": "function", "name": "weather", "parameters": TOOL, "strict": False}]
    asked: Any = {"model": f"{kind}-route", "input": HELLO, "tools": tools, "tool_choice": {"type": "function", "name": "weather"}}
    if streams:
        with gpt.responses.stream(**asked) as stream:
            told = [event.delta for event in stream if event.type == "response.function_call_arguments.delta"]
            answer: Any = stream.get_final_response()
        assert "".join(told) == answer.output[-1].arguments
    else:
        answer = gpt.responses.create(**asked)
    call = answer.output[-1]
    assert (call.type, call.name, answer.status) == ("function_call", "weather", "completed") and "city" in call.arguments
    given = [item.to_dict() for item in answer.output] + [{"type": "function_call_output", "call_id": call.call_id, "output": "sunny"}]
    second = gpt.responses.create(model=f"{kind}-route", input=[*HELLO, *given], tools=tools, instructions="Be brief.")
    assert second.output_text and second.status == "completed"


@pytest.mark.parametrize(("kind", "other"), [("openai", "anthropic"), ("anthropic", "gemini"), ("gemini", "openai")])
def test_a_broken_stream_of_responses_is_gone_on_with(gpt: openai.OpenAI, kind: str, other: str) -> None:
    with gpt.responses.stream(model=f"{kind}-cut-{other}", max_output_tokens=30, temperature=0, input="Hello") as stream:
        text = "".join(event.delta for event in stream if event.type == "response.output_text.delta")
        answer = stream.get_final_response()
    assert len(text) == 64 and text == answer.output_text and answer.status == "completed"


@each_kind
def test_what_only_openai_can_do_of_responses_is_refused_by_its_field(gpt: openai.OpenAI, kind: str) -> None:
    for asked, field in (({"tools": [{"type": "web_search"}]}, "tools[0]"), ({"previous_response_id": "resp_1"}, "previous_response_id")):
        wanted: Any = {"model": f"{kind}-route", "input": "Hello", **asked}
        with pytest.raises(openai.BadRequestError) as caught:
            gpt.responses.create(**wanted)
        assert caught.value.param == field


@each_kind
def test_legacy_completions(gpt: openai.OpenAI, kind: str) -> None:
    answer = gpt.completions.create(model=f"{kind}-route", prompt="Hello", max_tokens=12)
    assert len(answer.choices[0].text) == 48 and answer.choices[0].finish_reason == "length"
    pieces = list(gpt.completions.create(model=f"{kind}-route", prompt="Hello", max_tokens=12, stream=True))
    assert len("".join(choice.text for piece in pieces for choice in piece.choices)) == 48


# --- Google's SDK ---


@each_kind
def test_generate_content(gemini: genai.Client, kind: str) -> None:
    config = genai_types.GenerateContentConfig(max_output_tokens=12, system_instruction="Be brief.")
    answer = gemini.models.generate_content(model=f"{kind}-route", contents="Hello", config=config)
    assert len(answer.text or "") == 48 and answer.candidates and answer.candidates[0].finish_reason == genai_types.FinishReason.MAX_TOKENS
    assert answer.usage_metadata and answer.usage_metadata.candidates_token_count == 12
    pieces = list(gemini.models.generate_content_stream(model=f"{kind}-route", contents="Hello", config=config))
    assert len("".join(piece.text or "" for piece in pieces)) == 48


@each_kind
@pytest.mark.parametrize("streams", [False, True])
def test_a_forced_function_of_generate_content(gemini: genai.Client, kind: str, streams: bool) -> None:
    declared = genai_types.FunctionDeclaration(name="weather", description="Tells it", parameters_json_schema=TOOL)
    calling = genai_types.FunctionCallingConfig(mode=genai_types.FunctionCallingConfigMode.ANY, allowed_function_names=["weather"])
    config = genai_types.GenerateContentConfig(
        max_output_tokens=200,
        tools=[genai_types.Tool(function_declarations=[declared])],
        tool_config=genai_types.ToolConfig(function_calling_config=calling),
    )
    ask = gemini.models.generate_content_stream if streams else gemini.models.generate_content
    found: Any = ask(model=f"{kind}-route", contents="Hello", config=config)
    calls = [call for piece in (found if streams else [found]) for call in piece.function_calls or ()]
    assert [call.name for call in calls] == ["weather"] and "city" in calls[0].args
    assert kind == "gemini" or calls[0].id


def test_what_runs_at_google_reaches_google_and_is_refused_elsewhere_by_its_field(gemini: genai.Client) -> None:
    config = genai_types.GenerateContentConfig(max_output_tokens=12, tools=[genai_types.Tool(google_search=genai_types.GoogleSearch())])
    assert len(gemini.models.generate_content(model="gemini-route", contents="Hello", config=config).text or "") == 48
    with pytest.raises(genai_errors.ClientError, match=r"tools\[0\]\.googleSearch"):
        gemini.models.generate_content(model="openai-route", contents="Hello", config=config)


def test_errors_of_generate_content(gemini: genai.Client) -> None:
    with pytest.raises(genai_errors.ClientError) as caught:
        gemini.models.generate_content(model="nothing", contents="Hello")
    assert caught.value.code == 404 and caught.value.status == "NOT_FOUND"
    assert (gemini.models.count_tokens(model="openai-route", contents="Hello").total_tokens or 0) > 0


def test_a_key_in_the_address_and_a_stream_as_an_array(proxy: StandaloneProxy, shared: httpx.Client) -> None:
    body = {"contents": [{"parts": [{"text": "Hello"}]}], "generationConfig": {"maxOutputTokens": 12}}
    answer = shared.post(f"{proxy.url}/v1beta/models/openai-route:streamGenerateContent", params={"key": KEY}, json=body)
    pieces = answer.json()
    assert answer.headers["content-type"] == "application/json" and len(pieces) > 2
    assert len("".join(part.get("text", "") for piece in pieces for part in piece["candidates"][0]["content"]["parts"])) == 48
    assert KEY not in proxy.log.read_text()
