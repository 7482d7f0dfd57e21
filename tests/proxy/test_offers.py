"""The models that a key may use, read by the vendors' own SDKs; what is said of a route is what the planner does with it."""

from __future__ import annotations

import json
import time
from types import SimpleNamespace
from typing import Any, cast
from urllib.parse import urlsplit

import anthropic
import httpx
import openai
import pytest
from google import genai
from google.genai import types

from apps.contracts.model_facts import ModelFacts
from apps.contracts.snapshot import (
    Endpoint,
    Fragment,
    KeyFragment,
    ModelFragment,
    PriceFragment,
    PriceVersion,
    ProviderFragment,
    RouteFragment,
    Target,
)
from apps.proxy.compiler import compile_config
from apps.proxy.errors import Refusal
from apps.proxy.http.types import Request
from apps.proxy.offers import ModelDesk
from apps.proxy.runtime import Runtime
from tests.proxy.conftest import KEY, NARROW, REVOKED
from tests.proxy.fragments import ORG, table
from tests.proxy.standalone import StandaloneProxy

PRICE = PriceVersion(version="v", input=2_500_000_000, output=10_000_000_000, cache_read=1_250_000_000, request=7_000_000_000)


def config(*facts: ModelFacts, **target: Any) -> Runtime:
    """A route ``chat`` with a target at ``p-1``, ``p-2``, ... of which these facts are known; ``other`` is a route of one target."""
    made: list[Fragment] = []
    for at, known in enumerate(facts, 1):
        endpoint = Endpoint(name="main", base_url="http://127.0.0.1:1/v1")
        made.append(ProviderFragment(id=f"p-{at}", name=f"n{at}", kind="openai", organisation=ORG, endpoints=[endpoint]))
        made.append(ModelFragment(id=f"p-{at}/m", provider=f"p-{at}", model="m", known=known))
    made.append(PriceFragment(id="p-1/m", provider="n1", model="m", versions=[PRICE]))
    targets = [Target(provider=f"n{at}", model="m", **target) for at in range(1, len(facts) + 1)]
    made.append(RouteFragment(id="r-1", name="chat", organisation=ORG, targets=targets, aliases=["alias"]))
    made.append(RouteFragment(id="r-2", name="other", organisation=ORG, targets=targets[:1]))
    made.append(KeyFragment(id="k-1", name="app", public_id="pk", organisation=ORG, digests=["aa"]))
    made.append(KeyFragment(id="k-2", name="narrow", public_id="pn", organisation=ORG, digests=["bb"], routes=["other"]))
    return compile_config(table(*made), version=1)


class Desk:
    """A desk over a config; ``whose``: digest of the key that asks."""

    def __init__(self, runtime: Runtime) -> None:
        self.whose = "aa"
        self.engine = SimpleNamespace(
            holder=SimpleNamespace(current=runtime),
            authenticator=SimpleNamespace(key_of=lambda headers, runtime, peer: runtime.keys[bytes.fromhex(self.whose)]),
            offset_us=0,
        )
        self.desk = ModelDesk(cast(Any, self.engine))

    def ask(self, target: str = "/v1/models", **headers: str) -> Any:
        parts = urlsplit(target)
        sent = {name.replace("_", "-").encode(): value.encode() for name, value in headers.items()}
        found = self.desk.answer(Request("GET", parts.path, parts.query.encode(), sent, b"", 0, "127.0.0.1", False))
        return found if isinstance(found, Refusal) else json.loads(found[1])


KNOWN = ModelFacts(
    window=128_000, max_output=16_384, can=("images", "tools"), cannot=("audio", "reasoning"), deprecated=True, ends_on="2030-01-31"
)


