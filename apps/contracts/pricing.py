"""Prices: what tokens cost, and the most that a request can cost. Pure; in the proxy on the hot path, in the control plane wherever a
past or planned request is priced, so that both always agree.

Unit: nano-dollars per million tokens (or requests); an attempt's cost is summed first and divided once, rounded up
(``apps.contracts.money``). ``Price`` does at config time whatever does not depend on the request: discounts are multiplied into its
integers, and where one leaves a fraction, all of them are scaled and the one division divides by that much more.

A tier's prices replace the base ones for the *whole* request as soon as its input reaches the tier. A kind that the tier leaves out
keeps the base price. A kind without any price costs as the one it is part of: cache reads and writes, sound and pictures that come in
as input; reasoning, sound and pictures that come out as output.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from fractions import Fraction
from math import lcm
from typing import Protocol, TypeVar

from apps.contracts.metering import HOUR, amount_of, billed_whole, surely_whole, total_of
from apps.contracts.money import MAX_NANO, MILLION
from apps.contracts.snapshot import PriceTier, PriceVersion
from apps.contracts.usage import TokenDetails, Tokens

KINDS: dict[str, str] = {
    "input": "",
    "output": "",
    "cache_read": "input",
    "cache_write": "input",
    "reasoning": "output",
    "audio_input": "input",
    "audio_output": "output",
    "image_input": "input",
    "image_output": "output",
}
"""Every kind of token that can have a price -> the kind it costs as where it has none."""

WHOLE = 10_000
"""Discounts are hundredths of a percent: this many of them are everything."""
DAY_MINUTES = 1_440
HOUR_TIMES_INPUT = 2
"""What is written to a cache for an hour costs so many times plain input where it has no price of its own: Anthropic's published ratio,
and nobody else reports such tokens. Never less than other writes."""
UNITS_ONLY = PriceVersion(version="units", input=0, output=0)
"""Of a model that has prices of units and none of tokens."""


class PriceError(ValueError):
    """A price version that cannot be charged by; the message names the field and what to write instead."""


class _Band:
    """Prices that hold for inputs of ``start`` to ``last`` tokens (``last`` None: without end), in ``scale``-ths of nano-dollars."""

    __slots__ = (
        "audio_input",
        "audio_output",
        "cache_read",
        "cache_write",
        "cache_write_hour",
        "dearest_any",
        "dearest_input",
        "dearest_output",
        "image_input",
        "image_output",
        "input",
        "last",
        "output",
        "reasoning",
        "start",
    )

    def __init__(self, start: int, last: int | None, amounts: dict[str, int], hour: int | None) -> None:
        self.start = start
        self.last = last
        self.input = amounts["input"]
        self.output = amounts["output"]
        self.cache_read = amounts["cache_read"]
        self.cache_write = amounts["cache_write"]
        self.reasoning = amounts["reasoning"]
        self.audio_input = amounts["audio_input"]
        self.audio_output = amounts["audio_output"]
        self.image_input = amounts["image_input"]
        self.image_output = amounts["image_output"]
        self.dearest_input = max(self.input, self.cache_read, self.cache_write, self.image_input)
        self.dearest_output = max(self.output, self.reasoning, self.audio_output, self.image_output)
        self.cache_write_hour = max(self.cache_write, HOUR_TIMES_INPUT * self.input) if hour is None else hour
        self.dearest_any = max(self.dearest_input, self.audio_input, self.cache_write_hour)
        """With what only few requests have: sound that comes in, and what is written to a cache for an hour."""


def _amounts(base: PriceVersion, tier: PriceTier | None) -> dict[str, int]:
    """What each kind costs in a tier (None: below all tiers), before any discount."""
    found: dict[str, int] = {}
    for kind, stand_in in KINDS.items():
        own = None if tier is None else getattr(tier, kind)
        amount = getattr(base, kind) if own is None else own
        found[kind] = found[stand_in] if amount is None else amount
    return found


class Price:
    """One price version, compiled: ``cost`` after an attempt, ``bound`` before it.

    The object is pinned when an attempt starts and kept to its end, so that a price change in between changes nothing.
    ``version`` names it in the records: the contract's label, and after a ``~`` what was taken off.
    """

    __slots__ = (
        "_bands",
        "_batch",
        "_cache_read",
        "_cache_write",
        "_dearest_input",
        "_dearest_output",
        "_divisor",
        "_elaborate",
        "_input",
        "_output",
        "_request",
        "_tiered",
        "_units",
        "tokens",
        "valid_from_ms",
        "valid_to_ms",
        "version",
    )

    def __init__(
        self,
        price: PriceVersion,
        *,
        negotiated: int = 0,
        off_peak: int = 0,
        batch: bool = False,
        units: Mapping[str, int] | None = None,
    ) -> None:
        """negotiated, off_peak: hundredths of a percent that are taken off. batch: as batch work is priced. units: what a unit of each
        meter costs (``apps.contracts.metering``), nano-dollars per million.

        What was negotiated comes off what is left after the others; batch and off-peak do not add up, the larger one counts.
        """
        tiers = sorted(price.tiers, key=lambda tier: tier.from_input_tokens)
        _refuse_unchargeable(price, tiers)
        for name, share in (("negotiated", negotiated), ("off_peak", off_peak)):
            if not 0 <= share <= WHOLE:
                raise PriceError(f"price {price.version!r}: a {name} discount of {share}: write hundredths of a percent, 0 to {WHOLE}")
        taken = max(off_peak, price.batch_discount if batch else 0)
        factor = Fraction(WHOLE - taken, WHOLE) * Fraction(WHOLE - negotiated, WHOLE)
        self.version = price.version
        if off_peak:
            self.version += f"~{percent_text(off_peak)}-off-peak"
        if negotiated:
            self.version += f"~{percent_text(negotiated)}"
        self.valid_from_ms = price.valid_from_ms
        self.valid_to_ms = price.valid_to_ms
        starts = [tier.from_input_tokens for tier in tiers]
        # A tier from 0 tokens on leaves no input to the base prices.
        plan: list[tuple[int, int | None, dict[str, int]]] = []
        if starts[:1] != [0]:
            plan.append((0, starts[0] - 1 if starts else None, _amounts(price, None)))
        for number, tier in enumerate(tiers):
            plan.append((tier.from_input_tokens, starts[number + 1] - 1 if number + 1 < len(tiers) else None, _amounts(price, tier)))
        given = dict(units or {})
        for name, amount in given.items():
            if not 0 <= amount <= MAX_NANO:
                raise PriceError(f"price {price.version!r}: {name} is {amount}: write nano-dollars per million, from 0 to {MAX_NANO}")
        exact = [price.request * factor, *(amount * factor for _, _, amounts in plan for amount in amounts.values())]
        exact += [amount * factor for amount in given.values()]
        scale = lcm(*(amount.denominator for amount in exact))
        own = {name: int(amount * factor * scale) for name, amount in given.items()}
        hour = own.pop(HOUR, None)
        bands = [
            _Band(start, last, {kind: int(amount * factor * scale) for kind, amount in amounts.items()}, hour)
            for start, last, amounts in plan
        ]
        self._units: dict[str, int] = own
        self.tokens = price is not UNITS_ONLY
        """Tokens have prices: where they have none, only what is billed by units can be charged."""
        first = bands[0]
        self._divisor = MILLION * scale
        self._bands = tuple(bands)
        self._tiered = len(bands) > 1
        self._input = first.input
        self._output = first.output
        self._cache_read = first.cache_read
        self._cache_write = first.cache_write
        self._dearest_input = first.dearest_input
        self._dearest_output = first.dearest_output
        self._request = int(price.request * factor * scale)
        self._batch: Price | None = None
        if price.batch_discount and not batch:
            self._batch = Price(price, negotiated=negotiated, off_peak=off_peak, batch=True, units=units)
        apart = any(
            getattr(priced, kind) is not None
            for priced in (price, *tiers)
            for kind in ("reasoning", "audio_input", "audio_output", "image_input", "image_output")
        )
        self._elaborate = self._tiered or apart or self._batch is not None or bool(given)

    def cost(self, tokens: Tokens) -> int:
        """Nano-dollars of one attempt, rounded up once.

        Counts that a provider could not have meant are read so that nothing is under-billed: negative ones as zero, and cached tokens
        beyond ``input``, reasoning beyond ``output`` as tokens of their own. Cached tokens are taken to be text: nobody says how
        many of them were sound or pictures. A cost beyond int64 is cut to it.
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
        if self._elaborate or (tokens.details is not None and tokens.details.cache_write_hour):
            return self._elaborate_cost(plain, output, read, write, tokens)
        if read or write:
            total = plain * self._input + read * self._cache_read + write * self._cache_write + output * self._output
        else:
            total = plain * self._input + output * self._output
        cost = -(-(total + self._request) // self._divisor)
        if cost > MAX_NANO:
            return MAX_NANO
        return cost

    def _elaborate_cost(self, plain: int, output: int, read: int, write: int, tokens: Tokens) -> int:
        """``cost`` where tiers, kinds with prices of their own or a batch price have a say. The counts are cleaned already."""
        details = tokens.details
        if details is not None and details.batch and self._batch is not None:
            return self._batch._elaborate_cost(plain, output, read, write, tokens)
        band = self._bands[0]
        if self._tiered:
            size = plain + read + write
            for higher in self._bands:
                if higher.start > size:
                    break
                band = higher
        if details is not None and details.meters and self._units and billed_whole(self._units, details.meters):
            return min(-(-(total_of(self._units, details.meters) + self._request) // self._divisor), MAX_NANO)
        reasoning = max(tokens.reasoning, 0)
        total = read * band.cache_read + write * band.cache_write + reasoning * band.reasoning
        if details is not None:
            if details.cache_write_hour > 0:
                total += min(details.cache_write_hour, write) * (band.cache_write_hour - band.cache_write)
            if details.meters and self._units:
                total += total_of(self._units, details.meters)
            sound_in, sound_out = max(details.audio_input, 0), max(details.audio_output, 0)
            picture_in, picture_out = max(details.image_input, 0), max(details.image_output, 0)
            plain -= sound_in + picture_in
            output -= sound_out + picture_out
            total += sound_in * band.audio_input + sound_out * band.audio_output
            total += picture_in * band.image_input + picture_out * band.image_output
        total += max(plain, 0) * band.input + max(output - reasoning, 0) * band.output
        return min(-(-(total + self._request) // self._divisor), MAX_NANO)

    def bound(self, input_bytes: int, max_output_tokens: int, n: int = 1) -> int:
        """The most that a request of text and pictures can cost, in nano-dollars: its reservation.

        input_bytes: UTF-8 bytes of the whole JSON body (a token of text is at least one byte, and the body's
        keys and quotes outweigh a chat template's own tokens), and the tokens that its pictures can have.
        max_output_tokens: per answer; n: answers asked for.
        Takes the dearest way to be billed: any band the input can reach, all of it at the dearest of plain, cache read, cache write
        and picture, all output at the dearest of its kinds. Sound that comes in is not in it: whoever sends some is refused where a
        bound is needed. Cut to int64, which is more than any limit can hold.
        """
        output = max_output_tokens * n
        if not self._tiered:
            total = input_bytes * self._dearest_input + output * self._dearest_output
        else:
            total = 0
            for band in self._bands:
                if band.start > input_bytes:
                    break
                most = input_bytes if band.last is None or band.last > input_bytes else band.last
                total = max(total, most * band.dearest_input + output * band.dearest_output)
        bound = -(-(total + self._request) // self._divisor)
        if bound > MAX_NANO:
            return MAX_NANO
        return bound

    def bound_metered(self, input_tokens: int, output_tokens: int, meters: Mapping[str, int], *, dear: bool = True) -> int:
        """The most that a request of any kind can cost, in nano-dollars, where it can have so many tokens and so much of each meter.

        Invariant: for tokens of up to these counts, however they are split into kinds, and meters of up to these, ``cost`` is never
        more. dear: input may be sound, or written to a cache for an hour; without it, as in ``bound``, it is neither.
        """
        total = 0
        if not surely_whole(self._units, meters):
            for band in self._bands:
                if band.start > input_tokens:
                    break
                most = input_tokens if band.last is None or band.last > input_tokens else band.last
                dearest = band.dearest_any if dear else band.dearest_input
                total = max(total, most * dearest + output_tokens * band.dearest_output)
        return min(-(-(total + total_of(self._units, meters) + self._request) // self._divisor), MAX_NANO)

    def charges_for(self, meter: str) -> bool:
        """Whether a unit of this meter has a price."""
        return amount_of(self._units, meter) is not None


def percent_text(share: int) -> str:
    """Hundredths of a percent as people write them: ``1250`` -> ``12.5%``."""
    whole, part = divmod(share, 100)
    return f"{whole}.{part:02d}".rstrip("0").rstrip(".") + "%" if part else f"{whole}%"


def compile_prices(versions: Iterable[PriceVersion]) -> tuple[Price, ...]:
    """All versions of one model, ready for ``price_at``. Raises PriceError."""
    return tuple(Price(version) for version in versions)


def _refuse_unchargeable(price: PriceVersion, tiers: Sequence[PriceTier]) -> None:
    fields: dict[str, int | None] = {kind: getattr(price, kind) for kind in KINDS}
    fields["request"] = price.request
    for number, tier in enumerate(tiers):
        fields |= {f"tiers[{number}].{kind}": getattr(tier, kind) for kind in KINDS}
        if tier.from_input_tokens < 0:
            raise PriceError(f"price {price.version!r}: tiers[{number}].from_input_tokens is negative: write 0 or more tokens")
        if number and tier.from_input_tokens == tiers[number - 1].from_input_tokens:
            raise PriceError(f"price {price.version!r}: two tiers start at {tier.from_input_tokens} input tokens: keep one of them")
    for name, value in fields.items():
        if value is not None and not 0 <= value <= MAX_NANO:
            raise PriceError(f"price {price.version!r}: {name} is {value}: write nano-dollars per million, from 0 to {MAX_NANO}")
    for name, share in (("batch_discount", price.batch_discount), *((f"off_peak[{n}]", o.discount) for n, o in enumerate(price.off_peak))):
        if not 0 <= share <= WHOLE:
            raise PriceError(f"price {price.version!r}: {name} is {share}: write hundredths of a percent, from 0 to {WHOLE}")
    minutes: set[int] = set()
    for number, time in enumerate(price.off_peak):
        if not (0 <= time.from_minute < DAY_MINUTES and 0 <= time.to_minute < DAY_MINUTES) or time.from_minute == time.to_minute:
            raise PriceError(f"price {price.version!r}: off_peak[{number}]: write two different minutes of the day, 0 to {DAY_MINUTES - 1}")
        own = _minutes(time.from_minute, time.to_minute)
        if minutes & own:
            raise PriceError(f"price {price.version!r}: off_peak[{number}] overlaps another: part them")
        minutes |= own
    if price.valid_to_ms is not None and price.valid_to_ms <= price.valid_from_ms:
        raise PriceError(f"price {price.version!r}: valid_to_ms must be later than valid_from_ms")


def _minutes(start: int, end: int) -> set[int]:
    return set(range(start, end)) if start < end else {*range(start, DAY_MINUTES), *range(end)}


class _Dated(Protocol):
    @property
    def valid_from_ms(self) -> int: ...
    @property
    def valid_to_ms(self) -> int | None: ...


_AnyPrice = TypeVar("_AnyPrice", bound=_Dated)


def price_at(versions: Iterable[_AnyPrice], now_ms: int) -> _AnyPrice | None:
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


__all__ = ["KINDS", "Price", "PriceError", "TokenDetails", "bound_nano", "compile_prices", "cost_nano", "percent_text", "price_at"]
