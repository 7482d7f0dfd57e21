"""What apps of OpenAI's formats are answered, through a proxy from providers of every kind, against OpenAI's own description.

Where an answer is not as described it is by ``ALLOWED``, or the test fails. Then whatever the description allows, and much that it does
not, is asked of the proxy by schemathesis: never a 5xx. Part of ``make accept``: reading the description takes seconds.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
import jsonschema
import pytest
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from referencing import Registry, Resource
from referencing.jsonschema import DRAFT202012

from apps.contracts.snapshot import (
    CredentialFragment,
    Endpoint,
    Fragment,
    KeyFragment,
    PriceFragment,
    PriceVersion,
    ProviderFragment,
    RouteFragment,
    Target,
)
from apps.simulator.harness import SimulatorServer
from tests.proxy.standalone import StandaloneProxy, digest_of, seal
from tests.scale import FULL

OPENAPI = Path(__file__).resolve().parents[3] / "shared" / "material" / "openapi" / "openai" / "openapi.yaml"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1500),
    pytest.mark.skipif(not FULL, reason="reading OpenAI's description takes seconds; `make accept` does"),
    pytest.mark.skipif(not OPENAPI.is_file(), reason="LOUD SKIP: no openapi.yaml in the material"),
]
KEY, SECRET = "bk-openapi-key-of-the-tests", "upstream-secret"
PLACE = "/v1/projects/p/locations/l"
BASES = {"openai": "/v1", "anthropic": "/v1", "gemini": "/v1beta", "responses": "/v1", "cohere": "", "ollama": "", "bedrock": ""}
MODELS = {"anthropic": "claude-sonnet-4-5", "gemini": "gemini-2.5-flash", "bedrock": "anthropic.claude-sonnet-4-5-v1:0"}
HELLO = [{"role": "user", "content": "Hello"}]
SCHEMA = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"], "additionalProperties": False}
TOOL = {"type": "function", "function": {"name": "weather", "description": "Tells it", "parameters": SCHEMA}}
ALLOWED = (
    # OpenAI writes null here in streams, where its description asks for something or nothing; so do servers like it, and it passes through.
    r"/choices/\d+/logprobs: None is not of type 'object'",
    r"/usage: None is not of type 'object'",
    r"/choices/\d+/finish_reason: None is not (of type 'string'|one of )",
)
"""Deviations that are known, each as a pattern over ``/path: message``."""


def fragments(sim: SimulatorServer) -> list[Fragment]:
    found: list[Fragment] = [
        CredentialFragment(id="c", sealed=seal(SECRET)),
        KeyFragment(id="k", name="k", public_id="k", organisation="o", digests=[digest_of(KEY)]),
    ]
    price = PriceVersion(version="p1", input=150_000_000, output=600_000_000)
    for kind, base in BASES.items():
        model = MODELS.get(kind, f"sim-{kind}")
        endpoint = Endpoint(name="sim", base_url=sim.url + base, credential="c")
        found += [
            ProviderFragment(
                id=kind, name=kind, kind=kind, organisation="o", simulated=True, allow_private_addresses=True, endpoints=[endpoint]
            ),
            PriceFragment(id=f"{kind}/{model}", provider=kind, model=model, versions=[price]),
            RouteFragment(id=kind, name=kind, organisation="o", targets=[Target(provider=kind, model=model)]),
        ]
    return found


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandaloneProxy]:
    with (
        SimulatorServer("sim-openapi", scenario={"api_keys": [SECRET]}) as sim,
        StandaloneProxy(fragments(sim), tmp_path_factory.mktemp("openapi")) as running,
    ):
        yield running
        said = running.log.read_text()
        assert "Traceback" not in said and "failed inside the proxy" not in said and "could not be" not in said, said[-4000:]


@pytest.fixture(scope="module")
def client(proxy: StandaloneProxy) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=proxy.url, headers={"authorization": f"Bearer {KEY}"}, timeout=60) as client:
        yield client


@pytest.fixture(scope="module")
def described() -> Any:
    return yaml.load(OPENAPI.read_bytes(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))


@pytest.fixture(scope="module")
def schemas(described: Any) -> Registry[Any]:
    return Registry().with_resource("urn:openai", Resource.from_contents(described, default_specification=DRAFT202012))


def faults(schemas: Registry[Any], name: str, said: Any) -> list[str]:
    """What is not as described, without what is allowed."""
    validator = jsonschema.Draft202012Validator({"$ref": f"urn:openai#/components/schemas/{name}"}, registry=schemas)
    found = [f"/{'/'.join(map(str, error.absolute_path))}: {error.message[:300]}" for error in validator.iter_errors(said)]
    return [fault for fault in found if not any(re.search(pattern, fault) for pattern in ALLOWED)]


def events(answer: httpx.Response) -> list[Any]:
    assert answer.status_code == 200, answer.text
    found = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    return [json.loads(one) for one in found if one != "[DONE]"]


each = pytest.mark.parametrize("kind", BASES)


@each
def test_chat_completions(client: httpx.Client, schemas: Registry[Any], kind: str) -> None:
    tools = {} if kind == "ollama" else {"tools": [TOOL], "tool_choice": "required"}
    form = {"type": "json_schema", "json_schema": {"name": "trip", "schema": SCHEMA}}
    for more in ({}, {"max_tokens": 5}, tools, {"response_format": form}):
        asked = {"model": kind, "messages": HELLO, **more}
        answer = client.post("/v1/chat/completions", json=asked)
        assert answer.status_code == 200, answer.text
        assert faults(schemas, "CreateChatCompletionResponse", answer.json()) == [], more
        streamed = client.post("/v1/chat/completions", json={**asked, "stream": True, "stream_options": {"include_usage": True}})
        told = events(streamed)
        assert told and [fault for event in told for fault in faults(schemas, "CreateChatCompletionStreamResponse", event)] == [], more


@each
def test_responses(client: httpx.Client, described: Any, schemas: Registry[Any], kind: str) -> None:
    by_type = {}
    for name, schema in described["components"]["schemas"].items():
        kinds = schema.get("properties", {}).get("type", {}).get("enum", [])
        if kinds and name.startswith("Response") and name.endswith("Event"):
            by_type[kinds[0]] = name
    tool = {"type": "function", "name": "weather", "parameters": SCHEMA, "strict": True}
    tools = {} if kind == "ollama" else {"tools": [tool], "tool_choice": "required"}
    for more in ({}, {"max_output_tokens": 16}, tools):
        asked = {"model": kind, "input": "Hello", **more}
        answer = client.post("/v1/responses", json=asked)
        assert answer.status_code == 200, answer.text
        assert faults(schemas, "Response", answer.json()) == [], more
        told = events(client.post("/v1/responses", json={**asked, "stream": True}))
        assert told and [fault for event in told for fault in faults(schemas, by_type[event["type"]], event)] == [], more


@each
def test_legacy_completions(client: httpx.Client, schemas: Registry[Any], kind: str) -> None:
    asked = {"model": kind, "prompt": "Hello"}
    answer = client.post("/v1/completions", json=asked)
    assert answer.status_code == 200, answer.text
    assert faults(schemas, "CreateCompletionResponse", answer.json()) == []
    for event in events(client.post("/v1/completions", json={**asked, "stream": True})):
        assert faults(schemas, "CreateCompletionResponse", event) == []


def test_embeddings_and_models(client: httpx.Client, schemas: Registry[Any]) -> None:
    answer = client.post("/v1/embeddings", json={"model": "openai", "input": ["a", "b"]})
    assert answer.status_code == 200 and faults(schemas, "CreateEmbeddingResponse", answer.json()) == []
    assert faults(schemas, "ListModelsResponse", client.get("/v1/models").json()) == []


def test_errors(client: httpx.Client, schemas: Registry[Any]) -> None:
    for path, body in (("/v1/chat/completions", {}), ("/v1/chat/completions", {"model": "x", "messages": HELLO}), ("/v1/embeddings", {})):
        answer = client.post(path, json=body)
        assert 400 <= answer.status_code < 500 and faults(schemas, "ErrorResponse", answer.json()) == []


# --- whatever else can be asked ---

PATHS = (
    "/chat/completions",
    "/completions",
    "/responses",
    "/responses/{response_id}",
    "/responses/{response_id}/input_items",
    "/embeddings",
    "/models",
    "/models/{model}",
    "/moderations",
    "/images/generations",
    "/images/edits",
    "/images/variations",
    "/audio/speech",
    "/audio/transcriptions",
    "/audio/translations",
)
"""Of the description, those that the proxy serves."""
RERANK = {
    "type": "object",
    "required": ["model", "query", "documents"],
    "properties": {
        "model": {"type": "string"},
        "query": {"type": "string"},
        "documents": {
            "type": "array",
            "items": {"anyOf": [{"type": "string"}, {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}]},
        },
        "top_n": {"type": "integer"},
        "return_documents": {"type": "boolean"},
        "max_tokens_per_doc": {"type": "integer"},
    },
}
"""Cohere's and Jina's, from their public references."""


def others() -> dict[str, Any]:
    """Addresses that OpenAI's description does not have: as Anthropic's SDK types them, and rerank."""
    from anthropic.types import MessageCountTokensParams
    from anthropic.types.message_create_params import MessageCreateParamsNonStreaming
    from pydantic import TypeAdapter
    from pydantic.json_schema import GenerateJsonSchema

    class Loose(GenerateJsonSchema):
        def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> dict[str, Any]:
            return {"type": "string"}  # a file that the SDK would encode

    bodies: dict[str, Any] = {"/rerank": RERANK}
    for path, typed in (("/messages", MessageCreateParamsNonStreaming), ("/messages/count_tokens", MessageCountTokensParams)):
        bodies[path] = TypeAdapter(typed).json_schema(ref_template="#/components/schemas/{model}", schema_generator=Loose)
    return bodies


@pytest.fixture(scope="module")
def operations(described: Any) -> dict[str, Any]:
    import schemathesis

    paths = {path: described["paths"][path] for path in PATHS}
    components = {**described["components"], "schemas": dict(described["components"]["schemas"])}
    for path, body in others().items():
        kept = {f"Other{name}": value for name, value in body.pop("$defs", {}).items()}
        text = re.sub(r"#/components/schemas/(?=\w)", "#/components/schemas/Other", json.dumps([body, kept]))
        body, kept = json.loads(text)
        components["schemas"] |= kept
        paths[path] = {
            "post": {
                "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
                "responses": {"200": {"description": "an answer"}},
            }
        }
    document = {**described, "components": components, "paths": paths, "servers": [{"url": "/v1"}]}
    schema: Any = schemathesis.openapi.from_dict(document)
    return {operation.ok().label: operation.ok() for operation in schema.get_all_operations()}


@pytest.mark.parametrize("path", [*PATHS, "/rerank", "/messages", "/messages/count_tokens"])
def test_nothing_that_can_be_asked_is_an_error_of_ours(client: httpx.Client, operations: dict[str, Any], path: str) -> None:
    """Requests as the description allows them, and with what it does not, to a route that exists and to others. The same ones each time:
    now and then a random draw grows until the machine has no memory left."""
    import schemathesis

    found = [operation for operation in operations.values() if operation.path == path]
    assert found
    for operation in found:
        valid = operation.as_strategy(generation_mode=schemathesis.GenerationMode.POSITIVE)
        wrong = operation.as_strategy(generation_mode=schemathesis.GenerationMode.NEGATIVE)
        _ask_anything(client, operation, st.one_of(valid, wrong))


def _ask_anything(client: httpx.Client, operation: Any, cases: st.SearchStrategy[Any]) -> None:
    @settings(
        max_examples=60, deadline=None, database=None, derandomize=True, phases=(Phase.generate,), suppress_health_check=list(HealthCheck)
    )
    @given(case=cases, known=st.sampled_from([*BASES, None]))
    def ask(case: Any, known: str | None) -> None:
        sent = {**case.body, "model": known} if isinstance(case.body, dict) and known is not None else case.body
        path = re.sub(r"\{model\}", known or "nothing", operation.path)
        path = re.sub(r"\{response_id\}", lambda _: quote(str((case.path_parameters or {}).get("response_id", "resp_0")), safe=""), path)
        method = operation.method.upper()
        if method in ("GET", "DELETE"):
            answer = client.request(method, f"/v1{path}")
        elif case.media_type == "multipart/form-data" and isinstance(sent, dict):
            answer = client.post(f"/v1{path}", files=_form(sent))
        else:
            data = json.dumps(sent, default=str).encode("utf-8", "replace")
            answer = client.post(f"/v1{path}", content=data, headers={"content-type": "application/json"})
        assert answer.status_code < 500, (sent, answer.text)

    ask()


def _form(fields: dict[str, Any]) -> list[tuple[str, Any]]:
    """As a form: bytes are files, lists are repeated, anything else is text."""
    parts: list[tuple[str, Any]] = []
    for name, value in fields.items():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, bytes):
                parts.append((name, (f"{name}.png", one, "application/octet-stream")))
            else:
                parts.append((name, (None, one if isinstance(one, str) else json.dumps(one, default=str))))
    return parts
