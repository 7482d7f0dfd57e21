"""The most that an attempt can cost: what is reserved under budgets before anybody is called.

Invariant: for whatever a provider honours (the output cap, the number of answers and images, the uses of its own tools, its model's
context window), what the attempt is settled at is never more than what was reserved. What has no such bound says why, and is refused
where a hard budget applies.

Requests of text and pictures alone, which is nearly every one, are bounded by the bytes of their body (``Price.bound``). All others say
what they can have beyond that in ``Extras``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from apps.contracts.metering import BESIDE, UNITS, WHOLE, parts_of

if TYPE_CHECKING:
    from apps.contracts.pricing import Price
    from apps.proxy.exchange import Exchange
    from apps.proxy.runtime import CompiledTarget

_NO_METERS: Mapping[str, int] = {}


class Extras:
    """What a request can cost beyond the text of its body.

    input, output: tokens on top of those that its bytes and its cap allow. meters: the most of each (``apps.contracts.metering``).
    uncounted: why its input tokens cannot be counted beforehand; a model reads no more than its window, where that is known.
    open_output: why its output tokens have no bound; empty where they have one. rounds: how often the model may read its input.
    unbounded: why nothing bounds it at all. dear: it may be billed as sound, or for an hour's cache.
    """

    __slots__ = ("dear", "input", "meters", "open_output", "output", "rounds", "unbounded", "uncounted")

    def __init__(
        self,
        *,
        input: int = 0,
        output: int = 0,
        meters: Mapping[str, int] = _NO_METERS,
        uncounted: str = "",
        open_output: str = "",
        rounds: int = 1,
        unbounded: str = "",
        dear: bool = False,
    ) -> None:
        self.input = input
        self.output = output
        self.meters = meters
        self.uncounted = uncounted
        self.open_output = open_output
        self.rounds = rounds
        self.unbounded = unbounded
        self.dear = dear

    def bare(self) -> bool:
        """It says no more than how many tokens there are."""
        return not (self.meters or self.uncounted or self.open_output or self.unbounded or self.dear) and self.rounds == 1


def priced_by(exchange: Exchange, price: Price | None) -> Price | None:
    """The price, where it says anything of what this request is billed by: tokens, or the units of its kind."""
    if price is None or price.tokens:
        return price
    extras = exchange.extras
    return (
        price if extras is not None and any(parts_of(meter)[0] in WHOLE and price.charges_for(meter) for meter in extras.meters) else None
    )


def most_of(
    exchange: Exchange, target: CompiledTarget, price: Price, *, added_input: int = 0, max_output: int | None = None
) -> tuple[int, str]:
    """(nano-dollars at most, why that is no bound; empty where it is one). max_output: of one answer, where it is not the request's own.

    Where there is no bound the amount is that of what can be counted.
    """
    most_output = exchange.max_output if max_output is None else max_output
    counted = exchange.input_bound + added_input
    extras = exchange.extras
    if extras is None:
        return price.bound(counted, most_output, exchange.n), exchange.unbounded
    counted += extras.input
    output = most_output * exchange.n + extras.output
    if extras.bare():
        return price.bound(counted, output), ""
    why = extras.unbounded
    whole = False
    for meter in extras.meters:
        unit = parts_of(meter)[0]
        if unit in WHOLE:
            whole = whole or price.charges_for(meter)
        elif not price.charges_for(meter):
            why = why or f"{BESIDE.get(unit, UNITS.get(unit, unit))} are billed apart, and {target.model!r} has no price for them"
    if not whole:  # tokens count
        if extras.uncounted or extras.rounds > 1:
            if target.window:
                counted = target.window * extras.rounds
            else:
                reason = extras.uncounted or "its model reads the input again with each use of a provider's tool"
                why = why or f"{reason}, and the context window of {target.model!r} is not known"
        why = why or extras.open_output
    return price.bound_metered(counted, output, extras.meters, dear=extras.dear), why
