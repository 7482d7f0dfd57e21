"""What providers' own lists of models say of each: pure, one reading for all of them, because their fields have names of their own.

Sources, each from the provider's API reference: Anthropic (``max_input_tokens``, ``max_tokens``, ``capabilities``), Google
(``inputTokenLimit``, ``outputTokenLimit``, ``thinking``), Mistral (``max_context_length``, ``capabilities``, ``deprecation``), Groq
(``context_window``, ``max_completion_tokens``), OpenRouter (``context_length``, ``top_provider``, ``pricing``, ``supported_parameters``,
``architecture``, ``expiration_date``), Together (``context_length``, ``pricing``), Cohere (``context_length``, ``is_deprecated``,
``features``), vLLM and SGLang (``max_model_len``). A field that is not there, or is of another type, says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import quote

from apps.catalogue.rules import MOST_TOKENS, Found
from apps.contracts.model_facts import facts_of
from apps.contracts.money import from_dollars

ROWS = ("data", "models", "modelSummaries", "publisherModels")
MOST_DOLLARS = 1_000_000
"""A price per million tokens above this is a mistake of the list."""
_WINDOWS = ("context_window", "context_length", "max_context_length", "inputTokenLimit", "max_input_tokens", "max_model_len")
_OUTPUTS = ("max_completion_tokens", "outputTokenLimit", "max_output_tokens")
_PARAMETERS = {
    "tools": "tools",
    "parallel_tool_calls": "parallel_tools",
    "structured_outputs": "json_schema",
    "reasoning": "reasoning",
    "logprobs": "logprobs",
    "seed": "seed",
}
"""Of ``supported_parameters``, a list that is whole: what is not in it is not taken."""
_ABLE = {
    "function_calling": "tools",
    "tools": "tools",
    "vision": "images",
    "image_input": "images",
    "pdf_input": "documents",
    "audio": "audio",
    "reasoning": "reasoning",
    "thinking": "reasoning",
    "structured_outputs": "json_schema",
    "prompt_caching": "caching",
    "streaming": "streaming",
    "logprobs": "logprobs",
}
"""Of ``capabilities``: yes or no by name, or ``{"supported": yes or no}``."""
_MODALITIES = {"image": "images", "file": "documents", "pdf": "documents", "audio": "audio"}


def listed_models(document: Any, names: Sequence[str]) -> dict[str, Found]:
    """Model -> what the list says of it. names: of its rows, as the kind of provider reads them, in their order."""
    rows = rows_of(document)
    if len(rows) != len(names):
        return {name: Found(facts_of({}), {}) for name in names}
    return {name: found_in(row) for name, row in zip(names, rows, strict=True)}


def rows_of(document: Any) -> list[Any]:
    """The rows of a list in any of the known shapes; empty where it is none."""
    if isinstance(document, list):
        return document
    if isinstance(document, dict):
        return next((document[name] for name in ROWS if isinstance(document.get(name), list)), [])
    return []


def next_page(document: Any) -> str:
    """What asks for the page after this one, as it goes into the query; empty where this is the last."""
    if not isinstance(document, dict):
        return ""
    for field, parameter in (("nextPageToken", "pageToken"), ("next_page_token", "page_token")):
        token = document.get(field)
        if isinstance(token, str) and token:
            return f"{parameter}={quote(token, safe='')}"
    last = document.get("last_id")
    return f"after_id={quote(last, safe='')}" if document.get("has_more") is True and isinstance(last, str) and last else ""


def found_in(row: Any) -> Found:
    """One row's facts and price; nothing where it says nothing."""
    if not isinstance(row, dict):
        return Found(facts_of({}), {})
    provider = row.get("top_provider") if isinstance(row.get("top_provider"), dict) else {}
    able: dict[str, bool | None] = {}
    parameters = row.get("supported_parameters")
    if isinstance(parameters, list) and parameters:
        able |= {name: parameter in parameters for parameter, name in _PARAMETERS.items()}
    architecture = row.get("architecture")
    inputs = architecture.get("input_modalities") if isinstance(architecture, dict) else None
    if isinstance(inputs, list) and inputs:
        able |= {name: any(word in inputs for word, other in _MODALITIES.items() if other == name) for name in set(_MODALITIES.values())}
    able |= _able(row.get("capabilities"))
    if isinstance(row.get("thinking"), bool):
        able["reasoning"] = row["thinking"]
    features = row.get("features")
    if isinstance(features, list) and features:
        able |= {
            name: True for word, name in (("tools", "tools"), ("json_schema", "json_schema"), ("vision", "images")) if word in features
        }
    output = _first(row, _OUTPUTS) or _tokens(provider.get("max_completion_tokens"))
    if not output and "max_input_tokens" in row:  # Anthropic's name for what it gives at most
        output = _tokens(row.get("max_tokens"))
    ends_on = next((day for name in ("deprecation", "expiration_date", "retires_at") if (day := _day(row.get(name)))), "")
    deprecated = True if ends_on or row.get("is_deprecated") is True or row.get("deprecated") is True else None
    lifecycle = row.get("modelLifecycle")
    if isinstance(lifecycle, dict) and lifecycle.get("status") == "LEGACY":
        deprecated = True
    facts = facts_of(able, window=_first(row, _WINDOWS), max_output=output, deprecated=deprecated, ends_on=ends_on)
    return Found(facts, _price(row.get("pricing")))


def _able(said: Any) -> dict[str, bool | None]:
    found: dict[str, bool | None] = {}
    if isinstance(said, dict):
        for word, name in _ABLE.items():
            value = said.get(word)
            if isinstance(value, dict):
                value = value.get("supported")
            if isinstance(value, bool):
                found[name] = value
    return found


def _first(row: Mapping[str, Any], names: Sequence[str]) -> int:
    return next((tokens for name in names if (tokens := _tokens(row.get(name)))), 0)


def _tokens(value: Any) -> int:
    return value if type(value) is int and 0 < value <= MOST_TOKENS else 0


def _day(value: Any) -> str:
    if not isinstance(value, str):
        return ""
    try:
        return date.fromisoformat(value[:10]).isoformat()
    except ValueError:
        return ""


def _price(pricing: Any) -> dict[str, int]:
    """Nano-dollars per million tokens. OpenRouter's are dollars per token, as text; Together's are dollars per million, as numbers."""
    if not isinstance(pricing, dict):
        return {}
    found: dict[str, int] = {}
    for kind, per_token, per_million in (
        ("input", "prompt", "input"),
        ("output", "completion", "output"),
        ("cache_read", "input_cache_read", ""),
    ):
        if isinstance(pricing.get(per_token), str):
            amount = _dollars(pricing[per_token], 1_000_000)
        elif per_million and type(pricing.get(per_million)) in (int, float):
            amount = _dollars(str(pricing[per_million]), 1)
        else:
            amount = None
        if amount is not None:
            found[kind] = amount
    return found


def _dollars(text: str, times: int) -> int | None:
    try:
        amount = Decimal(text) * times
    except InvalidOperation:
        return None
    return from_dollars(amount) if amount.is_finite() and 0 <= amount <= MOST_DOLLARS else None
