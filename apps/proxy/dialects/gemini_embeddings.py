"""OpenAI's requests for embeddings, asked of the Gemini API. Source: Google's reference (``batchEmbedContents``), OpenAI's API reference.

Answers tell no usage: what they cost is bounded by the input, as with every provider that tells none.
"""

from __future__ import annotations

import base64
import struct
from typing import Any
from urllib.parse import quote

import msgspec

from apps.proxy.dialects.gemini_answer import NOTHING, UNREADABLE, Named, says
from apps.proxy.dialects.gemini_errors import trouble_of
from apps.proxy.dialects.translation import NotAnAnswer, Payload, Sent, Trouble, Unsupported

MAX_INPUTS = 100
"""Texts that one request may have."""
_KNOWN = frozenset({"model", "input", "dimensions", "encoding_format", "user"})


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
        notes = []
        for field, value in payload.items():
            if field not in _KNOWN and value is not None:
                raise Unsupported(field, f"{field} cannot be said to Gemini")
        if payload.get("user") is not None:
            notes.append("user: not told to the provider")
        if payload.get("encoding_format") not in (None, "float", "base64"):
            raise Unsupported("encoding_format", "encoding_format must be float or base64")
        dimensions = payload.get("dimensions")
        if dimensions is not None and (type(dimensions) is not int or dimensions < 1):
            raise Unsupported("dimensions", "dimensions must be a whole number from 1 on")
        name = f"models/{model.removeprefix('models/')}"
        asked = []
        for number, text in enumerate(_texts(payload.get("input"))):
            if type(text) is not str:
                raise Unsupported(f"input[{number}]", f"input[{number}] must be text: Gemini reads no tokens of others")
            one: Payload = {"model": name, "content": {"parts": [{"text": text}]}}
            if dimensions is not None:
                one["outputDimensionality"] = dimensions
            asked.append(one)
        return Sent(f"/{quote(name)}:batchEmbedContents", {"requests": asked}, tuple(notes))

    def answer(self, body: bytes, payload: Payload) -> Payload:
        """An OpenAI list of embeddings, without usage. Raises NotAnAnswer, also where there are not as many as there were texts."""
        try:
            said = _decode(body)
        except UNREADABLE as error:
            raise NotAnAnswer(f"the body holds no embeddings: {error}") from None
        found = said.embeddings or []
        if says(said.error) or len(found) != len(_texts(payload.get("input"))) or not all(one.values for one in found):
            raise NotAnAnswer("the body holds not one embedding for each text")
        packed = payload.get("encoding_format") == "base64"
        data = [
            {"object": "embedding", "index": number, "embedding": _packed(one.values) if packed else one.values}
            for number, one in enumerate(found)
        ]
        return {"object": "list", "data": data, "model": str(payload.get("model") or "")}

    def error(self, status: int, body: bytes) -> Trouble:
        return trouble_of(status, body)


def _texts(given: Any) -> list[Any]:
    texts = [given] if type(given) is str else given
    if type(texts) is not list or not texts:
        raise Unsupported("input", "input must be a text or a list of texts")
    if len(texts) > MAX_INPUTS:
        raise Unsupported("input", f"input has {len(texts)} texts; Gemini takes {MAX_INPUTS} at once")
    return texts


def _packed(values: list[float]) -> str:
    """Single precision, little-endian, as OpenAI packs them."""
    try:
        return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
    except OverflowError:
        raise NotAnAnswer("an embedding has a number beyond single precision") from None
