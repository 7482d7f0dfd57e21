"""Azure OpenAI as its deployments are asked: OpenAI's format at an address of its own, with Azure's filter beside answers. No sockets.

The deployment's name is the model's. Source: Azure OpenAI REST API reference, "Data plane inference".
"""

from __future__ import annotations

import re
from typing import Any
from urllib.parse import unquote

from apps.simulator import openai
from apps.simulator.openai import SIMULATED, ChatCall, Choice, Refused, encode
from apps.simulator.wire import Asked, Knock, Usage

PATH = re.compile(r"/openai/deployments/(?P<model>[^/]+)/chat/completions")
VERSION = re.compile(r"(?:^|&)api-version=(?P<version>\d{4}-\d{2}-\d{2}(?:-preview)?)(?:&|$)")
_SAFE = {name: {"filtered": False, "severity": "safe"} for name in ("hate", "self_harm", "sexual", "violence")}
_PROMPT = [{"prompt_index": 0, "content_filter_results": _SAFE}]
_CODES = {401: "401", 404: "DeploymentNotFound", 429: "429"}


def error_body(status: int, message: str, *, param: str | None = None, code: str | None = None) -> bytes:
    """Azure's error object, marked as simulated."""
    if code in ("context_length_exceeded", "content_filter", "insufficient_quota"):
        return openai.error_body(status, message, param=param, code=code)
    named = code if code is not None and code.isdecimal() else _CODES.get(status) or code or str(status)
    return encode({"error": {"code": named, "message": message}, SIMULATED: True})


def admit(knock: Knock, keys: list[str] | None, region: str) -> None:
    """A key as ``api-key`` or an Entra token as a bearer, and an ``api-version``. Raises Refused."""
    sent = knock.headers.get(b"api-key") or knock.headers.get(b"authorization", b"").removeprefix(b"Bearer ")
    if keys is not None and sent.decode("latin-1") not in keys:
        message = (
            "Access denied due to invalid subscription key or wrong API endpoint. Make sure to provide a valid key for an active "
            "subscription and use a correct regional API endpoint for your resource (simulated)."
        )
        raise Refused(message, status=401)
    if VERSION.search(knock.query) is None:
        raise Refused("Resource not found (simulated): the query has no api-version.", status=404, code="404")


def chat_call(asked: Asked) -> ChatCall:
    """The request as a chat call. Raises Refused."""
    return ChatCall({**asked.body, "model": unquote(asked.match["model"])})


def models_body(names: list[str], created: int) -> bytes:
    """Deployments, as older versions of the API list them."""
    rows = [{"id": name, "model": name, "object": "deployment", "status": "succeeded", "created_at": created} for name in names]
    return encode({"data": rows, "object": "list", SIMULATED: True})


def answer_body(answer_id: str, created: int, call: ChatCall, choices: list[Choice], usage: Usage | None) -> bytes:
    """OpenAI's, with what the filter found."""
    whole: dict[str, Any] = openai.decode(openai.chat_body(answer_id, created, call, choices, usage))
    for choice in whole["choices"]:
        choice["content_filter_results"] = _SAFE
    return encode({**whole, "prompt_filter_results": _PROMPT})


class Events(openai.ChatEvents):
    """OpenAI's, after an event of the filter that names neither id nor model."""

    __slots__ = ("_told",)

    def __init__(self, answer_id: str, created: int, call: ChatCall, usage: Usage) -> None:
        super().__init__(answer_id, created, call, usage)
        self._told = False

    def opening(self, index: int, choice: Choice) -> bytes:
        begun = super().opening(index, choice)
        if self._told:
            return begun
        self._told = True
        found = {"choices": [], "created": 0, "id": "", "model": "", "object": "", "prompt_filter_results": _PROMPT}
        return b"data: %b\n\n" % encode(found) + begun
