"""What apps are told of limits: the refusal with its number and when to come back, and ``x-ratelimit-*`` as OpenAI names it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from apps.contracts.limits import MEASURES
from apps.proxy.errors import Refusal

if TYPE_CHECKING:
    from apps.proxy.exchange import Exchange
    from apps.proxy.limits import Window

STEP = "limit"
_SCOPES = {
    "organisation": "of the organisation",
    "team": "of the team",
    "key": "of this key",
    "route": "of the route",
    "model": "of the model",
    "credential": "of a provider's credential",
}


def refusal_of(window: Window, n: int, seconds: float, *, fair: bool) -> Refusal:
    """Which limit, its number, what is used, and when to come back. fair: there is room, which is left to other keys."""
    fragment = window.fragment
    whole = max(1, math.ceil(seconds))
    used = min(window.amount, window.used + window.others)
    words = MEASURES[fragment.kind].words
    if fair:
        state = "this key has used its part, and the rest is left to other keys"
    elif window.tokens:
        state = f"{used:,} are used or reserved and this request could use up to {n:,}"
    else:
        state = f"{used:,} are {'used' if window.seconds else 'running'}"
    message = f"The limit {fragment.name!r} {_SCOPES[fragment.scope]} allows {window.amount:,} {words}: {state}. Try again in {whole} s."
    detail = {
        "limit": fragment.name,
        "limit_kind": fragment.kind,
        "limit_scope": fragment.scope,
        "limit_amount": window.amount,
        "used": used,
        "requested": n,
        "retry_after_seconds": whole,
        "retry_after_ms": max(1, math.ceil(seconds * 1000)),
    }
    return Refusal("rate_limit_exceeded", STEP, message, None, detail)


def too_large(window: Window, n: int, exchange: Exchange) -> Refusal:
    """One request that the limit can never let through, and what would fit."""
    fragment = window.fragment
    fits = (window.amount - exchange.input_bound) // exchange.n
    hint = f"Ask for at most {fits:,} tokens of output (max_tokens)" if fits > 0 else "Send a shorter input"
    message = (
        f"This request could use up to {n:,} tokens, more than the limit {fragment.name!r} {_SCOPES[fragment.scope]} ever allows "
        f"({window.amount:,} {MEASURES[fragment.kind].words}). {hint}, or have the limit raised."
    )
    detail = {
        "limit": fragment.name,
        "limit_kind": fragment.kind,
        "limit_scope": fragment.scope,
        "limit_amount": window.amount,
        "requested": n,
        "max_tokens": max(0, fits),
    }
    return Refusal("request_exceeds_limit", STEP, message, "max_tokens" if fits > 0 else None, detail)


_HEADS = {
    False: b"x-ratelimit-limit-requests: %d\r\nx-ratelimit-remaining-requests: %d\r\nx-ratelimit-reset-requests: %dms\r\n",
    True: b"x-ratelimit-limit-tokens: %d\r\nx-ratelimit-remaining-tokens: %d\r\nx-ratelimit-reset-tokens: %dms\r\n",
}


def rate_headers(windows: Sequence[Window], now: float) -> bytes:
    """Of the limit with the least left, for requests and for tokens. Nothing for requests at once: OpenAI has no name for those."""
    requests = tokens = None
    requests_left = tokens_left = 0
    for window in windows:
        if not window.seconds:
            continue
        left = window.amount - window.used - window.others
        if window.tokens:
            if tokens is None or left < tokens_left:
                tokens, tokens_left = window, left
        elif requests is None or left < requests_left:
            requests, requests_left = window, left
    head = b""
    if requests is not None:
        head = _HEADS[False] % (requests.amount, requests_left if requests_left > 0 else 0, requests.resets_in(now))
    if tokens is not None:
        head += _HEADS[True] % (tokens.amount, tokens_left if tokens_left > 0 else 0, tokens.resets_in(now))
    return head


def limits_told(windows: Sequence[Window], now: float) -> list[dict[str, Any]]:
    """Limits that a request falls under, as an explanation names them."""
    return [
        {
            "name": window.fragment.name,
            "scope": window.fragment.scope,
            "kind": window.fragment.kind,
            "limit": window.amount,
            "remaining": window.remaining(),
            "resets_in_ms": window.resets_in(now),
            "shared": not window.local,
        }
        for window in windows
    ]
