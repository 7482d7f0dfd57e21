"""The pivot's own fields, read and checked once for every format that is told them; what becomes of them is each format's matter."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping
from typing import Any
from uuid import uuid4

from apps.proxy.dialects.translation import Chunk, Payload, Unsupported

EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh")


ASKS_NOTHING: dict[str, tuple[Any, ...]] = {
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "metadata": ({},),
    "store": (False,),
    "verbosity": ("medium",),
    "parallel_tool_calls": (True,),
    "service_tier": ("auto", "default"),
}
"""OpenAI's defaults: a field with one of these asks for what happens anyway, so a format that cannot say it drops nothing."""


def others_check(payload: Payload, *, said: Collection[str], impossible: Mapping[str, str]) -> list[str]:
    """What becomes of fields that a format does not say (``said``): a note of each that is left out. Raises Unsupported.

    For formats that give one answer, in text. impossible: field -> why it cannot be said.
    """
    if payload.get("n") not in (None, 1):
        raise Unsupported("n", "This format gives one answer to a request ('n' is 1).")
    if payload.get("modalities") not in (None, ["text"]):
        raise Unsupported("modalities", "This format answers in text only.")
    notes = []
    for name, value in payload.items():
        if name in said or value is None or value in ASKS_NOTHING.get(name, ()):
            continue
        if name in impossible:
            raise Unsupported(name, f"This format has no {name!r}: {impossible[name]}.")
        notes.append(f"{name}: left out")
    return notes


def stops_of(payload: Payload) -> list[str]:
    """The stop sequences, none where the field says nothing. Raises Unsupported."""
    stop = payload.get("stop")
    if stop is None:
        return []
    stops = [stop] if type(stop) is str else stop
    if type(stops) is not list or any(type(one) is not str for one in stops):
        raise Unsupported("stop", "The field 'stop' must be a text or a list of texts.")
    return stops


def numbers_of(payload: Payload, names: Iterable[str]) -> dict[str, float]:
    """Those of these fields that are there. Raises Unsupported for one that is no number."""
    found: dict[str, float] = {}
    for name in names:
        value = payload.get(name)
        if value is None:
            continue
        if type(value) not in (int, float):
            raise Unsupported(name, f"The field {name!r} must be a number.")
        found[name] = value
    return found


def thinking_of(payload: Payload) -> tuple[str | None, str | None]:
    """(enabled, adaptive or disabled; effort), each None where the request does not say. Raises Unsupported."""
    thinking, effort = payload.get("thinking"), payload.get("reasoning_effort")
    kind = thinking.get("type") if type(thinking) is dict else thinking
    if kind not in (None, "enabled", "adaptive", "disabled"):
        raise Unsupported("thinking", "The field 'thinking' must be enabled, adaptive or disabled.")
    if effort is not None and (type(effort) is not str or effort not in EFFORTS):
        raise Unsupported("reasoning_effort", "The field 'reasoning_effort' must be none, minimal, low, medium, high or xhigh.")
    return kind, effort


def function_of(tool: object, at: str) -> Payload:
    """The function that a tool offers: its ``name`` is a text, its ``parameters`` are an object or not there. Raises Unsupported."""
    function = tool.get("function") if type(tool) is dict else None
    if type(tool) is not dict or tool.get("type", "function") != "function" or type(function) is not dict:
        raise Unsupported(at, "This format can be offered functions only.")
    if type(function.get("name")) is not str:
        raise Unsupported(f"{at}.function.name", f"The field '{at}.function.name' must be a text.")
    if type(function.get("parameters")) not in (dict, type(None)):
        raise Unsupported(f"{at}.function.parameters", f"The field '{at}.function.parameters' must be a JSON schema.")
    return function


def schema_wanted(payload: Payload) -> tuple[str, Payload]:
    """How an answer is to look: text, json_object or json_schema, and of the last the field's object with its ``schema``, else an empty
    one. Raises Unsupported."""
    wanted = payload.get("response_format")
    kind = wanted.get("type") if type(wanted) is dict else None
    if wanted is None or kind == "text":
        return "text", {}
    if kind == "json_object":
        return "json_object", {}
    described = wanted.get("json_schema") if type(wanted) is dict else None
    if kind != "json_schema" or type(described) is not dict or type(described.get("schema")) is not dict:
        raise Unsupported("response_format", "The field 'response_format' must be text, json_object or a json_schema with its 'schema'.")
    return "json_schema", described


def plain_text(chunk: Chunk) -> str | None:
    """The text of an event that is one more piece of the only answer's text and says nothing else, as nearly all do; None of any other."""
    choices = chunk.get("choices")
    if type(choices) is not list or len(choices) != 1 or chunk.get("usage") is not None or chunk.get("error"):
        return None
    choice = choices[0]
    if type(choice) is not dict or choice.get("finish_reason") or choice.get("index", 0) != 0 or choice.get("logprobs"):
        return None
    delta = choice.get("delta")
    if type(delta) is not dict or len(delta) != 1 or choice.get("native_finish_reason"):
        return None
    text = delta.get("content")
    return text if type(text) is str and text else None


def head_of(payload: Payload, kind: str) -> Payload:
    """The beginning of an answer whose provider gives it no id. kind: ``chat.completion`` or ``chat.completion.chunk``."""
    model = payload.get("model")
    return {
        "id": f"chatcmpl-{uuid4().hex}",
        "object": kind,
        "created": int(time.time()),
        "model": model if type(model) is str else "",
    }
