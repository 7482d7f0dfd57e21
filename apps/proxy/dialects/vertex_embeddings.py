"""OpenAI's requests for embeddings, asked of Vertex AI (``:predict``). Source: Google's reference of its text embeddings API."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from apps.proxy.dialects.embedding_parts import check_fields, dimensions_of, listed, texts_of
from apps.proxy.dialects.gemini_errors import trouble_of
from apps.proxy.dialects.translation import NotAnAnswer, Payload, Sent, Trouble
from apps.proxy.dialects.wire_json import UNREADABLE

MAX_TEXTS = 250
"""At once; ``gemini-embedding-001`` takes one."""


class _Statistics(msgspec.Struct):
    token_count: float | None = None


class _Embedding(msgspec.Struct):
    values: list[Any]
    statistics: _Statistics | None = None


class _Prediction(msgspec.Struct):
    embeddings: _Embedding


class _Predictions(msgspec.Struct):
    predictions: list[_Prediction] | None = None


_decode = msgspec.json.Decoder(_Predictions).decode


class VertexEmbeddings:
    name = "vertex"

    def request(self, payload: Payload, model: str) -> Sent:
        notes = check_fields(payload, "Vertex AI")
        own = model.removeprefix("publishers/google/").removeprefix("models/")
        most = 1 if own.startswith("gemini-embedding") else MAX_TEXTS
        asked: Payload = {"instances": [{"content": text} for text in texts_of(payload, most, own)]}
        dimensions = dimensions_of(payload)
        if dimensions is not None:
            asked["parameters"] = {"outputDimensionality": dimensions}
        return Sent(f"/publishers/google/models/{quote(own, safe='')}:predict", asked, notes)

    def answer(self, body: bytes, payload: Payload) -> Payload:
        try:
            said = _decode(body)
        except UNREADABLE as error:
            raise NotAnAnswer(f"the body holds no embeddings: {error}") from None
        found = [one.embeddings for one in said.predictions or []]
        counts = [one.statistics.token_count for one in found if one.statistics is not None and one.statistics.token_count is not None]
        tokens = int(sum(counts)) if counts and len(counts) == len(found) else None
        return listed([one.values for one in found], payload, tokens)

    def error(self, status: int, body: bytes) -> Trouble:
        return trouble_of(status, body)
