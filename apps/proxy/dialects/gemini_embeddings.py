"""OpenAI's requests for embeddings, asked of the Gemini API. Source: Google's reference (``batchEmbedContents``), OpenAI's API reference.

Answers tell no usage: what they cost is bounded by the input, as with every provider that tells none.
"""

from __future__ import annotations

from urllib.parse import quote

import msgspec

from apps.proxy.dialects.embedding_parts import check_fields, dimensions_of, listed, texts_of
from apps.proxy.dialects.gemini_answer import NOTHING, UNREADABLE, Named, says
from apps.proxy.dialects.gemini_errors import trouble_of
from apps.proxy.dialects.translation import NotAnAnswer, Payload, Sent, Trouble

MAX_INPUTS = 100
"""Texts that one request may have."""


class _Embedding(Named):
    values: list[float]


class _Embeddings(Named):
    embeddings: list[_Embedding] | None = None
    error: msgspec.Raw = NOTHING


_decode = msgspec.json.Decoder(_Embeddings).decode


class GeminiEmbeddings:
    """Embeddings of texts, one or several in a request."""

    name = "gemini"

    def request(self, payload: Payload, model: str) -> Sent:
        """Raises Unsupported for input that is no text (tokens are of one vendor's alphabet) and for fields that cannot be said."""
        notes = check_fields(payload, "Gemini")
        dimensions = dimensions_of(payload)
        name = f"models/{model.removeprefix('models/')}"
        asked = []
        for text in texts_of(payload, MAX_INPUTS, "Gemini"):
            one: Payload = {"model": name, "content": {"parts": [{"text": text}]}}
            if dimensions is not None:
                one["outputDimensionality"] = dimensions
            asked.append(one)
        return Sent(f"/{quote(name)}:batchEmbedContents", {"requests": asked}, notes)

    def answer(self, body: bytes, payload: Payload) -> Payload:
        """An OpenAI list of embeddings, without usage. Raises NotAnAnswer, also where there are not as many as there were texts."""
        try:
            said = _decode(body)
        except UNREADABLE as error:
            raise NotAnAnswer(f"the body holds no embeddings: {error}") from None
        if says(said.error):
            raise NotAnAnswer("the body is an error")
        return listed([one.values for one in said.embeddings or []], payload, None)

    def error(self, status: int, body: bytes) -> Trouble:
        return trouble_of(status, body)
