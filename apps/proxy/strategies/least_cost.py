"""``least_cost``: the cheapest target for a request of this size first, by the prices in force: input as it is estimated for each
target's tokenizer, output as far as the cap goes, long-context tiers included.

Targets without a price come last, because nobody knows what they cost; what a route says of them (a default, nothing at all) is a price.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from apps.proxy.context import Size

if TYPE_CHECKING:
    from apps.proxy.exchange import Exchange
    from apps.proxy.runtime import CompiledRoute, CompiledTarget

_UNKNOWN = 1 << 63


def arrange(targets: list[CompiledTarget], route: CompiledRoute, exchange: Exchange, now: float) -> list[CompiledTarget]:
    size = Size.of(exchange)
    now_ms = exchange.started_us // 1000

    def cost(target: CompiledTarget) -> int:
        price = target.prices.at(now_ms) if target.prices is not None else None
        if price is None:
            return _UNKNOWN
        return price.bound(size.tokens(target), exchange.max_output, exchange.n)

    return sorted(targets, key=cost)
