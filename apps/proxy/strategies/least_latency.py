"""``least_latency``: of two targets picked at random, the one with the shorter expected wait goes first (power of two choices).

The best of *all* would draw every proxy's traffic at once to the target that looked quickest a moment ago; the better of two does not,
and is nearly as good. The others follow by expected wait. The wait is ``Health.expected``: peak-EWMA times what is in flight.
"""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from apps.proxy.exchange import Exchange
    from apps.proxy.runtime import CompiledRoute, CompiledTarget


def arrange(targets: list[CompiledTarget], route: CompiledRoute, exchange: Exchange, now: float) -> list[CompiledTarget]:
    waits = {target: target.state.health.expected(now) for target in targets}
    if len(targets) == 2:
        one, other = targets
        quicker = waits[one] < waits[other] or (waits[one] == waits[other] and random.random() < 0.5)
        return targets if quicker else [other, one]
    picked = random.sample(targets, 2)
    first = min(picked, key=waits.__getitem__)
    return [first, *sorted((target for target in targets if target is not first), key=waits.__getitem__)]
