"""Prices out of ``genai-prices`` (the data that its wheel carries, offline), as integers.

Two things there have no equal in our price versions, and are resolved so that nothing is ever booked too low:

* prices by the time of day become the dearest of the day, with off-peak hours where one discount makes the others of it;
* a model that text requests may bill by units we do not count (citation tokens with their own price, characters, pages, no input
  price at all) is not imported: it is unpriced until a person writes its price.

Prices of searches and other tools are left out; the proxy bounds or refuses such inputs by itself.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from functools import lru_cache
from importlib.metadata import version
from typing import TYPE_CHECKING, NamedTuple

from apps.contracts.money import from_dollars
from apps.contracts.pricing import KINDS as STAND_INS
from apps.contracts.pricing import WHOLE
from apps.providers.rules import PriceSpec

if TYPE_CHECKING:
    from genai_prices.data_snapshot import DataSnapshot
    from genai_prices.types import ModelInfo, ModelPrice, TieredPrices

KINDS = {
    "input": "input_mtok",
    "output": "output_mtok",
    "cache_read": "cache_read_mtok",
    "cache_write": "cache_write_mtok",
    "reasoning": "output_reasoning_mtok",
    "audio_input": "input_audio_mtok",
    "audio_output": "output_audio_mtok",
    "image_input": "input_image_mtok",
    "image_output": "output_image_mtok",
}
"""Our kinds of tokens -> the names of their prices there, in dollars per million tokens."""

_UNCOUNTED = frozenset({"output_citation_mtok", "input_mchars", "input_text_messages_kcount"})
NO_LIST = "none"


def book_version() -> str:
    """``genai-prices-<version of the data>``: the first half of the label of every price taken from it."""
    return f"genai-prices-{version('genai-prices')}"


def _book() -> DataSnapshot:
    """What the wheel carries. Imported when it is asked first: that takes a sixth of a process's start, and most never ask."""
    from genai_prices import data_snapshot

    return data_snapshot.get_snapshot()


def price_lists() -> list[str]:
    """Names a provider's ``price_list`` may have."""
    return sorted(provider.id for provider in _book().providers)


def price_list_of(base_url: str) -> str | None:
    """The list of the provider that serves this address, None for one the book does not know."""
    try:
        return _book().find_provider(None, None, base_url).id
    except LookupError:
        return None


def book_prices(price_list: str, model: str) -> list[PriceSpec]:
    """Every price the book has for a model, oldest first, without gaps; empty where it has none that fits."""
    try:
        _, info = _book().find_provider_model(model, None, price_list, None)
    except LookupError:
        return []
    starts = sorted(_start_dates(info))
    bounds: list[date | None] = [None, *starts]
    specs: list[PriceSpec] = []
    for at, start in enumerate(bounds):
        end = starts[at] if at < len(starts) else None
        candidates = [_spec(price) for price in _in_force(info, start, end)]
        usable = [spec for spec in candidates if spec is not None]
        if len(usable) != len(candidates) or not usable:
            continue
        spec = _dearest(usable)
        hours = _off_peak(info, spec, start, end) if len(usable) > 1 else ()
        spec = spec._replace(valid_from=_midnight(start), valid_to=_midnight(end), off_peak=hours)
        if specs and specs[-1].valid_to == spec.valid_from and specs[-1].numbers == spec.numbers:
            specs[-1] = specs[-1]._replace(valid_to=spec.valid_to)
        else:
            specs.append(spec)
    return specs


class ModelFacts(NamedTuple):
    """What the book knows of a model beside its prices. context_window: tokens, None where unknown."""

    context_window: int | None = None
    capabilities: tuple[str, ...] = ()
    deprecated: bool = False


def model_id(price_list: str, model: str) -> str | None:
    """What the book itself calls the model that goes by this name; None where it does not know it."""
    try:
        _, info = _book().find_provider_model(model, None, price_list, None)
    except LookupError:
        return None
    return info.id


