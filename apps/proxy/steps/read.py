"""What is asked: the body as JSON, and the few fields that decide about routing and money. All others pass untouched."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from apps.proxy.demand import HOUR_MARK, chat_demand
from apps.proxy.dialects.openai import chat_extras
from apps.proxy.dialects.wire_json import written
from apps.proxy.errors import Refusal
from apps.proxy.steps.json_body import json_body

if TYPE_CHECKING:
    from apps.proxy.exchange import Exchange
    from apps.proxy.runtime import Runtime

STEP = "read"
MAX_MODEL_LENGTH = 256
MAX_CHOICES = 128
MAX_OUTPUT_TOKENS = 10_000_000


def read(exchange: Exchange, runtime: Runtime) -> Refusal | None:
    if exchange.operation is not None:
        return exchange.operation.read(exchange)
    payload = json_body(exchange)
    if isinstance(payload, Refusal):
        return payload
    body = exchange.request.body
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
    refusal = _read_chat(exchange, payload)
    if exchange.caller is not None and exchange.caller.own is not None and not exchange.unbounded:
        exchange.unbounded = f"{exchange.caller.own.field} is not known to the proxy"
    if exchange.unbounded or "tools" in payload or "functions" in payload or HOUR_MARK in exchange.request.body:
        exchange.extras = chat_demand(exchange)
    return refusal


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
