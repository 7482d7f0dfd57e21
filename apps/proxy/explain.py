"""``x-bulkhead-explain: dry-run``: what would be done with a request, and why; nobody is called, nothing is reserved or spent.

Runs after the plan step, also where that refused: the refusal is part of the explanation then.
"""

from __future__ import annotations

from time import monotonic
from typing import TYPE_CHECKING, Any

import msgspec

from apps.contracts.money import dollars_text
from apps.contracts.snapshot import BudgetFragment
from apps.proxy.bounds import most_of, priced_by
from apps.proxy.context import Size
from apps.proxy.errors import Refusal
from apps.proxy.fleet.moving import explained
from apps.proxy.limits_text import limits_told
from apps.proxy.translate import not_said, unsayable

if TYPE_CHECKING:
    from apps.proxy.exchange import Exchange
    from apps.proxy.runtime import CompiledRoute, CompiledTarget
    from apps.proxy.spend import Spend

STEP = "explain"
HEADER = b"x-bulkhead-explain"
_encode = msgspec.json.Encoder().encode


def asked(exchange: Exchange) -> bool:
    return HEADER in exchange.request.headers


def explain(exchange: Exchange, refusal: Refusal | None, now: float) -> bytes | Refusal:
    """The JSON body of the explanation (status 200), or why there is none. refusal: what the steps said. now: the loop's time, seconds.

    A refusal from before a route was found (no key, no body, no such model) is the answer itself: there is nothing to explain.
    """
    key, route = exchange.key, exchange.route
    if key is None:
        return refusal or Refusal("missing_key", STEP, "No virtual key was sent.")
    if not key.explain:
        message = f"The key {key.name!r} may not ask for explanations. Ask its owner to allow it, or leave out x-bulkhead-explain."
        return Refusal("explain_not_allowed", STEP, message, HEADER.decode())
    value = exchange.request.headers[HEADER].strip().lower()
    if value != b"dry-run":
        shown = value[:60].decode("latin-1")
        return Refusal("invalid_field", STEP, f"The header x-bulkhead-explain takes 'dry-run', not {shown!r}.", HEADER.decode())
    if route is None:
        return refusal or Refusal("model_not_found", STEP, "There is no route to explain.", "model")
    choice, settings = exchange.choice, route.resilience
    plan = exchange.plan if refusal is None else ()
    size = Size.of(exchange)
    candidates = [_candidate(exchange, route, target, size, position, now) for position, target in enumerate(plan)]
    would = _would(exchange, candidates, refusal)
    return _encode(
        {
            "object": "bulkhead.plan",
            "request_id": exchange.request_id,
            "config_version": exchange.runtime.version,
            "requested_model": exchange.requested_model,
            "route": route.name,
            "strategy": route.strategy,
            "level": settings.level,
            "flags": list(route.flags),
            "would": would,
            "candidates": candidates,
            "dropped": [{"target": drop.target.label, "reason": drop.reason} for drop in choice.dropped] if choice is not None else [],
            "notes": list(choice.notes) if choice is not None else [],
            "stream": exchange.stream,
            "input_bytes": len(exchange.request.body),
            "max_output_tokens": exchange.max_output,
            "trimmed_messages": choice.trimmed if choice is not None else 0,
            "context_policy": settings.context,
            "budgets": _budgets(exchange),
            "limits": limits_told(exchange.limits, monotonic()),
            "max_attempts": route.max_attempts,
            "deadlines_ms": {
                "connect": _ms(route.connect),
                "first_byte": _ms(route.first_byte),
                "first_token": _ms(settings.first_token),
                "reasoning_first_byte": _ms(settings.reasoning_first_byte),
                "idle": _ms(route.idle),
                "total": _ms(route.total),
            },
            "hedge_percent": round(settings.hedge_share * 100),
            "rescue": settings.rescue,
            "mirror": None if settings.mirror is None else {"target": settings.mirror.label, "percent": round(settings.mirror_share * 100)},
        }
    )


def _candidate(exchange: Exchange, route: CompiledRoute, target: CompiledTarget, size: Size, position: int, now: float) -> dict[str, Any]:
    state = target.state
    price = target.prices.at(exchange.started_us // 1000) if target.prices is not None else None
    price = priced_by(exchange, price)
    bound, why = most_of(exchange, target, price) if price is not None else (None, "")
    p95 = state.health.p95()
    found: dict[str, Any] = {
        "position": position,
        "target": target.label,
        "region": target.region,
        "priority": target.priority,
        "weight": target.weight,
        "variant": target.variant,
        "window_tokens": target.window or None,
        "estimated_input_tokens": size.tokens(target),
        "cost_bound_nano": bound,
        "cost_bound_usd": None if bound is None else dollars_text(bound),
        "price_version": price.version if price is not None else None,
        "breaker": state.breaker.forced or state.breaker.state,
        "in_flight": state.health.in_flight,
        "expected_ms": _ms(state.health.expected(now)),
        "p95_first_token_ms": None if p95 is None else _ms(p95),
        "resting_ms": max(0, _ms(state.resting_until - now)) if state.resting_until else 0,
        "simulated": target.simulated,
        "deadlines_ms": {name: _ms(getattr(target, name)) for name in ("connect", "first_byte", "first_token", "idle", "total")},
    }
    if target.replicas is not None:
        found["balancing"] = explained(exchange, route, target)
    unsaid = not_said(exchange, target)
    if unsaid:
        found["left_out"] = unsaid
    if _spend(exchange, target).hard:
        if price is None:
            found["refused"] = "unpriced_model"
        elif bound and why:
            found["refused"] = "unbounded_cost"
    return found


def _would(exchange: Exchange, candidates: list[dict[str, Any]], refusal: Refusal | None) -> dict[str, Any]:
    if refusal is not None:
        return {"refuse": refusal.code, "message": refusal.message, **({"detail": refusal.detail} if refusal.detail else {})}
    asked_of = [candidate for candidate in candidates if "left_out" not in candidate]
    if not asked_of:
        return {"refuse": "unsupported_operation", "message": unsayable(exchange).message}
    first = asked_of[0]
    if "refused" in first:
        message = "A hard budget applies to this key, and what the first target would cost is not known beforehand."
        return {"refuse": first["refused"], "message": message}
    return {"call": first["target"]}


def _budgets(exchange: Exchange) -> list[dict[str, Any]]:
    """Those that would be asked. What is spent is not said: it is asked for only when something is reserved."""
    assert exchange.key is not None
    found = []
    for name in _spend(exchange, exchange.plan[0]).ids if exchange.plan else exchange.key.spend.ids:
        fragment = exchange.runtime.fragments["budgets"].get(name.partition("/")[0])
        if isinstance(fragment, BudgetFragment):
            told = {"name": fragment.name, "window": fragment.window, "limit_nano": fragment.limit_nano, "scope": fragment.scope}
            found.append({**told, "hard": fragment.hard})
    return found


def _spend(exchange: Exchange, target: CompiledTarget) -> Spend:
    table = exchange.runtime.spending
    assert exchange.key is not None
    return exchange.key.spend if table is None else table.applying(exchange, target)


def _ms(seconds: float) -> int:
    return round(seconds * 1000)
