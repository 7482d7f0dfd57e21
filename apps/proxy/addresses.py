"""Which addresses are of which format, beside OpenAI's chat completions, and how each of them says who asks."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl

from apps.proxy.caller import Caller
from apps.proxy.dialects import FRONTS, NATIVES
from apps.proxy.dialects.gemini import METHODS, path_parts
from apps.proxy.operations.gemini_asked import METHODS as EMBED_METHODS
from apps.proxy.operations.gemini_asked import AskedAsGemini

if TYPE_CHECKING:
    from apps.proxy.http.types import Request

ADDRESSES: dict[str, str] = {
    "/v1/messages": "anthropic",
    "/v1/completions": "completions",
}
"""Path -> front. Responses have a desk of their own (``apps.proxy.response_desk``)."""
COUNT_TOKENS = "/v1/messages/count_tokens"
_KEY_HEADER = b"x-goog-api-key"


def caller_of(request: Request) -> Caller | None:
    """Whoever asks at this address in a format of its own; None where it is no such address."""
    name = ADDRESSES.get(request.path)
    if name is not None:
        return Caller(FRONTS[name], NATIVES.get(name))
    if request.path == COUNT_TOKENS:
        return Caller(FRONTS["anthropic"], NATIVES["anthropic"], counts=True)
    if ":" not in request.path:
        return None
    parts = path_parts(request.path)
    if parts is None or parts.method not in (*METHODS, "countTokens"):
        return None
    known_by_header(request)
    if parts.method not in METHODS:
        return Caller(FRONTS["gemini"], NATIVES["gemini"], model=parts.model, streams=False, counts=True)
    streams = METHODS[parts.method]
    if streams and dict(parse_qsl(request.query.decode("latin-1"))).get("alt") != "sse":
        return Caller(FRONTS["gemini-array"], None, model=parts.model, streams=True)  # providers are asked for events: none passes through
    return Caller(FRONTS["gemini"], NATIVES["gemini"], model=parts.model, streams=streams)


def embeds_of(request: Request) -> tuple[Caller, AskedAsGemini] | None:
    """Whoever asks for embeddings as Google's SDKs do, and what is asked; None at any other address."""
    parts = path_parts(request.path) if ":" in request.path else None
    if parts is None or parts.method not in EMBED_METHODS:
        return None
    known_by_header(request)
    return Caller(FRONTS["gemini"], None, model=parts.model), AskedAsGemini(parts.model, several=EMBED_METHODS[parts.method])


def known_by_header(request: Request) -> None:
    """Google's SDKs send the key as ``x-goog-api-key`` or in the query: it is read as ``x-api-key`` from here on, and kept nowhere."""
    headers = request.headers
    if b"authorization" in headers or b"x-api-key" in headers:
        return
    key = headers.get(_KEY_HEADER)
    if key is None:
        key = dict(parse_qsl(request.query.decode("latin-1"))).get("key", "").encode("latin-1", "replace")
    if key:
        request.headers = {**headers, b"x-api-key": key}  # a copy: the head may be known to its connection
