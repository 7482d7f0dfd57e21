"""Embeddings and rerank at providers of other formats: what they are asked, what cannot be asked, what is no answer."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest

from apps.proxy.dialects import EMBEDDERS, RERANKERS
from apps.proxy.dialects.translation import NotAnAnswer, Unsupported

MODELS = {
    "bedrock": "cohere.embed-multilingual-v3",
    "cohere": "embed-v4.0",
    "gemini": "gemini-embedding-001",
    "ollama": "nomic-embed-text",
    "vertex": "text-embedding-005",
}
TEXTS: dict[str, Any] = {"model": "e", "input": ["a", "b"]}


def test_what_each_is_asked() -> None:
    sent = {name: EMBEDDERS[name].request({**TEXTS, "dimensions": 8}, model) for name, model in MODELS.items()}
    assert {name: one.path for name, one in sent.items()} == {
        "bedrock": "/model/cohere.embed-multilingual-v3/invoke",
        "cohere": "/v2/embed",
        "gemini": "/models/gemini-embedding-001:batchEmbedContents",
        "ollama": "/api/embed",
        "vertex": "/publishers/google/models/text-embedding-005:predict",
    }
    assert sent["cohere"].body == {
        "model": "embed-v4.0",
        "texts": ["a", "b"],
        "embedding_types": ["float"],
        "input_type": "search_document",
        "output_dimension": 8,
    }
    assert sent["cohere"].approximated == ("input_type: search_document, because none was given",)
    assert sent["ollama"].body == {"model": "nomic-embed-text", "input": ["a", "b"], "dimensions": 8}
    assert sent["vertex"].body == {"instances": [{"content": "a"}, {"content": "b"}], "parameters": {"outputDimensionality": 8}}
    titan = EMBEDDERS["bedrock"].request({"model": "e", "input": "a", "dimensions": 256}, "amazon.titan-embed-text-v2:0")
    assert (titan.path, titan.body) == ("/model/amazon.titan-embed-text-v2%3A0/invoke", {"inputText": "a", "dimensions": 256})
    told = EMBEDDERS["cohere"].request({**TEXTS, "input_type": "search_query", "user": "u"}, "m")
    assert told.body["input_type"] == "search_query" and told.approximated == ("user: not told to the provider",)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"input": []}, "input"),
        ({"input": ["a"] * 5_000}, "input"),
        ({"input": [[1, 2]]}, "input[0]"),
        ({"dimensions": 0}, "dimensions"),
        ({"encoding_format": "ubinary"}, "encoding_format"),
        ({"late_chunking": True}, "late_chunking"),
    ],
)
def test_what_none_can_be_asked(name: str, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(Unsupported) as caught:
        EMBEDDERS[name].request({**TEXTS, **changes}, MODELS[name])
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("model", "changes", "field"),
    [
        ("amazon.titan-embed-text-v2:0", {}, "input"),
        ("amazon.titan-embed-text-v1", {"input": "a", "dimensions": 8}, "dimensions"),
        ("meta.llama3", {"input": "a"}, "model"),
        ("amazon.titan-embed-text-v2:0", {"input": "a", "input_type": "search_query"}, "input_type"),
    ],
)
def test_what_bedrocks_models_cannot(model: str, changes: dict[str, Any], field: str) -> None:
    with pytest.raises(Unsupported) as caught:
        EMBEDDERS["bedrock"].request({**TEXTS, **changes}, model)
    assert caught.value.field == field


ANSWERS = {
    "bedrock": ({"embeddings": {"float": [[1.0], [2.0]]}}, None),
    "cohere": ({"embeddings": {"float": [[1.0], [2.0]]}, "meta": {"billed_units": {"input_tokens": 7}}}, 7),
    "gemini": ({"embeddings": [{"values": [1.0]}, {"values": [2.0]}]}, None),
    "ollama": ({"embeddings": [[1.0], [2.0]], "prompt_eval_count": 7}, 7),
    "vertex": ({"predictions": [{"embeddings": {"values": [v], "statistics": {"token_count": 3.5}}} for v in (1.0, 2.0)]}, 7),
}


@pytest.mark.parametrize("name", MODELS)
def test_vectors_come_in_order_packed_where_asked(name: str) -> None:
    said, tokens = ANSWERS[name]
    plain = EMBEDDERS[name].answer(json.dumps(said).encode(), TEXTS)
    assert [row["embedding"] for row in plain["data"]] == [[1.0], [2.0]] and plain["model"] == "e"
    assert (plain.get("usage") or {}).get("prompt_tokens") == tokens
    packed = EMBEDDERS[name].answer(json.dumps(said).encode(), {**TEXTS, "encoding_format": "base64"})
    assert base64.b64decode(packed["data"][1]["embedding"]) == struct.pack("<f", 2.0)
    for nonsense in (
        b"",
        b"<html>",
        b"[]",
        b"{}",
        json.dumps({"error": "x"}).encode(),
        json.dumps({**said, "predictions": []}).encode()[:-9],
    ):
        with pytest.raises(NotAnAnswer):
            EMBEDDERS[name].answer(nonsense, TEXTS)
    with pytest.raises(NotAnAnswer):
        EMBEDDERS[name].answer(json.dumps(said).encode(), {**TEXTS, "input": ["a", "b", "c"]})


def test_rerank_at_cohere() -> None:
    asked = {"model": "r", "query": "q", "documents": ["a", {"text": "b"}], "top_n": 1, "return_documents": True}
    sent = RERANKERS["cohere"].request(asked, "rerank-v3.5")
    assert sent.body == {"model": "rerank-v3.5", "query": "q", "documents": ["a", "b"], "top_n": 1}
    said = {"results": [{"index": 1, "relevance_score": 0.5}]}
    found = RERANKERS["cohere"].answer(json.dumps(said).encode(), asked)
    assert found["results"] == [{"index": 1, "relevance_score": 0.5, "document": {"text": "b"}}]
    for nonsense in (b"", b"{}", json.dumps({"results": [{"index": 2}]}).encode(), json.dumps({"results": ["x"]}).encode()):
        with pytest.raises(NotAnAnswer):
            RERANKERS["cohere"].answer(nonsense, asked)
    for field, changes in (("documents[0]", {"documents": [{"image": "x"}]}), ("rank_fields", {"rank_fields": ["a"]})):
        with pytest.raises(Unsupported) as caught:
            RERANKERS["cohere"].request({**asked, **changes}, "m")
        assert caught.value.field == field
