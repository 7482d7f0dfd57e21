"""JSON as formats read and write it, halves of surrogate pairs included: models cut emoji in two, and no answer is lost for that."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, TypeVar

import msgspec

from apps.proxy.dialects.translation import NotAnAnswer

UNREADABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
"""What a decoder raises for bytes that are not the JSON it expects."""
_encode = msgspec.json.Encoder().encode
_Read = TypeVar("_Read")


def written(value: Any) -> bytes:
    """As compact JSON. Half of a surrogate pair, which UTF-8 has no bytes for, is written as its escape."""
    try:
        return _encode(value)
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def read_as(decode: Callable[[bytes], _Read], data: bytes, what: str) -> _Read:
    """What a decoder makes of it; half of a surrogate pair becomes a question mark. Raises NotAnAnswer, which calls it ``what``."""
    try:
        return decode(data)
    except UNREADABLE as error:
        try:
            return decode(json.dumps(json.loads(data), ensure_ascii=False).encode("utf-8", "replace"))
        except (*UNREADABLE, ValueError):
            raise NotAnAnswer(f"{what} is not what this format has: {error}") from None
