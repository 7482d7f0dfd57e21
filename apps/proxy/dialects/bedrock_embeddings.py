"""OpenAI's requests for embeddings, asked of models at Amazon Bedrock (``InvokeModel``): Amazon's Titan and Cohere's.

Source: AWS's reference of the models' parameters. Titan takes one text at a time. Cohere's answers report no tokens here: what they cost
is bounded by the input.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import quote

import msgspec

from apps.proxy.dialects.bedrock import BedrockBack
from apps.proxy.dialects.embedding_parts import check_fields, dimensions_of, listed, texts_of
from apps.proxy.dialects.translation import NotAnAnswer, Payload, Sent, Trouble, Unsupported
from apps.proxy.dialects.wire_json import UNREADABLE

MAX_TEXTS = 96
INPUT_TYPE = "search_document"
_MORE = frozenset({"input_type", "truncate"})


class _Vectors(msgspec.Struct):
    float: list[list[Any]] | None = None


class _Embedded(msgspec.Struct):
    embedding: list[Any] | None = None
    embeddings: _Vectors | list[list[Any]] | None = None
    inputTextTokenCount: int | None = None


_decode = msgspec.json.Decoder(_Embedded).decode


class BedrockEmbeddings:
    name = "bedrock"

    def request(self, payload: Payload, model: str) -> Sent:
        path = f"/model/{quote(model, safe='')}/invoke"
        if "titan-embed" in model:
            notes = check_fields(payload, "Titan")
            dimensions = dimensions_of(payload)
            asked: Payload = {"inputText": texts_of(payload, 1, "Titan")[0]}
            if dimensions is not None:
                if "titan-embed-text-v1" in model:
                    raise Unsupported("dimensions", "dimensions cannot be chosen with Titan's first model")
                asked["dimensions"] = dimensions
            return Sent(path, asked, notes)
        if "cohere.embed" not in model:
            raise Unsupported("model", f"the proxy knows embeddings of Titan and Cohere at Bedrock, not of {model!r}")
        notes = check_fields(payload, "Cohere at Bedrock", more=_MORE)
        asked = {"texts": texts_of(payload, MAX_TEXTS, "Cohere at Bedrock"), "embedding_types": ["float"]}
        asked["input_type"] = payload.get("input_type") or INPUT_TYPE
        if payload.get("input_type") is None:
            notes += (f"input_type: {INPUT_TYPE}, because none was given",)
        if payload.get("truncate") is not None:
            asked["truncate"] = payload["truncate"]
        dimensions = dimensions_of(payload)
        if dimensions is not None:
            asked["output_dimension"] = dimensions
        return Sent(path, asked, notes)

    def answer(self, body: bytes, payload: Payload) -> Payload:
        try:
            said = _decode(body)
        except UNREADABLE as error:
            raise NotAnAnswer(f"the body holds no embeddings: {error}") from None
        if said.embedding is not None:
            return listed([said.embedding], payload, said.inputTextTokenCount)
        vectors = said.embeddings.float if isinstance(said.embeddings, _Vectors) else said.embeddings
        return listed(vectors or [], payload, None)

    def error(self, status: int, body: bytes) -> Trouble:
        return BedrockBack().error(status, body)
