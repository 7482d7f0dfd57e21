"""``weighted``: shares of the requests by weight (canary, A/B, active-active), sticky where the route says by what.

Weighted rendezvous hashing: each target draws a number from the caller's value and its own name, scaled by its weight; the highest goes
first. A target's chance to be first is exactly its share, also of those that are left when one is out; a caller keeps its target while
that one is up, and raising one target's weight moves callers to it and between no others.

Weight 0: only when all others are out, whatever its priority.
"""

from __future__ import annotations

import math
import random
from hashlib import blake2b
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from apps.proxy.exchange import Exchange
    from apps.proxy.runtime import CompiledRoute, CompiledTarget
    from apps.proxy.strategies.base import Rank

_SCALE = 1 / (1 << 64)


def rank(target: CompiledTarget, home: str) -> Rank:
    return (int(target.weight == 0), target.priority)


def arrange(targets: list[CompiledTarget], route: CompiledRoute, exchange: Exchange, now: float) -> list[CompiledTarget]:
    value = sticky_value(route.resilience.sticky, exchange)
    if not value:
        draws = {target: -math.log(1.0 - random.random()) / (target.weight or 1) for target in targets}
    else:
        # The route's id is part of it: the same callers must not be the first to get every route's canary.
        draws = {target: _drawn(f"{route.id}\0{target.variant}\0{target.label}\0{value}") / (target.weight or 1) for target in targets}
    return sorted(targets, key=draws.__getitem__)


def _drawn(text: str) -> float:
    """An exponentially distributed number of this text, the same in every process: of such, divided by weights, the least is fair."""
    number = int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")
    return -math.log((number + 1) * _SCALE)


def sticky_value(sticky: str, exchange: Exchange) -> str:
    """What keeps this caller on one target; empty where it named nothing: then chance decides."""
    if sticky == "user":
        return exchange.attribution[2]
    if sticky == "session":
        return exchange.request.headers.get(b"x-bulkhead-session", b"").decode("latin-1")
    if sticky == "key":
        return exchange.key.id if exchange.key is not None else ""
    return ""
