"""What embeddings are in every format: texts that go in, vectors of single precision that come out, little-endian where they are packed."""

from __future__ import annotations

import base64
import binascii
import struct
from typing import Any

from apps.proxy.dialects.translation import NotAnAnswer, Payload, Unsupported

KNOWN = frozenset({"model", "input", "dimensions", "encoding_format", "user", "input_type", "truncate"})


def texts_of(payload: Payload, most: int, vendor: str) -> list[str]:
    """The texts of OpenAI's ``input``. Raises Unsupported for tokens (they are of one vendor's alphabet) and for more than ``most``."""
    given = payload.get("input")
    texts = [given] if type(given) is str else given
    if type(texts) is not list or not texts:
        raise Unsupported("input", "input must be a text or a list of texts")
    if len(texts) > most:
        raise Unsupported("input", f"input has {len(texts)} texts; {vendor} takes {most} at once: send them in several requests")
    for number, text in enumerate(texts):
        if type(text) is not str:
            raise Unsupported(f"input[{number}]", f"input[{number}] must be text: {vendor} reads no tokens of others")
    return texts


def dimensions_of(payload: Payload) -> int | None:
    """Raises Unsupported."""
    dimensions = payload.get("dimensions")
    if dimensions is not None and (type(dimensions) is not int or dimensions < 1):
        raise Unsupported("dimensions", "dimensions must be a whole number from 1 on")
    return dimensions


def check_fields(payload: Payload, vendor: str, *, more: frozenset[str] = frozenset()) -> tuple[str, ...]:
    """What is told only nearly. Raises Unsupported for what cannot be told at all. more: of ``KNOWN``, what only some formats have."""
    for field, value in payload.items():
        if value is not None and (field not in KNOWN or (field in ("input_type", "truncate") and field not in more)):
            raise Unsupported(field, f"{field} cannot be said to {vendor}")
    if payload.get("encoding_format") not in (None, "float", "base64"):
        raise Unsupported("encoding_format", "encoding_format must be float or base64")
    return ("user: not told to the provider",) if payload.get("user") is not None else ()


def listed(vectors: list[list[float]], payload: Payload, tokens: int | None) -> Payload:
    """OpenAI's list of embeddings, packed where the app wants them so. Raises NotAnAnswer where there is not one for each text."""
    given = payload.get("input")
    if len(vectors) != (1 if type(given) is str else len(given or ())) or not all(vectors):
        raise NotAnAnswer("the body holds not one embedding for each text")
    packed = payload.get("encoding_format") == "base64"
    data = [
        {"object": "embedding", "index": number, "embedding": pack(vector) if packed else vector} for number, vector in enumerate(vectors)
    ]
    found: Payload = {"object": "list", "data": data, "model": str(payload.get("model") or "")}
    if tokens is not None:
        found["usage"] = {"prompt_tokens": tokens, "total_tokens": tokens}
    return found


def pack(values: list[Any]) -> str:
    """Raises NotAnAnswer for what is no number of single precision."""
    try:
        return base64.b64encode(struct.pack(f"<{len(values)}f", *values)).decode()
    except (OverflowError, struct.error):
        raise NotAnAnswer("an embedding has a number beyond single precision") from None


def unpack(text: str) -> list[float]:
    """Raises NotAnAnswer."""
    try:
        raw = base64.b64decode(text, validate=True)
        return list(struct.unpack(f"<{len(raw) // 4}f", raw))
    except (binascii.Error, struct.error, ValueError):
        raise NotAnAnswer("an embedding is not base64 of single-precision numbers") from None
