"""Where to: the route that the app named, and its targets in order, less those that are switched off."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.proxy.errors import Refusal

if TYPE_CHECKING:
    from apps.proxy.exchange import Exchange
    from apps.proxy.runtime import Runtime

STEP = "plan"
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
    exchange.route = route
    if route.stopped is not None:
        return Refusal(route.stopped[0], STEP, route.stopped[1])
    targets = route.targets
    for target in targets:
        if target.killed:
            targets = tuple(t for t in targets if not t.killed)
            break
    if not targets:
        reasons = "; ".join(f"{t.label}: {t.killed}" for t in route.targets)
        return Refusal("no_target", STEP, f"No target of the route {route.name!r} may be called now ({reasons}).")
    exchange.plan = targets
    if exchange.cap_injected:
        exchange.max_output = route.max_output
    return None
