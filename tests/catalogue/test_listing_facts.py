"""What each provider's list says of a model, as its API writes it; nonsense says nothing and never raises."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.catalogue.listing_facts import found_in, listed_models, next_page, rows_of
from apps.contracts.model_facts import NOTHING, ModelFacts
from tests.scale import examples

OPENROUTER = {
    "id": "acme/large",
    "context_length": 131072,
    "architecture": {"input_modalities": ["text", "image"], "output_modalities": ["text"]},
    "pricing": {"prompt": "0.0000025", "completion": "0.00001", "input_cache_read": "0.00000125", "request": "0"},
    "top_provider": {"context_length": 131072, "max_completion_tokens": 16384},
    "supported_parameters": ["tools", "seed", "max_tokens"],
}
MISTRAL = {
    "id": "mistral-x",
    "max_context_length": 32768,
    "capabilities": {"completion_chat": True, "function_calling": True, "vision": False},
    "deprecation": "2026-12-24T12:00:00Z",
}
GEMINI = {"name": "models/gemini-x", "inputTokenLimit": 1048576, "outputTokenLimit": 65536, "thinking": True}
ANTHROPIC = {
    "id": "claude-x",
    "max_input_tokens": 200000,
    "max_tokens": 64000,
    "capabilities": {
        "image_input": {"supported": True},
        "thinking": {"supported": False, "types": {}},
        "structured_outputs": {"supported": True},
    },
    "retires_at": None,
}
GROQ = {"id": "llama", "context_window": 131072, "max_completion_tokens": 32768, "active": True}
TOGETHER = {"id": "qwen", "context_length": 8192, "pricing": {"hourly": 0, "input": 0.18, "output": 0.59}}
COHERE = {"name": "command", "context_length": 256000, "is_deprecated": True, "features": ["json_schema", "tools"]}
VLLM = {"id": "own", "object": "model", "max_model_len": 4096}


@pytest.mark.parametrize(
    ("row", "facts", "price"),
    [
        (
            OPENROUTER,
            ModelFacts(
                window=131072,
                max_output=16384,
                can=("images", "seed", "tools"),
                cannot=("audio", "documents", "json_schema", "logprobs", "parallel_tools", "reasoning"),
            ),
            {"input": 2_500_000_000, "output": 10_000_000_000, "cache_read": 1_250_000_000},
        ),
        (MISTRAL, ModelFacts(window=32768, can=("tools",), cannot=("images",), deprecated=True, ends_on="2026-12-24"), {}),
        (GEMINI, ModelFacts(window=1048576, max_output=65536, can=("reasoning",)), {}),
        (ANTHROPIC, ModelFacts(window=200000, max_output=64000, can=("images", "json_schema"), cannot=("reasoning",)), {}),
        (GROQ, ModelFacts(window=131072, max_output=32768), {}),
        (TOGETHER, ModelFacts(window=8192), {"input": 180_000_000, "output": 590_000_000}),
        (COHERE, ModelFacts(window=256000, can=("json_schema", "tools"), deprecated=True), {}),
        (VLLM, ModelFacts(window=4096), {}),
        ({"id": "bare", "object": "model", "created": 1, "owned_by": "openai"}, NOTHING, {}),
    ],
    ids=["openrouter", "mistral", "gemini", "anthropic", "groq", "together", "cohere", "vllm", "openai"],
)
def test_each_providers_own_fields(row: dict[str, Any], facts: ModelFacts, price: dict[str, int]) -> None:
    found = found_in(row)
    assert found.facts == facts and found.price == price


WEIRD = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=8), inner, max_size=3)),
    max_leaves=6,
)
FIELDS = sorted({*OPENROUTER, *MISTRAL, *GEMINI, *ANTHROPIC, *GROQ, *TOGETHER, *COHERE, *VLLM, "modelLifecycle", "expiration_date"})


@given(st.dictionaries(st.sampled_from(FIELDS), WEIRD))
@settings(max_examples=examples(60))
def test_nonsense_says_nothing_wrong(row: dict[str, Any]) -> None:
    found = found_in(row)
    assert 0 <= found.facts.window <= 10**9 and 0 <= found.facts.max_output <= 10**9
    assert all(type(amount) is int and amount >= 0 for amount in found.price.values())


def test_a_page_says_whether_another_follows() -> None:
    assert next_page({"data": [], "has_more": True, "last_id": "a b"}) == "after_id=a%20b"
    assert next_page({"models": [], "nextPageToken": "x&y"}) == "pageToken=x%26y"
    assert next_page({"data": [], "has_more": False, "last_id": "a"}) == next_page([]) == next_page({"nextPageToken": 7}) == ""


def test_names_that_are_not_the_rows_are_kept_without_facts() -> None:
    assert rows_of({"nothing": 1}) == [] and rows_of([1]) == [1]
    assert listed_models({"data": [GROQ]}, ["llama"])["llama"].facts.window == 131072
    assert listed_models({"data": [GROQ, VLLM]}, ["llama"])["llama"].facts == NOTHING
