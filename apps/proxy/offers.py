"""The models that a key may use, as each vendor's SDK lists them: ``/v1/models`` (OpenAI's shape, Anthropic's where its version header is
sent, Gemini's where Google's key header is) and ``/v1beta/models`` (Gemini's), with window, output, prices and capabilities.

What is said of a route follows what the planner does with it. A capability is true where every target that is not known to lack it is known
to have it, false where every target is known to lack it, and null where it is not known. Window and output are the largest that is
known of a target. Prices are those of the target that comes first, as they are in this minute.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, NamedTuple
from urllib.parse import parse_qsl, unquote

import msgspec

from apps.contracts.errors import CODES
from apps.contracts.model_facts import CAPABILITIES
from apps.contracts.money import dollars_text
from apps.contracts.usage import Tokens
from apps.proxy.addresses import known_by_header
from apps.proxy.dialects import FRONTS
from apps.proxy.dialects.translation import Trouble
from apps.proxy.errors import Refusal

if TYPE_CHECKING:
    from apps.contracts.pricing import Price
    from apps.proxy.engine import Engine
    from apps.proxy.http.types import Request
    from apps.proxy.runtime import CompiledKey, CompiledRoute, Runtime

GEMINI = "/v1beta/models"
GOOGLES_KEY = b"x-goog-api-key"
MOST_LISTS = 256
"""Rendered lists that are kept: one for each set of routes that keys may use, of the newest config, for a minute."""
MINUTE_MS = 60_000
_UNKNOWN_SINCE = "1970-01-01T00:00:00Z"
"""Routes have no date of release; Anthropic's shape says so by the epoch."""
_METHODS = ("generateContent", "streamGenerateContent", "countTokens")
_KINDS = ("input", "output", "cache_read", "cache_write")
_encode = msgspec.json.Encoder().encode


class Offer(NamedTuple):
    """What a route offers; numbers are tokens, None where nothing is known. price: dollars per million tokens by kind, as text."""

    window: int | None
    max_output: int | None
    capabilities: dict[str, bool | None]
    price: dict[str, str] | None
    deprecated: bool | None
    ends_on: str | None


