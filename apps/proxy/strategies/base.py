"""What a strategy is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from apps.proxy.exchange import Exchange
    from apps.proxy.runtime import CompiledRoute, CompiledTarget

Rank = tuple[int, ...]


class Strategy(NamedTuple):
    """rank(target, home region): see ``apps.proxy.strategies``. arrange(targets of one rank, route, exchange, now): the same ones, in
    order; ``now`` is the loop's time, seconds."""

    rank: Callable[[CompiledTarget, str], Rank]
    arrange: Callable[[list[CompiledTarget], CompiledRoute, Exchange, float], list[CompiledTarget]] | None
