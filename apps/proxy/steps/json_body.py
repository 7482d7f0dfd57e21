"""A request's body as one JSON object: strict, bounded in depth, no key twice."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import msgspec

from apps.proxy.errors import Refusal

if TYPE_CHECKING:
    from apps.proxy.exchange import Exchange

STEP = "read"
MAX_DEPTH = 200

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_KEY_COLON = re.compile(rb'"[ \t\r\n]*:')


def json_body(exchange: Exchange) -> dict[str, Any] | Refusal:
    """The object in a request's body, which is the exchange's payload from here on; or why there is none."""
    request = exchange.request
    if not request.plain:
        refusal = _refuse_coding(request.headers)
        if refusal is not None:
            return refusal
    body = request.body
    if not body:
        return Refusal("empty_body", STEP, "The request has no body. Send a JSON object.")
    try:
        payload = _decode(body)
    except msgspec.MsgspecError as error:
        return Refusal("invalid_json", STEP, f"The body is not valid JSON: {error}.")
    except UnicodeDecodeError as error:
        return Refusal("invalid_json", STEP, f"The body is not valid UTF-8 at byte {error.start} of a text.")
    except RecursionError:
        return Refusal("too_deep", STEP, "The JSON is nested too deeply.")
    if type(payload) is not dict:
        return Refusal("invalid_json", STEP, "The body must be a JSON object.")
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH or _encode(payload) != body:
        # not the one compact spelling, which has no key twice: count the keys
        keys = _count_keys(payload, 0)
        if keys < 0:
            return Refusal("too_deep", STEP, f"The JSON is nested deeper than {MAX_DEPTH} levels.")
        twice = None
        if body.count(b":") != keys and len(_KEY_COLON.findall(body)) != keys:
            twice = duplicate_key(body)
        if twice is not None:
            return Refusal("duplicate_key", STEP, f"The key {twice[:80]!r} occurs twice in one object: send it once.", twice[:80])
    exchange.payload = payload
    return payload


def _refuse_coding(headers: dict[bytes, bytes]) -> Refusal | None:
    """What is not JSON in UTF-8, sent as it is."""
    content_type = headers.get(b"content-type", b"application/json")
    if content_type != b"application/json":
        media = content_type.partition(b";")[0].strip().lower()
        if media != b"application/json" and not (media.startswith(b"application/") and media.endswith(b"+json")):
            return Refusal("unsupported_media_type", STEP, f"Send 'Content-Type: application/json', not {_shown(content_type)}.")
        charset = re.search(rb'charset\s*=\s*"?([\w-]+)', content_type, re.I)
        if charset is not None and charset.group(1).lower() not in (b"utf-8", b"utf8", b"us-ascii"):
            return Refusal("unsupported_media_type", STEP, f"JSON is UTF-8; the charset {_shown(charset.group(1))} is not accepted.")
    encoding = headers.get(b"content-encoding")
    if encoding is not None and encoding.lower() != b"identity":
        return Refusal("unsupported_encoding", STEP, f"Send the body uncompressed: 'Content-Encoding: {_shown(encoding)}' is not accepted.")
    return None


def _count_keys(value: Any, depth: int) -> int:
    """Keys of all objects inside; negative when nested deeper than MAX_DEPTH."""
    if depth > MAX_DEPTH:
        return -1
    count = 0
    if type(value) is dict:
        count = len(value)
        children: Any = value.values()
    else:
        children = value
    for child in children:
        kind = type(child)
        if kind is dict or kind is list:
            inner = _count_keys(child, depth + 1)
            if inner < 0:
                return -1
            count += inner
    return count


class _Twice(Exception):
    pass


def _no_twice(pairs: list[tuple[str, Any]]) -> None:
    if len({key for key, _ in pairs}) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _Twice(key)
            seen.add(key)


def duplicate_key(body: bytes) -> str | None:
    """The first key that occurs twice in one object, however it is spelled; the slow, exact way."""
    try:
        json.loads(body, object_pairs_hook=_no_twice)
    except _Twice as twice:
        return str(twice)
    except (ValueError, RecursionError):
        return None
    return None


def _shown(value: bytes) -> str:
    return repr(value[:60].decode("latin-1"))
