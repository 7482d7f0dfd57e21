"""What is asked: the body as JSON, and the few fields that decide about routing and money. All others pass untouched."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import msgspec

from apps.proxy.dialects.openai import chat_extras
from apps.proxy.dialects.wire_json import written
from apps.proxy.errors import Refusal

if TYPE_CHECKING:
    from apps.proxy.exchange import Exchange
    from apps.proxy.runtime import Runtime

STEP = "read"
MAX_MODEL_LENGTH = 256
MAX_CHOICES = 128
MAX_OUTPUT_TOKENS = 10_000_000
MAX_DEPTH = 200

_decode = msgspec.json.Decoder().decode
_encode = msgspec.json.Encoder().encode
_KEY_COLON = re.compile(rb'"[ \t\r\n]*:')


def read(exchange: Exchange, runtime: Runtime) -> Refusal | None:
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
    if exchange.caller is not None:
        found = exchange.caller.read(payload)
        if isinstance(found, Refusal):
            return found
        payload = found
        exchange.body = written(payload)
        if len(exchange.body) > len(body):  # the bound is of the longer one: providers may be sent either
            body = exchange.body
        exchange.input_bound = max(len(body), exchange.caller.sent_bytes)
    else:
        exchange.input_bound = len(body)
    exchange.payload = payload
    model = payload.get("model")
    if type(model) is not str or not model:
        if "model" not in payload:
            return Refusal("missing_field", STEP, "The field 'model' is missing: name a route.", "model")
        return Refusal("invalid_field", STEP, "The field 'model' must be a text: the name of a route.", "model")
    if len(model) > MAX_MODEL_LENGTH:
        return Refusal("invalid_field", STEP, f"The field 'model' is longer than {MAX_MODEL_LENGTH} characters.", "model")
    exchange.requested_model = model
    if exchange.kind == "chat":
        refusal = _read_chat(exchange, payload)
        if exchange.caller is not None and exchange.caller.own is not None and not exchange.unbounded:
            exchange.unbounded = f"{exchange.caller.own.field} is not known to the proxy"
        return refusal
    if "input" not in payload:
        return Refusal("missing_field", STEP, "The field 'input' is missing: a text or a list of texts.", "input")
    return None


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


def _read_chat(exchange: Exchange, payload: dict[str, Any]) -> Refusal | None:
    messages = payload.get("messages")
    if type(messages) is not list or not messages:
        if "messages" not in payload:
            return Refusal("missing_field", STEP, "The field 'messages' is missing.", "messages")
        return Refusal("invalid_field", STEP, "The field 'messages' must be a list with at least one message.", "messages")
    stream = payload.get("stream")
    if stream is not None:
        if type(stream) is not bool:
            return Refusal("invalid_field", STEP, "The field 'stream' must be true or false.", "stream")
        exchange.stream = stream
    if stream:
        options = payload.get("stream_options")
        if options is not None:
            if type(options) is not dict or type(options.get("include_usage", False)) is not bool:
                return Refusal(
                    "invalid_field",
                    STEP,
                    "The field 'stream_options' must be an object with 'include_usage' true or false.",
                    "stream_options",
                )
            exchange.usage_asked = options.get("include_usage", False)
    count = payload.get("n")
    if count is not None:
        if type(count) is not int or not 1 <= count <= MAX_CHOICES:
            return Refusal("invalid_field", STEP, f"The field 'n' must be a whole number from 1 to {MAX_CHOICES}.", "n")
        exchange.n = count
    cap: int | None = payload.get("max_tokens")
    other = payload.get("max_completion_tokens")
    if other is not None:
        if type(other) is not int or not 0 <= other <= MAX_OUTPUT_TOKENS:
            return _bad_cap("max_completion_tokens")
        cap = max(cap, other) if type(cap) is int else other if cap is None else cap
    if cap is not None and (type(cap) is not int or not 0 <= cap <= MAX_OUTPUT_TOKENS):
        return _bad_cap("max_tokens")
    if cap is not None:
        exchange.max_output = cap
    else:
        exchange.cap_injected = True
    extra, exchange.unbounded = chat_extras(payload)
    exchange.input_bound += extra
    return None


def _bad_cap(field: str) -> Refusal:
    return Refusal("invalid_field", STEP, f"The field {field!r} must be a whole number from 0 to {MAX_OUTPUT_TOKENS}.", field)


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
