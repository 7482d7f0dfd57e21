"""OpenAI's requests for embeddings, asked of Cohere's v2 API. Source: Cohere's API reference (``/v2/embed``).

Cohere wants to know what the texts are for (``input_type``): what the app says under that name, else documents to be searched.
"""

from __future__ import annotations

from typing import Any

import msgspec

from apps.proxy.dialects.cohere import CohereBack
from apps.proxy.dialects.embedding_parts import check_fields, dimensions_of, listed, texts_of
from apps.proxy.dialects.translation import NotAnAnswer, Payload, Sent, Trouble
from apps.proxy.dialects.wire_json import UNREADABLE

MAX_TEXTS = 96
INPUT_TYPE = "search_document"
_MORE = frozenset({"input_type", "truncate"})


class _Vectors(msgspec.Struct):
    float: list[list[Any]] | None = None


class _Billed(msgspec.Struct):
    input_tokens: float | None = None


class _Meta(msgspec.Struct):
    billed_units: _Billed | None = None


class _Embedded(msgspec.Struct):
    embeddings: _Vectors | list[list[Any]] | None = None
    meta: _Meta | None = None


_decode = msgspec.json.Decoder(_Embedded).decode


class CohereEmbeddings:
    name = "cohere"

    def request(self, payload: Payload, model: str) -> Sent:
        notes = check_fields(payload, "Cohere", more=_MORE)
        asked: Payload = {"model": model, "texts": texts_of(payload, MAX_TEXTS, "Cohere"), "embedding_types": ["float"]}
        asked["input_type"] = payload.get("input_type") or INPUT_TYPE
        if payload.get("input_type") is None:
            notes += (f"input_type: {INPUT_TYPE}, because none was given",)
        if payload.get("truncate") is not None:
            asked["truncate"] = payload["truncate"]
        dimensions = dimensions_of(payload)
        if dimensions is not None:
            asked["output_dimension"] = dimensions
        return Sent("/v2/embed", asked, notes)

    def answer(self, body: bytes, payload: Payload) -> Payload:
        try:
            said = _decode(body)
        except UNREADABLE as error:
            raise NotAnAnswer(f"the body holds no embeddings: {error}") from None
        vectors = said.embeddings.float if isinstance(said.embeddings, _Vectors) else said.embeddings
        billed = said.meta.billed_units if said.meta is not None else None
        tokens = billed.input_tokens if billed is not None else None
        return listed(vectors or [], payload, int(tokens) if tokens is not None else None)

    def error(self, status: int, body: bytes) -> Trouble:
        return CohereBack().error(status, body)