def test_every_shape_says_what_is_known_and_nothing_more() -> None:
    desk = Desk(config(KNOWN))
    [one, *_] = [row for row in desk.ask()["data"] if row["id"] == "chat"]
    assert (one["context_window"], one["max_output_tokens"], one["shutdown_date"], one["deprecated"]) == (
        128_000,
        16_384,
        "2030-01-31",
        True,
    )
    assert one["capabilities"]["tools"] is True and one["capabilities"]["audio"] is False and one["capabilities"]["seed"] is None
    assert one["pricing"] == {
        "currency": "USD", "per": "million_tokens", "input": "2.5", "output": "10", "cache_read": "1.25", "cache_write": "2.5"
    }  # fmt: skip
    assert desk.ask("/v1/models/chat") == one
    told = desk.ask("/v1/models/chat", anthropic_version="2023-06-01")
    assert (told["max_input_tokens"], told["max_tokens"], told["lifecycle"], told["capabilities"]) == (128_000, 16_384, "deprecated", None)
    assert told["bulkhead"]["capabilities"] == one["capabilities"] and told["retires_at"] == "2030-01-31T00:00:00Z"
    said = desk.ask("/v1beta/models/chat")
    assert (said["name"], said["inputTokenLimit"], said["outputTokenLimit"], said["thinking"]) == ("models/chat", 128_000, 16_384, False)


def test_of_a_model_that_nobody_knows_nothing_is_said() -> None:
    desk = Desk(config(ModelFacts()))
    one = desk.ask("/v1/models/other")
    assert one["context_window"] is None and one["max_output_tokens"] is None and one["shutdown_date"] is None
    assert set(one["capabilities"].values()) == {None}
    assert "inputTokenLimit" not in desk.ask("/v1beta/models/other") and "thinking" not in desk.ask("/v1beta/models/other")
    assert desk.ask("/v1/models/other", anthropic_version="1")["lifecycle"] == "active"


@pytest.mark.parametrize(
    ("first", "second", "says"),
    [
        ((("tools",), ()), (("tools",), ()), True),
        ((("tools",), ()), ((), ("tools",)), True),
        (((), ("tools",)), ((), ("tools",)), False),
        ((("tools",), ()), ((), ()), None),
        (((), ()), ((), ("tools",)), None),
    ],
)
def test_a_route_of_several_targets_says_what_becomes_of_a_request(first: Any, second: Any, says: bool | None) -> None:
    facts = [ModelFacts(can=can, cannot=cannot, window=window) for (can, cannot), window in ((first, 8_000), (second, 32_000))]
    one = Desk(config(*facts)).ask("/v1/models/chat")
    assert one["capabilities"]["tools"] is says and one["context_window"] == 32_000


def test_a_key_reads_what_it_may_use_and_nothing_else() -> None:
    desk = Desk(config(KNOWN))
    assert [row["id"] for row in desk.ask()["data"]] == ["alias", "chat", "other"]
    desk.whose = "bb"
    assert [row["id"] for row in desk.ask()["data"]] == ["other"]
    refusal = desk.ask("/v1/models/chat")
    assert isinstance(refusal, Refusal) and refusal.code == "model_not_found" and "other" in refusal.message
    assert desk.ask("/v1/models/chat", anthropic_version="1")["error"]["type"] == "not_found_error"
    assert desk.ask("/v1beta/models/chat")["error"]["status"] == "NOT_FOUND"


def test_a_list_is_rendered_once_for_a_config_and_its_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time_ns", lambda: 1_800_000_000_000_000_000)
    desk = Desk(config(KNOWN))
    request = Request("GET", "/v1/models", b"", {}, b"", 0, "127.0.0.1", False)
    first, again = desk.desk.answer(request), desk.desk.answer(request)
    assert not isinstance(first, Refusal) and not isinstance(again, Refusal) and first[1] is again[1]
    desk.engine.holder.current = config(ModelFacts())
    after = desk.desk.answer(request)
    assert not isinstance(after, Refusal) and after[1] != first[1]


def test_pages_are_walked_without_a_model_twice_or_missing() -> None:
    desk = Desk(config(KNOWN))
    seen, after = [], ""
    while True:
        page = desk.ask(f"/v1/models?limit=2{after}", anthropic_version="1")
        seen += [row["id"] for row in page["data"]]
        if not page["has_more"]:
            break
        after = f"&after_id={page['last_id']}"
    assert seen == ["alias", "chat", "other"]
    first = desk.ask("/v1beta/models?pageSize=2")
    rest = desk.ask(f"/v1beta/models?pageSize=2&pageToken={first['nextPageToken']}")
    assert [row["name"] for row in [*first["models"], *rest["models"]]] == [
        f"models/{name}" for name in seen
    ] and "nextPageToken" not in rest
    assert len(desk.ask("/v1/models?limit=nonsense", anthropic_version="1")["data"]) == 3


