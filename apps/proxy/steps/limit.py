"""How much at once and in a while: permits of the limits of key, team, organisation, route and model, all of them or none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.proxy.errors import Refusal

if TYPE_CHECKING:
    from apps.proxy.exchange import Exchange
    from apps.proxy.runtime import Runtime

STEP = "limit"


def limit(exchange: Exchange, runtime: Runtime) -> Refusal | None:
    """Last of the steps: whoever is refused before has taken nothing. The model is the plan's first target's."""
    table = runtime.limits
    if table is None:
        return None
    key, route = exchange.key, exchange.route
    assert key is not None and route is not None
    at = (key.id, route.id, exchange.plan[0].model)
    windows = table.sets.get(at)
    limits = exchange.engine.limits
    if windows is None:
        windows = tuple(limits.window_of(fragment, table.version) for fragment in table.applying(key, route, at[2]))
        table.remember(at, windows)
    return limits.admit(exchange, windows) if windows else None
