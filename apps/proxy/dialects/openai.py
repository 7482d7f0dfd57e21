"""OpenAI's wire format: chat completions (JSON and SSE) and embeddings.

Source: OpenAI's API reference; what differs between compatible servers is noted where it is handled.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from apps.proxy.dialects.base import PROBE, Answer
from apps.proxy.dialects.openai_plain import suited
from apps.proxy.dialects.openai_stream import OpenAIStream
from apps.proxy.dialects.openai_wire import UNREADABLE, decode_answer, decode_any, encode, says, tokens_of

if TYPE_CHECKING:
    from apps.proxy.exchange import Exchange
    from apps.proxy.runtime import CompiledTarget

__all__ = ["IMAGE_TOKENS", "PATHS", "OpenAIDialect", "OpenAIStream", "chat_extras"]

PATHS = {
    "chat": "/chat/completions",
    "embeddings": "/embeddings",
    "responses": "/responses",
    "completions": "/completions",
    "rerank": "/rerank",
    "moderations": "/moderations",
    "images": "/images/generations",
    "speech": "/audio/speech",
}
"""``responses`` and ``completions`` are for what apps send in these formats, to servers that are known to speak them."""
FORM_PATHS = {
    "image_edits": "/images/edits",
    "image_variations": "/images/variations",
    "transcriptions": "/audio/transcriptions",
    "translations": "/audio/translations",
}
"""What is asked with a form: these heads end before the value of ``content-type``, which has the form's own boundary."""
_OF_A_RESOURCE = frozenset({"/models", "/responses"})
"""At Azure, asked of the whole resource: a body names the deployment, or none is meant."""
_MODEL = re.compile(rb'"model"\s*:\s*"(?:[^"\\]|\\.)*"')
_OWN_CAP_FIELD_HOSTS = (b"api.openai.com", b"openai.azure.com")
"""Hosts whose newer models refuse ``max_tokens``; everybody else may know only that."""


class OpenAIDialect:
    """secret_header: how a credential that is a key is said, with ``%b`` for it. forms: of credentials that it takes.
    deployments: as Azure's older API has it, whose path names the deployment (a target's model) and whose query the API's version."""

    name = "openai"
    translates = False

    def __init__(
        self, secret_header: bytes = b"authorization: Bearer %b", forms: tuple[str, ...] = ("key",), *, deployments: bool = False
    ) -> None:
        self.secret_header = secret_header
        self.forms = forms
        self._deployments = deployments

    def request_heads(
        self, *, base_path: str, host: bytes, secret: bytes | None, model: str = "", api_version: str = ""
    ) -> dict[str, bytes]:
        shared = b"host: %b\r\n" % host
        if secret is not None:
            shared += self.secret_header % secret + b"\r\n"
        shared += b"accept-encoding: identity\r\nuser-agent: bulkhead\r\n"
        heads = {PROBE: b"GET %b%b HTTP/1.1\r\n%b\r\n" % (base_path.encode(), self.path("/models", model, api_version), shared)}
        for kind, path in FORM_PATHS.items():
            below = self.path(path, model, api_version)
            heads[kind] = b"POST %b%b HTTP/1.1\r\n%bcontent-type: " % (base_path.encode(), below, shared)
        shared += b"content-type: application/json\r\n"
        for kind, path in PATHS.items():
            heads[kind] = b"POST %b%b HTTP/1.1\r\n%bcontent-length: " % (base_path.encode(), self.path(path, model, api_version), shared)
        return heads

    def path(self, path: str, model: str, api_version: str) -> bytes:
        """Of a request, below the base path, as it is asked."""
        if not self._deployments:
            return path.encode()
        below = path if path in _OF_A_RESOURCE else f"/deployments/{quote(model, safe='')}{path}"
        return f"{below}?api-version={quote(api_version, safe='')}".encode()

    def body(self, exchange: Exchange, target: CompiledTarget) -> bytes:
        """Splices what must differ into the app's own bytes; unknown fields pass through untouched."""
        body = exchange.body
        payload = exchange.payload
        if target.strict:
            capped = {"max_tokens": exchange.max_output} if exchange.cap_injected else {}
            return encode(suited({**payload, **capped, "model": target.model}))
        added = b""
        if exchange.cap_injected:
            own = any(name in target.request_heads["chat"] for name in _OWN_CAP_FIELD_HOSTS)
            added += b'"%b":%d,' % (b"max_completion_tokens" if own else b"max_tokens", output_cap(exchange, target))
        if exchange.stream and not exchange.usage_asked:
            options = payload.get("stream_options")
            if options is None and "stream_options" not in payload:
                added += b'"stream_options":{"include_usage":true},'
            else:
                changed = dict(payload)
                changed["stream_options"] = {**(options or {}), "include_usage": True}
                changed["model"] = target.model
                if exchange.cap_injected:
                    changed.update(decode_any(b"{" + added[:-1] + b"}"))
                return encode(changed)
        if target.model != exchange.requested_model:
            body, count = _MODEL.subn(b'"model":' + encode(target.model).replace(b"\\", b"\\\\"), body)
            if count != 1:  # the word occurs elsewhere too: change the one field that counts
                body = encode({**payload, "model": target.model})
        if added:
            start = body.index(b"{") + 1
            body = body[:start] + added + body[start:]
        return body

    def answer(self, body: bytes) -> Answer | None:
        try:
            answer = decode_answer(body)
        except UNREADABLE:
            return None
        if says(answer.error):
            return None
        return Answer(tokens_of(answer.usage, answer.service_tier) if answer.usage is not None else None)

    def stream(self, exchange: Exchange) -> OpenAIStream:
        return OpenAIStream(hide_usage=not exchange.usage_asked)


def output_cap(exchange: Exchange, target: CompiledTarget) -> int:
    """The cap that the proxy sets where the app set none: the route's, or what the model gives at most, where that is less."""
    most = target.max_output
    return most if 0 < most < exchange.max_output else exchange.max_output


IMAGE_TOKENS = 50_000
"""Upper bound of one image's input tokens over OpenAI's models (high detail, several tiles, mini models' multipliers)."""

_BILLED_APART = frozenset({"web_search_options", "prediction", "modalities", "service_tier", "tools"})


def chat_extras(payload: dict[str, Any]) -> tuple[int, str]:
    """(input tokens beyond one per byte of the body, why the cost has no upper bound at all; empty when it has one).

    Text costs at most one token per UTF-8 byte. An image is counted at IMAGE_TOKENS.
    """
    extra = 0
    for message in payload["messages"]:
        content = message.get("content") if type(message) is dict else None
        if type(content) is list:
            for part in content:
                kind = part.get("type") if type(part) is dict else None
                if kind == "image_url":
                    extra += IMAGE_TOKENS
                elif kind not in ("text", "refusal"):
                    return extra, f"a message part of type {kind!r} has a cost that cannot be bounded"
    if _BILLED_APART.isdisjoint(payload):
        return extra, ""
    if "web_search_options" in payload:
        return extra, "web search is billed per search"
    if payload.get("prediction") is not None:
        return extra, "rejected prediction tokens are billed beyond max_tokens"
    if payload.get("modalities") not in (None, ["text"]):
        return extra, "audio output has a cost that cannot be bounded"
    if payload.get("service_tier") not in (None, "auto", "default", "flex"):
        return extra, f"the service tier {payload.get('service_tier')!r} has prices of its own"
    tools = payload.get("tools")
    if type(tools) is list:
        for tool in tools:
            if type(tool) is dict and tool.get("type") not in ("function", "custom", None):
                return extra, f"the server-side tool {tool.get('type')!r} is billed apart"
    return extra, ""
