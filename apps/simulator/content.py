"""Deterministic content: answers of an exact number of tokens, vectors, and the smallest value that fits a JSON schema."""

from __future__ import annotations

import hashlib
import json
import random
import re
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


def said_arguments(schema: Any, name: str, said: str) -> Any:
    """Arguments of a call of ``name``: those of ``name(3, "x")`` where that is said, one by one for what the schema requires; else
    what stands in 'single quotes', for texts; for all others the smallest."""
    made = smallest_instance(schema)
    at = said.find(name + "(")
    if not isinstance(made, dict):
        return made
    if at < 0:
        texts = iter(re.findall(r"'([^']+)'", said))
        return {key: next(texts, value) if isinstance(value, str) else value for key, value in made.items()}
    try:
        given = json.loads("[" + said[at + len(name) + 1 : said.index(")", at)] + "]")
    except ValueError:
        return made
    return {**made, **{key: value for key, value in zip(made, given, strict=False) if type(value) is type(made[key])}}


_FORMATS = {
    "date-time": "2030-01-02T03:04:05Z",
    "date": "2030-01-02",
    "time": "03:04:05Z",
    "email": "sim@example.com",
    "uri": "https://example.com/",
    "uuid": "00000000-0000-4000-8000-000000000000",
}


def smallest_instance(schema: Any, depth: int = 0, defined: Any = None) -> Any:
    """The smallest JSON value that a schema allows, for forced tool calls and ``response_format``.

    Knows ``const``, ``enum``, ``type``, ``properties``/``required``, ``minItems``, ``minLength``, ``minimum``, ``format``, ``anyOf``,
    ``oneOf``, ``allOf`` of objects, ``$ref`` into ``$defs``; anything else gives an empty object. Recursion ends at 16 levels.
    """
    if not isinstance(schema, dict) or depth > 16:
        return {}
    if depth == 0:
        defined = {f"#/{place}/{name}": found for place in ("$defs", "definitions") for name, found in (schema.get(place) or {}).items()}
    if "$ref" in schema:
        return smallest_instance(defined.get(schema["$ref"]), depth + 1, defined)
    if isinstance(schema.get("allOf"), list) and schema["allOf"]:
        parts = [smallest_instance(part, depth + 1, defined) for part in schema["allOf"]]
        return {key: value for part in parts if isinstance(part, dict) for key, value in part.items()} if len(parts) > 1 else parts[0]
    if "const" in schema:
        return schema["const"]
    if isinstance(schema.get("enum"), list) and schema["enum"]:
        return schema["enum"][0]
    for alternatives in ("anyOf", "oneOf"):
        if isinstance(schema.get(alternatives), list) and schema[alternatives]:
            return smallest_instance(schema[alternatives][0], depth + 1, defined)
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = kind[0] if kind else "object"
    minimum = schema.get("minimum", 0)
    match kind:
        case "string":
            length = schema.get("minLength", 3)
            if schema.get("format") in _FORMATS:
                return _FORMATS[schema["format"]]
            return "sim".ljust(length if isinstance(length, int) else 3, "m")
        case "integer" | "number":
            return minimum if isinstance(minimum, (int, float)) else 0
        case "boolean":
            return True
        case "null":
            return None
        case "array":
            least = schema.get("minItems", 0)
            count = min(least, 100) if isinstance(least, int) else 0
            return [smallest_instance(schema.get("items"), depth + 1, defined) for _ in range(count)]
    properties = schema.get("properties")
    required = schema.get("required")
    if not isinstance(properties, dict):
        return {}
    names = [name for name in required if isinstance(name, str)] if isinstance(required, list) else list(properties)
    return {name: smallest_instance(properties.get(name), depth + 1, defined) for name in names}
