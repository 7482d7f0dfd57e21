"""Where to: the route that the app named, and its targets in order, less those that are switched off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.proxy.choose import Choice, Dropped, choose, order
from apps.proxy.errors import Refusal
from apps.proxy.relief import relieve

if TYPE_CHECKING:
    from apps.proxy.exchange import Exchange
    from apps.proxy.flagging import RouteFlags
    from apps.proxy.runtime import CompiledRoute, Runtime

STEP = "plan"
FALLBACKS = b"x-bulkhead-fallbacks"
MAX_FALLBACKS = 4
MAX_NAMES_SHOWN = 20


def plan(exchange: Exchange, runtime: Runtime) -> Refusal | None:
    key, name = exchange.key, exchange.requested_model
    assert key is not None
    table = runtime.tables.get(key.organisation)
    route = table.get(name) if table is not None else None
    named = name
    if route is None:
        named, route = runtime.wildcard_of(key.organisation, name)
    if route is None or (key.allowed is not None and route.name not in key.allowed and named not in key.allowed):
        names = sorted(runtime.routes_of(key))
        shown = ", ".join(names[:MAX_NAMES_SHOWN]) + (f" and {len(names) - MAX_NAMES_SHOWN} more" if len(names) > MAX_NAMES_SHOWN else "")
        hint = f"This key may use: {shown}." if names else "This key may use no route yet: ask its owner."
        return Refusal(
            "model_not_found", STEP, f"There is no model {name!r} for this key. {hint}", "model", {"models": names[:MAX_NAMES_SHOWN]}
        )
    if route.flagging is not None:
        refusal = _by_flags(exchange, route, route.flagging)
    else:
        exchange.route = route
        if route.stopped is not None:
            return _stopped(route)
        if exchange.cap_injected:
            exchange.max_output = route.max_output
        refusal = choose(exchange, route, exchange.engine.loop.time)
    if runtime.relief is not None and refusal is None:
        refusal = relieve(exchange, runtime, runtime.relief)
    if exchange.request.plain:
        return refusal
    named_fallbacks = exchange.request.headers.get(FALLBACKS)
    if named_fallbacks is not None:
        return _with_fallbacks(exchange, runtime, named_fallbacks, refusal)
    return refusal


def _by_flags(exchange: Exchange, route: CompiledRoute, flagging: RouteFlags) -> Refusal | None:
    """The plan on a route that flags decide about request by request: with those that act, and again where the region of its first
    target has one of its own."""
    asked = exchange.max_output
    acting = flagging.acting(exchange, route)
    found = exchange.route = flagging.route_while(acting, route)
    if found.stopped is not None:
        return _stopped(found)
    if exchange.cap_injected:
        exchange.max_output = found.max_output
    refusal = choose(exchange, found, exchange.engine.loop.time)
    if refusal is not None or not flagging.regional:
        return refusal
    regional = flagging.acting_in(exchange.plan[0].region, exchange, route)
    if not regional:
        return None
    found = exchange.route = flagging.route_while(acting | regional, route)
    if found.stopped is not None:
        return _stopped(found)
    exchange.choice = None
    exchange.max_output = found.max_output if exchange.cap_injected else asked
    return choose(exchange, found, exchange.engine.loop.time)


def _stopped(route: CompiledRoute) -> Refusal:
    """Names the flags that acted: an answer that no target gave has no other place for them."""
    assert route.stopped is not None
    return Refusal(route.stopped[0], STEP, route.stopped[1], detail={"flags": list(route.flags)} if route.flags else None)


def _with_fallbacks(exchange: Exchange, runtime: Runtime, named: bytes, refusal: Refusal | None) -> Refusal | None:
    """The app's own fallbacks for this request: targets of further routes, within what its key may use, after the route's own."""
    key = exchange.key
    assert key is not None
    plan = [] if refusal is not None else list(exchange.plan)
    dropped: list[Dropped] = []
    names = [name.strip() for name in named.decode("utf-8", "replace").split(",") if name.strip()]
    if len(names) > MAX_FALLBACKS:
        return Refusal("invalid_field", STEP, f"The header x-bulkhead-fallbacks takes up to {MAX_FALLBACKS} names.", FALLBACKS.decode())
    for name in names:
        table = runtime.tables.get(key.organisation)
        route = table.get(name) if table is not None else None
        named_as = name
        if route is None:
            named_as, route = runtime.wildcard_of(key.organisation, name)
        if route is None or (key.allowed is not None and route.name not in key.allowed and named_as not in key.allowed):
            message = f"There is no model {name[:80]!r} for this key, so it cannot be a fallback."
            return Refusal("model_not_found", STEP, message, FALLBACKS.decode())
        if route.flagging is not None:
            route = route.flagging.route_while(route.flagging.acting(exchange, route), route)
        if route.stopped is None:
            seen = {target.label for target in plan}
            found, left_out = order(route, route.targets, exchange, exchange.engine.loop.time())
            plan += [target for target in found if target.label not in seen]
            dropped += left_out
    if dropped:
        choice = exchange.choice = exchange.choice or Choice()
        choice.dropped = (*choice.dropped, *dropped)
    if not plan:
        return refusal
    exchange.plan = tuple(plan)
    return None
