"""Deterministic content: answers of an exact number of tokens, vectors, and the smallest value that fits a JSON schema."""

from __future__ import annotations

import hashlib
import random
from typing import Any

from apps.simulator.counting import BYTES_PER_TOKEN

_WORDS = """
all and any ark bay bow cab cog cut day dew dip dry ebb eel end far fig fin fog gap gem get gig hub hue ice ink ion jet jib
jot keg key kin lag lap led log map mid mix net new nod nor oak oar off oil old one orb our out own pan par pay pen pin ply pod
pot ram raw ray red rib rig rim rod row run sag sea set she sky sly son sum sun tan tap tar ten the tie tin tip top tow tug urn
use van vat via wax way web wet who win wit yam yaw yes yet you zap zig zip
""".split()  # noqa: SIM905 (as text it fits on a page)
_BANK_TOKENS = 8192
_rng = random.Random("bulkhead simulator")
_STEP = 2617
"""Tokens between the beginnings of two answers: no answer begins with the end of the one before."""
_TAIL = 60
"""Characters by which a place in the bank is known again."""
_BANK = "".join(_rng.choice(_WORDS) + " " for _ in range(_BANK_TOKENS))


def completion_text(tokens: int, ordinal: int) -> str:
    """ASCII text of exactly ``tokens`` tokens; differs from one ordinal to the next."""
    start = ordinal * _STEP % _BANK_TOKENS * BYTES_PER_TOKEN
    size = tokens * BYTES_PER_TOKEN
    text = _BANK[start : start + size]
    while len(text) < size:
        text += _BANK[: size - len(text)]
    return text


def continued_text(begun: str, tokens: int, ordinal: int) -> str:
    """The rest of an answer of ``tokens`` tokens that begins with ``begun``: of the ordinal's own text where that is how it begins,
    else of wherever the last words of ``begun`` stand in what is ever said."""
    whole = completion_text(tokens, ordinal)
    if whole.startswith(begun):
        return whole[len(begun) :]
    tail = begun[-_TAIL:]
    found = _BANK.find(tail)
    start = found + len(tail) if found >= 0 else ordinal * _STEP % _BANK_TOKENS * BYTES_PER_TOKEN
    size = max(0, tokens * BYTES_PER_TOKEN - len(begun))
    text = _BANK[start : start + size]
    while len(text) < size:
        text += _BANK[: size - len(text)]
    return text


def embedding(item: str | list[int], dimensions: int) -> list[float]:
    """A unit vector that depends on nothing but the input and the dimensions."""
    digest = hashlib.sha256(repr(item).encode("utf-8", "surrogatepass")).digest()
    rng = random.Random(digest)
    vector = [rng.uniform(-1.0, 1.0) for _ in range(dimensions)]
    norm = sum(value * value for value in vector) ** 0.5 or 1.0
    return [value / norm for value in vector]


def smallest_instance(schema: Any, depth: int = 0) -> Any:
    """The smallest JSON value that a schema allows, for forced tool calls and ``response_format``.

    Knows ``const``, ``enum``, ``type``, ``properties``/``required``, ``minItems``, ``minLength``, ``minimum``, ``anyOf``,
    ``oneOf``; anything else gives an empty object. Recursion ends at 16 levels.
    """
    if not isinstance(schema, dict) or depth > 16:
        return {}
    if "const" in schema:
        return schema["const"]
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return schema["enum"][0]
    for alternatives in ("anyOf", "oneOf"):
        if isinstance(schema.get(alternatives), list) and schema[alternatives]:
            return smallest_instance(schema[alternatives][0], depth + 1)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0] if kind else "object"
    minimum = schema.get("minimum", 0)
    match kind:
        case "string":
            length = schema.get("minLength", 3)
            return "sim".ljust(length if isinstance(length, int) else 3, "m")
        case "integer" | "number":
            return minimum if isinstance(minimum, (int, float)) else 0
        case "boolean":
            return True
        case "null":
            return None
        case "array":
            count = schema.get("minItems", 0)
            return [smallest_instance(schema.get("items"), depth + 1) for _ in range(min(count, 100) if isinstance(count, int) else 0)]
    properties = schema.get("properties")
    required = schema.get("required")
    if not isinstance(properties, dict):
        return {}
    names = [name for name in required if isinstance(name, str)] if isinstance(required, list) else list(properties)
    return {name: smallest_instance(properties.get(name), depth + 1) for name in names}
