"""How Google's JSON is read: fields in camelCase or snake_case, null for nothing, one thing where a list is meant.

Source: the ProtoJSON format; and that a single object passes for a list is what recordings of the real API show.
"""

from __future__ import annotations

import base64
import binascii
from typing import Any

import msgspec

from apps.proxy.dialects.translation import Unsupported
from apps.proxy.dialects.wire_json import written

Names = dict[str, str]
WRAP = "YnVsa2hlYWQ6"
"""Base64 of ``bulkhead:``, nine bytes, so that what follows it begins a new group."""
MAKER = "gemini:"
"""Opens signatures of thinking blocks that a Gemini model made: no other provider takes them, and Gemini takes no other's."""
_URL_SAFE = str.maketrans("-_", "+/")
_decode = msgspec.json.Decoder().decode


def names(*canonical: str) -> Names:
    """Accepted spellings of these fields: ``topP`` and ``top_p``."""
    table: Names = {}
    for name in canonical:
        table[name] = name
        table["".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name)] = name
    return table


def fields(value: Any, known: Names, field: str, why: str = "is not known, or cannot be said to other providers") -> dict[str, Any]:
    """By canonical names, without nulls. Raises Unsupported for what is no object and for fields that are not in ``known``."""
    if type(value) is not dict:
        raise Unsupported(field, f"{field} must be an object")
    found: dict[str, Any] = {}
    for key, given in value.items():
        if given is None:
            continue
        name = known.get(key)
        if name is None:
            path = f"{field}.{key}" if field else key
            raise Unsupported(path, f"{path} {why}")
        found[name] = given
    return found


def listed(value: Any, field: str) -> list[Any]:
    if value is None:
        return []
    if type(value) is list:
        return value
    if type(value) is dict:
        return [value]
    raise Unsupported(field, f"{field} must be a list")


def text(value: Any, field: str) -> str:
    if type(value) is not str:
        raise Unsupported(field, f"{field} must be text")
    return value


def texts(value: Any, field: str) -> list[str]:
    if type(value) is str:
        return [value]
    found = listed(value, field)
    if any(type(one) is not str for one in found):
        raise Unsupported(field, f"{field} must be a list of texts")
    return found


def number(value: Any, field: str) -> float:
    if type(value) is int or type(value) is float:
        return value
    raise Unsupported(field, f"{field} must be a number")


def whole(value: Any, field: str) -> int:
    """JSON of Google's writes whole numbers as 40, 40.0 and "40"."""
    if type(value) is int:
        return value
    if type(value) is float and value.is_integer():
        return int(value)
    if type(value) is str:
        digits = value.removeprefix("-")
        if digits.isascii() and digits.isdigit() and len(digits) < 20:
            return int(value)
    raise Unsupported(field, f"{field} must be a whole number")


def flag(value: Any, field: str) -> bool:
    if type(value) is not bool:
        raise Unsupported(field, f"{field} must be true or false")
    return value


def compact(value: Any) -> str:
    """JSON as text; half of a surrogate pair, which UTF-8 has no bytes for, as its escape."""
    return written(value).decode()


def base64_text(value: Any, field: str) -> str:
    """In the alphabet of data URLs: Google's SDKs write the one for URLs."""
    data = text(value, field)
    if "-" in data or "_" in data:
        data = data.translate(_URL_SAFE)
    if missing := -len(data) % 4:
        data += "=" * missing
    return data


def wrapped(block: dict[str, Any]) -> str:
    """Another provider's thinking block as a ``thoughtSignature``: the app gives it back, ``unwrapped`` finds it."""
    return base64.b64encode(b"bulkhead:" + msgspec.json.encode(block)).decode()


def unwrapped(signature: str) -> dict[str, Any] | None:
    """None for a signature that Gemini made, and for one of ours that was changed on its way."""
    if not signature.startswith(WRAP):
        return None
    try:
        block = _decode(base64.b64decode(signature.translate(_URL_SAFE))[9:])
    except (msgspec.MsgspecError, binascii.Error, ValueError, RecursionError):
        return None
    return block if type(block) is dict and block.get("type") in ("thinking", "redacted_thinking") else None
