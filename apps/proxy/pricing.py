"""Prices: what tokens cost, and the most that a request can cost. Pure; on the hot path.

Unit: nano-dollars per million tokens (or requests); an attempt's cost is summed first and divided once,
rounded up (``apps.contracts.money``). ``compile_price`` does at config time whatever does not depend on
the request; ``cost_nano``, ``bound_nano`` and ``price_at`` say the same of uncompiled contract structs.

A tier's prices replace the base ones for the *whole* request as soon as its input reaches the tier. A kind
that the tier leaves out keeps the base price; cache reads and writes without a price of their own cost as input.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol, TypeVar

from apps.contracts.money import MAX_NANO, MILLION
from apps.contracts.snapshot import PriceTier, PriceVersion
from apps.contracts.usage import Tokens


class PriceError(ValueError):
    """A price version that cannot be charged by; the message names the field and what to write instead."""


class _Band:
    """Prices that hold for inputs of ``start`` to ``last`` tokens (``last`` None: without end)."""

    __slots__ = (
        "cache_read",
        "cache_write",
        "dearest_input",
        "input",
        "last",
        "output",
        "start",
    )

    def __init__(self, start: int, last: int | None, base: PriceVersion, tier: PriceTier | None) -> None:
        self.start = start
        self.last = last
        self.input = base.input if tier is None or tier.input is None else tier.input
        self.output = base.output if tier is None or tier.output is None else tier.output
        read = base.cache_read if tier is None or tier.cache_read is None else tier.cache_read
        write = base.cache_write if tier is None or tier.cache_write is None else tier.cache_write
        self.cache_read = self.input if read is None else read
        self.cache_write = self.input if write is None else write
        self.dearest_input = max(self.input, self.cache_read, self.cache_write)


class Price:
    """One price version, compiled: ``cost`` after an attempt, ``bound`` before it.

    ``version``, ``valid_from_ms`` and ``valid_to_ms`` are the contract's; the object is pinned when an attempt
    starts and kept to its end, so that a price change in between changes nothing.
    """

    __slots__ = (
        "_bands",
        "_cache_read",
        "_cache_write",
        "_dearest_input",
        "_input",
        "_output",
        "_request",
        "_tiered",
        "valid_from_ms",
        "valid_to_ms",
        "version",
    )

    def __init__(self, price: PriceVersion) -> None:
        tiers = sorted(price.tiers, key=lambda tier: tier.from_input_tokens)
        _refuse_unchargeable(price, tiers)
        self.version = price.version
        self.valid_from_ms = price.valid_from_ms
        self.valid_to_ms = price.valid_to_ms
        starts = [tier.from_input_tokens for tier in tiers]
        # A tier from 0 tokens on leaves no input to the base prices.
        bands = [] if starts[:1] == [0] else [_Band(0, starts[0] - 1 if starts else None, price, None)]
        for number, tier in enumerate(tiers):
            last = starts[number + 1] - 1 if number + 1 < len(tiers) else None
            bands.append(_Band(tier.from_input_tokens, last, price, tier))
        first = bands[0]
        self._bands = tuple(bands)
        self._tiered = len(bands) > 1
        self._input = first.input
        self._output = first.output
        self._cache_read = first.cache_read
        self._cache_write = first.cache_write
        self._dearest_input = first.dearest_input
        self._request = price.request

    def cost(self, tokens: Tokens) -> int:
        """Nano-dollars of one attempt, rounded up once.

        Counts that a provider could not have meant are read so that nothing is under-billed: negative ones as
        zero, and cached tokens beyond ``input`` as input of their own. A cost beyond int64 is cut to it.
        """
        plain, output, read, write = (
            tokens.input,
            tokens.output,
            tokens.cache_read,
            tokens.cache_write,
        )
        if plain < 0 or output < 0 or read < 0 or write < 0:
            plain, output, read, write = (
                max(plain, 0),
                max(output, 0),
                max(read, 0),
                max(write, 0),
            )
        if read or write:
            plain = max(plain - read - write, 0)
        if self._tiered:
            size = plain + read + write
            band = self._bands[0]
            for higher in self._bands:
                if higher.start > size:
                    break
                band = higher
            total = plain * band.input + read * band.cache_read + write * band.cache_write + output * band.output
        elif read or write:
            total = plain * self._input + read * self._cache_read + write * self._cache_write + output * self._output
        else:
            total = plain * self._input + output * self._output
        cost = -(-(total + self._request) // MILLION)
        if cost > MAX_NANO:
            return MAX_NANO
        return cost

    def bound(self, input_bytes: int, max_output_tokens: int, n: int = 1) -> int:
        """The most that a text request can cost, in nano-dollars: its reservation.

        input_bytes: UTF-8 bytes of the whole JSON body (a token of text is at least one byte, and the body's
        keys and quotes outweigh a chat template's own tokens). max_output_tokens: per answer; n: answers asked for.
        Takes the dearest way to be billed: any band the input can reach, all of it at the dearest of plain,
        cache read and cache write. Cut to int64, which is more than any limit can hold.
        """
        output = max_output_tokens * n
        if not self._tiered:
            total = input_bytes * self._dearest_input + output * self._output
        else:
            total = 0
            for band in self._bands:
                if band.start > input_bytes:
                    break
                most = input_bytes if band.last is None or band.last > input_bytes else band.last
                total = max(total, most * band.dearest_input + output * band.output)
        bound = -(-(total + self._request) // MILLION)
        if bound > MAX_NANO:
            return MAX_NANO
        return bound


def compile_price(price: PriceVersion) -> Price:
    """Compile one version. Raises PriceError for negative or out-of-range prices and for two tiers from one number."""
    return Price(price)


def compile_prices(versions: Iterable[PriceVersion]) -> tuple[Price, ...]:
    """All versions of one model, ready for ``price_at``. Raises PriceError."""
    return tuple(Price(version) for version in versions)


def _refuse_unchargeable(price: PriceVersion, tiers: Sequence[PriceTier]) -> None:
    base = {
        "input": price.input,
        "output": price.output,
        "cache_read": price.cache_read,
        "cache_write": price.cache_write,
    }
    fields: dict[str, int | None] = {**base, "request": price.request}
    for number, tier in enumerate(tiers):
        fields |= {f"tiers[{number}].{name}": getattr(tier, name) for name in base}
        if tier.from_input_tokens < 0:
            raise PriceError(f"price {price.version!r}: tiers[{number}].from_input_tokens is negative: write 0 or more tokens")
        if number and tier.from_input_tokens == tiers[number - 1].from_input_tokens:
            raise PriceError(f"price {price.version!r}: two tiers start at {tier.from_input_tokens} input tokens: keep one of them")
    for name, value in fields.items():
        if value is not None and not 0 <= value <= MAX_NANO:
            raise PriceError(f"price {price.version!r}: {name} is {value}: write nano-dollars per million, from 0 to {MAX_NANO}")
    if price.valid_to_ms is not None and price.valid_to_ms <= price.valid_from_ms:
        raise PriceError(f"price {price.version!r}: valid_to_ms must be later than valid_from_ms")


class _Dated(Protocol):
    @property
    def valid_from_ms(self) -> int: ...
    @property
    def valid_to_ms(self) -> int | None: ...


_AnyPrice = TypeVar("_AnyPrice", bound=_Dated)


def price_at(versions: Sequence[_AnyPrice], now_ms: int) -> _AnyPrice | None:
    """The version in force at ``now_ms`` (milliseconds since the epoch); None where the model has no price then.

    Takes contract or compiled versions, in any order. Where validities overlap, the one that began last holds.
    """
    found: _AnyPrice | None = None
    for version in versions:
        start, end = version.valid_from_ms, version.valid_to_ms
        if start <= now_ms and (end is None or now_ms < end) and (found is None or start > found.valid_from_ms):
            found = version
    return found


def cost_nano(price: PriceVersion, tokens: Tokens) -> int:
    """``Price.cost`` for a price that is used once; compile it where it is used again and again."""
    return Price(price).cost(tokens)


def bound_nano(price: PriceVersion, *, input_bytes: int, max_output_tokens: int, n: int) -> int:
    """``Price.bound`` for a price that is used once; compile it where it is used again and again."""
    return Price(price).bound(input_bytes, max_output_tokens, n)