_CAPABILITIES = {
    "cache_read_mtok": "prompt caching",
    "input_audio_mtok": "audio in",
    "output_audio_mtok": "audio out",
    "input_image_mtok": "images in",
    "output_image_mtok": "images out",
    "input_video_mtok": "video in",
}
"""Kinds of tokens that the book prices, and what a model that has a price for them can do."""


@lru_cache(maxsize=4096)
def model_facts(price_list: str, model: str) -> ModelFacts:
    """What the book says a model can do; empty where it does not know the model."""
    from genai_prices.types import ModelPrice

    try:
        _, info = _book().find_provider_model(model, None, price_list, None)
    except LookupError:
        return ModelFacts()
    prices = [info.prices] if isinstance(info.prices, ModelPrice) else [conditional.prices for conditional in info.prices]
    priced = {key for price in prices for key, value in vars(price).items() if value is not None}
    return ModelFacts(
        context_window=info.context_window,
        capabilities=tuple(word for key, word in _CAPABILITIES.items() if key in priced),
        deprecated=bool(getattr(info, "deprecated", False)),
    )


def _start_dates(info: ModelInfo) -> set[date]:
    from genai_prices.types import ModelPrice, StartDateConstraint

    if isinstance(info.prices, ModelPrice):
        return set()
    return {c.constraint.start_date for c in info.prices if isinstance(c.constraint, StartDateConstraint)}


def _midnight(day: date | None) -> datetime | None:
    return None if day is None else datetime(day.year, day.month, day.day, tzinfo=UTC)


def _in_force(info: ModelInfo, start: date | None, end: date | None) -> list[ModelPrice]:
    """The prices that apply at any time of a day inside the period, asked of the book itself."""
    found: list[ModelPrice] = []
    for moment in _moments(info, start, end):
        price = info.get_prices(moment)
        if price not in found:
            found.append(price)
    return found


def _moments(info: ModelInfo, start: date | None, end: date | None) -> list[datetime]:
    """Of a day inside the period: midnight, and whenever another price may begin; in order."""
    from genai_prices.types import ModelPrice, TimeOfDateConstraint

    day = start or ((end - timedelta(days=1)) if end else datetime.now(UTC).date())
    moments = {_midnight(day) or datetime.now(UTC)}
    if not isinstance(info.prices, ModelPrice):
        for conditional in info.prices:
            if isinstance(conditional.constraint, TimeOfDateConstraint):
                for clock in (conditional.constraint.start_time, conditional.constraint.end_time):
                    moments.add(datetime.combine(day, clock if clock.tzinfo else clock.replace(tzinfo=UTC)))
    return sorted(moments)


def _off_peak(info: ModelInfo, dearest: PriceSpec, start: date | None, end: date | None) -> tuple[dict[str, int], ...]:
    """The hours at which everything costs the same share less than ``dearest``; none where some price of the day is made differently."""
    moments = _moments(info, start, end)
    hours: list[dict[str, int]] = []
    for at, moment in enumerate(moments):
        spec = _spec(info.get_prices(moment))
        share = None if spec is None else _share_off(dearest, spec)
        if share is None:
            return ()
        until = moments[(at + 1) % len(moments)]
        if share:
            begins, ends = moment.hour * 60 + moment.minute, until.hour * 60 + until.minute
            if hours and hours[-1]["to_minute"] == begins and hours[-1]["discount"] == share:
                hours[-1]["to_minute"] = ends
            else:
                hours.append({"from_minute": begins, "to_minute": ends, "discount": share})
    return tuple(hours)


