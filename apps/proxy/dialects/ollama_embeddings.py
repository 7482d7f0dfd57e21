"""OpenAI's requests for embeddings, asked of Ollama (``/api/embed``). Source: Ollama's API reference."""

from __future__ import annotations

from typing import Any

import msgspec

from apps.proxy.dialects.embedding_parts import check_fields, dimensions_of, listed, texts_of
from apps.proxy.dialects.ollama import OllamaBack
from apps.proxy.dialects.translation import NotAnAnswer, Payload, Sent, Trouble
from apps.proxy.dialects.wire_json import UNREADABLE

MAX_TEXTS = 2_048
_MORE = frozenset({"truncate"})


class _Embedded(msgspec.Struct):
    embeddings: list[list[Any]] | None = None
    prompt_eval_count: int | None = None
    error: Any = None


_decode = msgspec.json.Decoder(_Embedded).decode


class OllamaEmbeddings:
    name = "ollama"

    def request(self, payload: Payload, model: str) -> Sent:
        notes = check_fields(payload, "Ollama", more=_MORE)
        asked: Payload = {"model": model, "input": texts_of(payload, MAX_TEXTS, "Ollama")}
        if payload.get("truncate") is not None:
            asked["truncate"] = payload["truncate"]
        dimensions = dimensions_of(payload)
        if dimensions is not None:
            asked["dimensions"] = dimensions
        return Sent("/api/embed", asked, notes)

    def answer(self, body: bytes, payload: Payload) -> Payload:
        try:
            said = _decode(body)
        except UNREADABLE as error:
            raise NotAnAnswer(f"the body holds no embeddings: {error}") from None
        if said.error is not None:
            raise NotAnAnswer("the body is an error")
        return listed(said.embeddings or [], payload, said.prompt_eval_count)

    def error(self, status: int, body: bytes) -> Trouble:
        return OllamaBack().error(status, body)
