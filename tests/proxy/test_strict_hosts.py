"""A host that refuses what it does not know is asked by its own names, whoever asks; all others as they were."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from apps.contracts.snapshot import Endpoint, ProviderFragment, Target
from apps.proxy.dialects.openai_plain import plain
from apps.proxy.runtime import CompiledTarget

ASKED = {"model": "chat", "messages": [{"role": "user", "content": "hi"}], "seed": 7, "stream": True, "store": False}


def sent(host: str, **more: Any) -> dict[str, Any]:
    endpoint = Endpoint(name="main", base_url=f"https://{host}/v1")
    target = CompiledTarget(
        Target(provider="p", model="large"), ProviderFragment(id="p", name="p", kind="openai", endpoints=[endpoint]), endpoint, None, ""
    )
    payload = {**ASKED, **more}
    exchange: Any = SimpleNamespace(
        body=json.dumps(payload).encode(),
        payload=payload,
        cap_injected="max_completion_tokens" not in more,
        max_output=64,
        stream=True,
        usage_asked=False,
        requested_model="chat",
    )
    found: dict[str, Any] = json.loads(target.dialect.body(exchange, target))
    return found


def test_mistral_is_asked_by_its_own_names() -> None:
    assert sent("api.mistral.ai") == {"model": "large", "messages": ASKED["messages"], "random_seed": 7, "stream": True, "max_tokens": 64}
    assert sent("api.mistral.ai", max_completion_tokens=5, stream_options={"include_usage": True})["max_tokens"] == 5


def test_everybody_else_as_before() -> None:
    found = sent("api.example.com")
    assert found["stream_options"] == {"include_usage": True} and found["seed"] == 7 and found["max_tokens"] == 64


def test_apps_of_other_formats_too() -> None:
    payload = {**ASKED, "max_tokens": 9, "stream_options": {"include_usage": True}}
    said, left = plain(payload, host="api.mistral.ai", reasoning=False)
    assert said["random_seed"] == 7 and "stream_options" not in said and "store" not in said and not left
