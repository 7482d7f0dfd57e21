"""OpenAI's requests for embeddings, asked of Gemini."""

from __future__ import annotations

import base64
import json
import struct
from typing import Any

import pytest
from google.genai import types
from openai.types import CreateEmbeddingResponse

from apps.proxy.dialects.gemini_embeddings import GeminiEmbeddings
from apps.proxy.dialects.translation import NotAnAnswer, Unsupported
from tests.conformance.recordings import needs_recordings, recordings

EMBEDDINGS = GeminiEmbeddings()
TWO = b'{"embeddings": [{"values": [0.5, -1]}, {"values": [0.25, 2.0]}]}'


def test_texts_are_asked_for_one_by_one() -> None:
    sent = EMBEDDINGS.request(
        {"model": "x", "input": ["a", "b"], "dimensions": 8, "encoding_format": None, "user": "u"}, "gemini-embedding-001"
    )
    assert sent.path == "/models/gemini-embedding-001:batchEmbedContents"
    assert sent.body["requests"] == [
        {"model": "models/gemini-embedding-001", "content": {"parts": [{"text": text}]}, "outputDimensionality": 8} for text in "ab"
    ]
    assert sent.approximated == ("user: not told to the provider",)
    assert len(EMBEDDINGS.request({"input": "a"}, "models/m").body["requests"]) == 1


def test_answers_as_numbers_and_packed() -> None:
    asked = {"model": "emb", "input": ["a", "b"]}
    said = EMBEDDINGS.answer(TWO, asked)
    assert [one["embedding"] for one in said["data"]] == [[0.5, -1.0], [0.25, 2.0]] and "usage" not in said
    usage = {"usage": {"prompt_tokens": 0, "total_tokens": 0}}
    assert CreateEmbeddingResponse.model_validate({**said, **usage}).data[1].index == 1
    packed = EMBEDDINGS.answer(TWO, {**asked, "encoding_format": "base64"})["data"]
    assert [struct.unpack("<2f", base64.b64decode(one["embedding"])) for one in packed] == [(0.5, -1.0), (0.25, 2.0)]


@pytest.mark.parametrize(
    ("payload", "field"),
    [
        ({}, "input"),
        ({"input": []}, "input"),
        ({"input": 3}, "input"),
        ({"input": ["a"] * 101}, "input"),
        ({"input": [1, 2]}, "input[0]"),
        ({"input": ["a", [1]]}, "input[1]"),
        ({"input": "a", "dimensions": 0}, "dimensions"),
        ({"input": "a", "encoding_format": "ubinary"}, "encoding_format"),
        ({"input": "a", "task": "x"}, "task"),
    ],
)
def test_what_cannot_be_asked_is_refused_with_its_field(payload: dict[str, Any], field: str) -> None:
    with pytest.raises(Unsupported) as refused:
        EMBEDDINGS.request(payload, "m")
    assert refused.value.field == field and str(refused.value)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"{}",
        b'{"error": {"message": "x"}}',
        b'{"embeddings": [{"values": [1]}]}',
        b'{"embeddings": [{"values": [1]}, {}]}',
        b'{"embeddings": [{"values": [1]}, {"values": []}]}',
        b'{"embeddings": [{"values": [1]}, {"values": ["x"]}]}',
        b'{"embeddings": [{"values": [1]}, {"values": [1e300]}]}',
    ],
)
def test_nonsense_is_no_answer(body: bytes) -> None:
    with pytest.raises(NotAnAnswer):
        EMBEDDINGS.answer(body, {"input": ["a", "b"], "encoding_format": "base64"})


@needs_recordings
def test_recorded_embeddings() -> None:
    seen = 0
    for recording in recordings(host="generativelanguage.googleapis.com", path="batchEmbedContents"):
        seen += 1
        if recording.status != 200:
            trouble = EMBEDDINGS.error(recording.status, recording.answer)
            assert (trouble.type, trouble.code) == ("not_found_error", "not_found")
            continue
        (one,) = recording.asked["requests"]
        asked = {"input": one["content"]["parts"][0]["text"], "dimensions": one["outputDimensionality"]}
        sent = EMBEDDINGS.request(asked, one["model"])
        del one["taskType"]  # OpenAI's requests cannot name one
        assert recording.path.endswith(sent.path) and sent.body == {"requests": [one]}
        values = EMBEDDINGS.answer(recording.answer, asked)["data"][0]["embedding"]
        recorded = types.EmbedContentResponse.model_validate(json.loads(recording.answer)).embeddings
        assert recorded is not None and recorded[0].values == values and len(values) == asked["dimensions"]
    assert seen == 3