def _share_off(dear: PriceSpec, cheap: PriceSpec) -> int | None:
    """The hundredths of a percent that make the one of the other, None where no single number does."""
    if dear.input <= 0:
        return None
    share = Fraction(dear.input - cheap.input, dear.input) * WHOLE
    if share.denominator != 1 or share < 0:
        return None

    def less(amounts: Sequence[int | None]) -> list[Fraction | None]:
        return [None if amount is None else amount * (1 - share / WHOLE) for amount in amounts]

    if len(dear.tiers) != len(cheap.tiers):
        return None
    pairs = [([getattr(dear, kind) for kind in (*KINDS, "request")], [getattr(cheap, kind) for kind in (*KINDS, "request")])]
    pairs += [
        ([tier.get(kind) for kind in KINDS], [other.get(kind) for kind in KINDS])
        for tier, other in zip(dear.tiers, cheap.tiers, strict=True)
    ]
    return int(share) if all(less(one) == other for one, other in pairs) else None


def _nano(dollars: Decimal | None) -> int | None:
    """Nano-dollars per million from dollars per million; exact up to nine decimals, rounded up beyond."""
    return None if dollars is None else from_dollars(dollars)


def _spec(price: ModelPrice) -> PriceSpec | None:
    """One set of prices as integers; None where it bills text by units that we do not count."""
    from genai_prices.types import TieredPrices

    values: dict[str, Decimal | TieredPrices] = {key: value for key, value in vars(price).items() if value is not None}
    if "input_mtok" not in values or _UNCOUNTED & values.keys():
        return None
    base: dict[str, int | None] = {}
    starts: set[int] = set()
    for kind, key in KINDS.items():
        value = values.get(key)
        base[kind] = _nano(value.base if isinstance(value, TieredPrices) else value)
        if isinstance(value, TieredPrices):
            starts.update(tier.start for tier in value.tiers)
    tiers: list[dict[str, int | None]] = []
    for start in sorted(starts):
        # The book's tier holds above its start, ours from its first token on.
        tier: dict[str, int | None] = {"from_input_tokens": start + 1}
        for kind, key in KINDS.items():
            value = values.get(key)
            if isinstance(value, TieredPrices):
                tier[kind] = _nano(next((t.price for t in reversed(value.tiers) if start >= t.start), value.base))
        tiers.append(tier)
    per_thousand = values.get("requests_kcount")
    request = 0
    if isinstance(per_thousand, Decimal):
        request = from_dollars(per_thousand * 1000)
    return PriceSpec(
        input=base["input"] or 0,
        output=base["output"] or 0,
        request=request,
        tiers=tuple(tiers),
        **{kind: base[kind] for kind in KINDS if kind not in ("input", "output")},  # type: ignore[arg-type]
    )


def _dearest(specs: list[PriceSpec]) -> PriceSpec:
    """The dearest of each kind. Where one set has a cache price and another has none, none: such tokens then cost as input."""
    first = specs[0]
    if len(specs) == 1:
        return first

    def dearest(kind: str) -> int | None:
        values = [getattr(spec, kind) for spec in specs]
        if None in values and (kind.startswith("cache") or not any(values)):
            return None
        return max(getattr(spec, STAND_INS[kind]) if value is None else value for spec, value in zip(specs, values, strict=True))

    starts = sorted({tier["from_input_tokens"] or 0 for spec in specs for tier in spec.tiers})
    tiers: list[dict[str, int | None]] = []
    for start in starts:
        tier: dict[str, int | None] = {"from_input_tokens": start}
        for kind in KINDS:
            at = [_at(spec, kind, start) for spec in specs]
            known = [value for value in at if value is not None]
            if len(known) == len(at):
                tier[kind] = max(known)
        tiers.append(tier)
    return PriceSpec(
        input=dearest("input") or 0,
        output=dearest("output") or 0,
        **{kind: dearest(kind) for kind in KINDS if kind not in ("input", "output")},  # type: ignore[arg-type]
        request=max(spec.request for spec in specs),
        tiers=tuple(tiers),
    )


def _at(spec: PriceSpec, kind: str, input_tokens: int) -> int | None:
    """The price of a kind for a request of so many input tokens."""
    value: int | None = getattr(spec, kind)
    for tier in spec.tiers:
        if (tier["from_input_tokens"] or 0) <= input_tokens and tier.get(kind) is not None:
            value = tier[kind]
    return value