class ModelDesk:
    """Answers for one process. Everything is rendered once per config, set of routes and minute."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._runtime: Runtime | None = None
        self._minute = 0
        self._lists: dict[tuple[str, str, frozenset[str] | None], bytes] = {}

    def answer(self, request: Request) -> tuple[int, bytes] | Refusal:
        """(status, body); a Refusal is the caller's to tell, in OpenAI's words."""
        shape = shape_of(request)
        if shape == "gemini":
            known_by_header(request)
        engine = self._engine
        runtime = engine.holder.current
        key = engine.authenticator.key_of(request.headers, runtime, request.peer)
        found = self._found(shape, request, key, runtime) if not isinstance(key, Refusal) else key
        if isinstance(found, Refusal):
            return found if shape == "openai" else refused(shape, found)
        return 200, found

    def _found(self, shape: str, request: Request, key: CompiledKey, runtime: Runtime) -> bytes | Refusal:
        table = runtime.routes_of(key)
        now_ms = time.time_ns() // 1_000_000 + self._engine.offset_us // 1000
        name = unquote(request.path.partition("/models")[2].strip("/"))
        if name:
            route = table.get(name)
            if route is None:
                shown = ", ".join(sorted(table)[:20])
                message = f"There is no model {name[:200]!r} for this key. It may use: {shown}."
                return Refusal("model_not_found", "address", message, "model")
            return _encode(_SHAPES[shape](name, offer_of(route, now_ms)))
        asked = dict(parse_qsl(request.query.decode("latin-1"))) if request.query else {}
        paged = asked.keys() & {"limit", "after_id", "before_id", "pageSize", "pageToken"}
        if paged and shape != "openai":
            return _page(shape, table, asked, now_ms)
        if runtime is not self._runtime or now_ms // MINUTE_MS != self._minute or len(self._lists) >= MOST_LISTS:
            self._runtime, self._minute, self._lists = runtime, now_ms // MINUTE_MS, {}
        known_as = (shape, key.organisation, key.allowed)
        body = self._lists.get(known_as)
        if body is None:
            body = self._lists[known_as] = _page(shape, table, {}, now_ms)
        return body


def shape_of(request: Request) -> str:
    """Whose SDK asks: Google's by its address, or by how it sends the key at the address that OpenAI's has too."""
    if request.path.startswith(GEMINI) or (GOOGLES_KEY in request.headers and b"authorization" not in request.headers):
        return "gemini"
    return "anthropic" if b"anthropic-version" in request.headers else "openai"


def refused(shape: str, refusal: Refusal) -> tuple[int, bytes]:
    """A refusal as the SDK of this shape reads it."""
    code = CODES[refusal.code]
    return code.status, _encode(FRONTS[shape].error(code.status, Trouble(refusal.message, code.type, refusal.code), ""))


def offer_of(route: CompiledRoute, now_ms: int) -> Offer:
    """What a route offers now."""
    targets = route.live or route.targets
    capabilities: dict[str, bool | None] = {}
    for name in CAPABILITIES:
        left = [target for target in targets if name not in target.cannot]
        capabilities[name] = False if not left else True if all(name in target.can for target in left) else None
    first = targets[0].facts
    price = targets[0].prices.at(now_ms) if targets[0].prices is not None else None
    return Offer(
        window=max((target.window for target in targets), default=0) or None,
        max_output=max((target.max_output for target in targets), default=0) or None,
        capabilities=capabilities,
        price=prices_of(price) if price is not None else None,
        deprecated=first.deprecated,
        ends_on=first.ends_on or None,
    )


def prices_of(price: Price) -> dict[str, str]:
    """Dollars per million tokens by kind, discounts taken off, of a request that reaches no tier; to a millionth of a dollar."""
    found = {}
    for kind in _KINDS:
        few, many = (price.cost(_tokens(kind, count)) for count in (1_000, 11_000))
        found[kind] = dollars_text(round((many - few) * 100, -3))
    return found


def _tokens(kind: str, count: int) -> Tokens:
    if kind == "output":
        return Tokens(output=count)
    return Tokens(input=count, cache_read=count if kind == "cache_read" else 0, cache_write=count if kind == "cache_write" else 0)


# --- the shapes ------------------------------------------------------------------------------------------------------------


def _page(shape: str, table: Mapping[str, CompiledRoute], asked: Mapping[str, str], now_ms: int) -> bytes:
    names = sorted(table)
    if "after_id" in asked or "pageToken" in asked:
        after = asked.get("after_id", asked.get("pageToken", ""))
        names = [name for name in names if name > after]
    elif "before_id" in asked:
        names = [name for name in names if name < asked["before_id"]]
    size = asked.get("limit", asked.get("pageSize", ""))
    most = int(size) if size.isdecimal() and int(size[:9]) > 0 else len(names)
    backwards = "before_id" in asked and "after_id" not in asked
    shown = (names[-most:] if backwards else names[:most]) if most < len(names) else names
    offers: dict[str, Offer] = {}
    rows = []
    for name in shown:
        route = table[name]
        if route.id not in offers:
            offers[route.id] = offer_of(route, now_ms)
        rows.append(_SHAPES[shape](name, offers[route.id]))
    more = len(shown) < len(names)
    if shape == "gemini":
        return _encode({"models": rows, "nextPageToken": shown[-1]} if more else {"models": rows})
    if shape == "anthropic":
        ends = {"first_id": shown[0] if shown else None, "last_id": shown[-1] if shown else None}
        return _encode({"data": rows, "has_more": more, **ends})
    return _encode({"object": "list", "data": rows})


def _ours(offer: Offer) -> dict[str, Any]:
    return {
        "context_window": offer.window,
        "max_output_tokens": offer.max_output,
        "capabilities": offer.capabilities,
        "pricing": {"currency": "USD", "per": "million_tokens", **offer.price} if offer.price is not None else None,
        "deprecated": offer.deprecated,
    }


def _openai(name: str, offer: Offer) -> dict[str, Any]:
    return {"id": name, "object": "model", "created": 0, "owned_by": "bulkhead", "shutdown_date": offer.ends_on, **_ours(offer)}


def _anthropic(name: str, offer: Offer) -> dict[str, Any]:
    """``capabilities`` has no word there for what is not known: ours are beside it, under ``bulkhead``."""
    ends = f"{offer.ends_on}T00:00:00Z" if offer.ends_on else None
    ended = offer.ends_on is not None and offer.ends_on <= datetime.now(UTC).date().isoformat()
    return {
        "type": "model",
        "id": name,
        "display_name": name,
        "created_at": _UNKNOWN_SINCE,
        "lifecycle": "retired" if ended else "deprecated" if offer.deprecated or ends else "active",
        "retires_at": ends,
        "max_input_tokens": offer.window,
        "max_tokens": offer.max_output,
        "capabilities": None,
        "bulkhead": _ours(offer),
    }


def _gemini(name: str, offer: Offer) -> dict[str, Any]:
    found: dict[str, Any] = {"name": f"models/{name}", "displayName": name, "version": "", "supportedGenerationMethods": _METHODS}
    if offer.window is not None:
        found["inputTokenLimit"] = offer.window
    if offer.max_output is not None:
        found["outputTokenLimit"] = offer.max_output
    if offer.capabilities["reasoning"] is not None:
        found["thinking"] = offer.capabilities["reasoning"]
    return {**found, "bulkhead": _ours(offer)}


_SHAPES = {"openai": _openai, "anthropic": _anthropic, "gemini": _gemini}