# --- a real proxy, and the vendors' own clients ----------------------------------------------------------------------------


def test_openais_sdk(proxy: StandaloneProxy) -> None:
    client = openai.OpenAI(base_url=f"{proxy.url}/v1", api_key=KEY, max_retries=0)
    names = [model.id for model in client.models.list()]
    assert "chat" in names and names == sorted(names)
    model = client.models.retrieve("chat")
    assert model.id == "chat" and model.object == "model" and model.model_extra is not None
    assert model.model_extra["pricing"]["input"] == "0.15" and model.model_extra["capabilities"]["tools"] is None
    narrow = openai.OpenAI(base_url=f"{proxy.url}/v1", api_key=NARROW, max_retries=0)
    assert [model.id for model in narrow.models.list()] == ["chat", "chat-alias"]
    with pytest.raises(openai.NotFoundError):
        narrow.models.retrieve("embed")


def test_anthropics_sdk(proxy: StandaloneProxy) -> None:
    client = anthropic.Anthropic(base_url=proxy.url, api_key=KEY, max_retries=0)
    names = [model.id for model in client.models.list(limit=7)]
    assert "chat" in names and len(names) == len(set(names)) > 7, "its own paging walks the whole list"
    model = client.models.retrieve("chat")
    assert model.type == "model" and model.display_name == "chat" and model.max_tokens is None and model.created_at.year == 1970
    with pytest.raises(anthropic.NotFoundError):
        client.models.retrieve("nowhere")
    with pytest.raises(anthropic.AuthenticationError):
        anthropic.Anthropic(base_url=proxy.url, api_key=REVOKED, max_retries=0).models.list()


def test_googles_sdk(proxy: StandaloneProxy) -> None:
    client = genai.Client(api_key=KEY, http_options=types.HttpOptions(base_url=proxy.url))
    names = [model.name for model in client.models.list(config={"page_size": 7})]
    assert "models/chat" in names and len(names) == len(set(names)) > 7
    model = client.models.get(model="chat")
    assert model.name == "models/chat" and model.supported_actions and "generateContent" in model.supported_actions
    with pytest.raises(genai.errors.ClientError) as caught:
        client.models.get(model="nowhere")
    assert caught.value.code == 404


TOOLS: Any = [{"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}]


def test_what_a_model_lacks_is_known_before_anybody_is_called(proxy: StandaloneProxy) -> None:
    client = openai.OpenAI(base_url=f"{proxy.url}/v1", api_key=KEY, max_retries=0)
    ask: Any = {"messages": [{"role": "user", "content": "hello"}]}
    assert client.models.retrieve("plain").model_extra["capabilities"]["tools"] is False  # type: ignore[index]
    assert client.chat.completions.create(model="plain", **ask).usage is not None
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="plain", tools=TOOLS, **ask)
    assert (caught.value.code, caught.value.param) == ("unsupported_operation", "tools") and "sim-plain" in caught.value.message
    with pytest.raises(openai.BadRequestError) as caught:
        client.chat.completions.create(model="plain", max_tokens=101, **ask)
    assert caught.value.param == "max_tokens" and "up to 100 tokens" in caught.value.message
    for more, at in (({}, "east"), ({"tools": TOOLS}, "west"), ({"max_tokens": 101}, "west")):
        answer = client.chat.completions.with_raw_response.create(model="plain-first", **ask, **more)
        assert answer.headers["x-bulkhead-target"].startswith(f"{at}/"), more
    told = anthropic.Anthropic(base_url=proxy.url, api_key=KEY, max_retries=0)
    with pytest.raises(anthropic.BadRequestError, match="function calling"):
        told.messages.create(
            model="plain", max_tokens=5, messages=ask["messages"], tools=[{"name": "weather", "input_schema": {"type": "object"}}]
        )


def test_other_methods_are_refused(proxy: StandaloneProxy) -> None:
    for path in ("/v1/models", "/v1/models/chat", "/v1beta/models"):
        answer = httpx.post(f"{proxy.url}{path}", headers={"authorization": f"Bearer {KEY}"})
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET")
    assert httpx.get(f"{proxy.url}/v1/modelsandmore", headers={"authorization": f"Bearer {KEY}"}).status_code == 404
