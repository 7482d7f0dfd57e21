"""How long it may take and who goes first: the route's deadline and the key's priority, both of which the app may only lower."""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.proxy.errors import Refusal

if TYPE_CHECKING:
    from apps.proxy.exchange import Exchange
    from apps.proxy.runtime import Runtime

STEP = "bound"
_PRIORITIES = {b"high": 0, b"normal": 1, b"low": 2}


def bound(exchange: Exchange, runtime: Runtime) -> Refusal | None:
    route, key = exchange.route, exchange.key
    assert route is not None and key is not None
    exchange.total = route.total
    exchange.priority = key.priority
    if exchange.request.plain:
        return None
    headers = exchange.request.headers
    value = headers.get(b"x-bulkhead-timeout-ms")
    if value is not None:
        if not value.isdigit() or not int(value[:12]) > 0:
            return Refusal(
                "invalid_field", STEP, "The header x-bulkhead-timeout-ms takes a whole number of milliseconds.", "x-bulkhead-timeout-ms"
            )
        exchange.total = min(route.total, int(value[:12]) / 1000)
    value = headers.get(b"x-bulkhead-priority")
    if value is not None:
        wanted = _PRIORITIES.get(value.strip().lower())
        if wanted is None:
            return Refusal("invalid_field", STEP, "The header x-bulkhead-priority takes high, normal or low.", "x-bulkhead-priority")
        exchange.priority = max(key.priority, wanted)
    return None
