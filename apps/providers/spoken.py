"""What a kind of provider is asked when somebody tests it, and where its answer says what: pure, a few lines for each wire format."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit, urlunsplit

from apps.providers.choices import KINDS

QUESTION = "Answer with the word ready."
Said = tuple[str, tuple[int, int] | None]
"""(text, (input tokens, output tokens) where it counts them)."""


class Spoken(NamedTuple):
    """names: of the models in a list's answer, None where it is no list. chat: (path, body) of a short question to a model.
    read: what the answer says; raises LookupError, TypeError, ValueError or AttributeError where it is none."""

    names: Callable[[Any], list[str] | None]
    chat: Callable[[str], tuple[str, dict[str, Any]]]
    read: Callable[[Any], Said]


def call_headers(kind: str, secret: str) -> dict[str, str]:
    """Of every call to a provider of this kind whose credential is a key; without a credential where ``secret`` is empty."""
    spoken = KINDS[kind]
    return {**spoken.headers, **({spoken.secret_header: spoken.secret_prefix + secret} if secret else {})}


def asked_url(kind: str, base_url: str, path: str, api_version: str = "") -> str:
    """Where a call below a base URL goes."""
    if not KINDS[kind].versioned:
        return base_url + path
    return f"{base_url}{path}{'&' if '?' in path else '?'}api-version={quote(api_version, safe='')}"


def models_url(kind: str, base_url: str, api_version: str = "") -> str:
    """Where the models are listed that an endpoint serves: AWS and Google list them beside the API that answers."""
    parts = urlsplit(base_url)
    if kind == "bedrock" and parts.netloc.startswith("bedrock-runtime"):
        base_url = urlunsplit(parts._replace(netloc="bedrock" + parts.netloc.removeprefix("bedrock-runtime")))
    elif kind in ("vertex", "vertex-anthropic") and "/projects/" in parts.path:
        base_url = urlunsplit(parts._replace(path="/v1beta1"))
    return asked_url(kind, base_url, KINDS[kind].models_path, api_version)


def spoken(kind: str) -> Spoken:
    return _SPOKEN.get(kind, _OPENAI)


def _listed(field: str, name: str, prefix: str = "") -> Callable[[Any], list[str] | None]:
    def names(document: Any) -> list[str] | None:
        rows = document.get(field) if isinstance(document, dict) else document if isinstance(document, list) else None
        if not isinstance(rows, list) or any(not isinstance(row, dict) or not isinstance(row.get(name), str) for row in rows):
            return None
        return [row[name].removeprefix(prefix) for row in rows]

    return names


def _counted(usage: Any, sent: str, given: str) -> tuple[int, int] | None:
    return (int(usage[sent]), int(usage.get(given) or 0)) if isinstance(usage, dict) and sent in usage else None


def _openai(document: Any) -> Said:
    text = document["choices"][0]["message"].get("content") or ""
    usage = document.get("usage") or {}
    return str(text), (int(usage["prompt_tokens"]), int(usage["completion_tokens"])) if "prompt_tokens" in usage else None


def _anthropic(document: Any) -> Said:
    text = "".join(block.get("text", "") for block in document["content"])
    return text, _counted(document.get("usage"), "input_tokens", "output_tokens")


def _gemini(document: Any) -> Said:
    parts = document["candidates"][0].get("content", {}).get("parts", [])
    text = "".join(part.get("text", "") for part in parts)
    return text, _counted(document.get("usageMetadata"), "promptTokenCount", "candidatesTokenCount")


def _responses(document: Any) -> Said:
    text = "".join(part.get("text", "") for item in document["output"] for part in item.get("content") or ())
    return text, _counted(document.get("usage"), "input_tokens", "output_tokens")


def _gemini_chat(model: str) -> tuple[str, dict[str, Any]]:
    # Thinking counts against the bound: a small one would leave nothing to be said.
    body = {"contents": [{"role": "user", "parts": [{"text": QUESTION}]}], "generationConfig": {"maxOutputTokens": 256}}
    return f"/models/{model}:generateContent", body


def _bedrock(document: Any) -> Said:
    text = "".join(block.get("text", "") for block in document["output"]["message"]["content"])
    return text, _counted(document.get("usage"), "inputTokens", "outputTokens")


def _cohere(document: Any) -> Said:
    text = "".join(part.get("text", "") for part in document["message"].get("content") or ())
    return text, _counted((document.get("usage") or {}).get("billed_units"), "input_tokens", "output_tokens")


def _ollama(document: Any) -> Said:
    return str(document["message"]["content"]), _counted(document, "prompt_eval_count", "eval_count")


def _bedrock_chat(model: str) -> tuple[str, dict[str, Any]]:
    messages = [{"role": "user", "content": [{"text": QUESTION}]}]
    return f"/model/{quote(model, safe='')}/converse", {"messages": messages, "inferenceConfig": {"maxTokens": 256}}


def _vertex_chat(model: str) -> tuple[str, dict[str, Any]]:
    path, body = _gemini_chat(quote(model, safe=""))
    return f"/publishers/google{path}", body


def _vertex_anthropic_chat(model: str) -> tuple[str, dict[str, Any]]:
    path = f"/publishers/anthropic/models/{quote(model, safe='@')}:rawPredict"
    return path, {"anthropic_version": "vertex-2023-10-16", "messages": _ASKED, "max_tokens": 16}


_ASKED = [{"role": "user", "content": QUESTION}]
_OPENAI = Spoken(
    _listed("data", "id"),
    lambda model: ("/chat/completions", {"model": model, "messages": _ASKED, "max_tokens": 16}),
    _openai,
)
_SPOKEN = {
    "azure-deployments": _OPENAI._replace(
        chat=lambda model: (f"/deployments/{quote(model, safe='')}/chat/completions", {"messages": _ASKED, "max_tokens": 16})
    ),
    "bedrock": Spoken(_listed("modelSummaries", "modelId"), _bedrock_chat, _bedrock),
    "cohere": Spoken(
        _listed("models", "name"), lambda model: ("/v2/chat", {"model": model, "messages": _ASKED, "max_tokens": 16}), _cohere
    ),
    "ollama": Spoken(
        _listed("models", "name"),
        lambda model: ("/api/chat", {"model": model, "messages": _ASKED, "stream": False, "options": {"num_predict": 64}}),
        _ollama,
    ),
    "vertex": Spoken(_listed("publisherModels", "name", "publishers/google/models/"), _vertex_chat, _gemini),
    "vertex-anthropic": Spoken(_listed("publisherModels", "name", "publishers/anthropic/models/"), _vertex_anthropic_chat, _anthropic),
    "anthropic": Spoken(
        _listed("data", "id"), lambda model: ("/messages", {"model": model, "messages": _ASKED, "max_tokens": 16}), _anthropic
    ),
    "gemini": Spoken(_listed("models", "name", "models/"), _gemini_chat, _gemini),
    "responses": Spoken(
        _listed("data", "id"), lambda model: ("/responses", {"model": model, "input": QUESTION, "max_output_tokens": 256}), _responses
    ),
}
