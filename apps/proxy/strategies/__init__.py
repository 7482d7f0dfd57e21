"""The order among a route's healthy targets, one strategy per file. ``STRATEGIES`` is the register: config names them here.

A strategy says two things. ``rank``, at publish time: targets of a lower rank always come before those of a higher one.
``arrange``, per request: the order among targets of one rank; None where the ranks say it all, which costs a request nothing.

Active-passive is ``priority`` (or a weight of 0), active-active is ``weighted``.
"""

from apps.proxy.strategies import least_cost, least_latency, priority, region, weighted
from apps.proxy.strategies.base import Strategy

STRATEGIES: dict[str, Strategy] = {
    "priority": Strategy(priority.rank, None),
    "weighted": Strategy(weighted.rank, weighted.arrange),
    "least_latency": Strategy(priority.rank, least_latency.arrange),
    "least_cost": Strategy(priority.rank, least_cost.arrange),
    "region": Strategy(region.rank, None),
}

__all__ = ["STRATEGIES", "Strategy"]
