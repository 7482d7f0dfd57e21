"""What one target costs over time: which price version is in force when, with which discounts. Pure; in the proxy on the hot path.

A tariff has layers, asked in order: the prices of the endpoint's region, the model's other prices, those of the model it is priced
like, the route's default. The first layer with a version in force decides. Prices of units (images, seconds, searches) are the model's
own and hold beside whichever that is, or alone. ``at`` costs one comparison until the next moment at which anything could change: a
version begins or ends, a discount or a unit's price does, the cheap hours do.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b
from typing import NamedTuple

from apps.contracts.metering import meter_of
from apps.contracts.pricing import UNITS_ONLY, WHOLE, Price, price_at
from apps.contracts.snapshot import DiscountFragment, PriceFragment, PriceVersion, UnitPriceFragment

DAY_MS = 86_400_000
MINUTE_MS = 60_000
NEVER = 1 << 62
ZERO = PriceVersion(version="unpriced:zero", input=0, output=0)
"""Where a route says that a target without a price costs nothing: the records say so."""


class Layer(NamedTuple):
    """Versions that are asked together. discounts: negotiated ones of the target; one for the model itself wins over one for all."""

    versions: Sequence[PriceVersion]
    discounts: Sequence[DiscountFragment] = ()


class Units(NamedTuple):
    """A model's prices of units, of all times. discounts: as a ``Layer``'s."""

    prices: Sequence[UnitPriceFragment]
    discounts: Sequence[DiscountFragment] = ()

    def at(self, now_ms: int) -> dict[str, int]:
        """By meter, those in force; where two overlap, the one that began last."""
        found: dict[str, UnitPriceFragment] = {}
        for one in self.prices:
            if one.valid_from_ms <= now_ms and (one.valid_to_ms is None or now_ms < one.valid_to_ms):
                name = meter_of(one.unit, one.quality, one.size)
                held = found.get(name)
                if held is None or one.valid_from_ms > held.valid_from_ms:
                    found[name] = one
        return {name: one.amount for name, one in found.items()}


class Tariff:
    """Raises PriceError for a version or discount that nothing can be charged by."""

    __slots__ = ("_compiled", "_current", "_edges", "_from", "_layers", "_to", "_units")

    def __init__(self, layers: Sequence[Layer], units: Units | None = None) -> None:
        """units: of the model itself."""
        self._layers = [layer for layer in layers if layer.versions]
        self._units = units if units is not None and units.prices else None
        self._compiled: dict[tuple[int, int, int, int], Price] = {}
        edges = {0, NEVER}
        if self._units is not None:
            for one in self._units.prices:
                Price(UNITS_ONLY, units={meter_of(one.unit, one.quality, one.size): one.amount})
                edges.update((one.valid_from_ms, NEVER if one.valid_to_ms is None else one.valid_to_ms))
        for layer in self._layers:
            for version in layer.versions:
                Price(version)
                edges.update((version.valid_from_ms, NEVER if version.valid_to_ms is None else version.valid_to_ms))
            for discount in layer.discounts:
                if not 0 <= discount.discount <= WHOLE:  # nothing else of a discount is refused: a Price for each of many takes long
                    Price(layer.versions[0], negotiated=discount.discount)
                edges.update((discount.valid_from_ms, NEVER if discount.valid_to_ms is None else discount.valid_to_ms))
        self._edges = sorted(edges)
        self._from, self._to = 1, 0
        self._current: Price | None = None

    def at(self, now_ms: int) -> Price | None:
        """The price of an attempt that starts at ``now_ms``, milliseconds since the epoch; None where there is none."""
        if self._from <= now_ms < self._to:
            return self._current
        return self._move(now_ms)

    def _move(self, now_ms: int) -> Price | None:
        start = max((edge for edge in self._edges if edge <= now_ms), default=now_ms)
        end = min((edge for edge in self._edges if edge > now_ms), default=now_ms + 1)
        price: Price | None = None
        units = self._units.at(now_ms) if self._units is not None else {}
        label = _label(units) if units else 0
        for number, layer in enumerate(self._layers):
            version = price_at(layer.versions, now_ms)
            if version is None:
                continue
            negotiated = _negotiated(layer.discounts, now_ms)
            off_peak = 0
            midnight = now_ms - now_ms % DAY_MS
            for time in version.off_peak:
                for day in (midnight - DAY_MS, midnight, midnight + DAY_MS):
                    begins = day + time.from_minute * MINUTE_MS
                    ends = day + time.to_minute * MINUTE_MS + (DAY_MS if time.to_minute <= time.from_minute else 0)
                    if begins <= now_ms < ends:
                        off_peak = time.discount
                    for edge in (begins, ends):
                        if edge <= now_ms:
                            start = max(start, edge)
                        else:
                            end = min(end, edge)
            key = (number << 20 | layer.versions.index(version), negotiated, off_peak, label)
            found = self._compiled.get(key)
            if found is None:
                found = self._compiled[key] = Price(version, negotiated=negotiated, off_peak=off_peak, units=units)
                if units:
                    found.version += f"+u{label:08x}"
            price = found
            break
        if price is None and units and self._units is not None:
            price = Price(UNITS_ONLY, negotiated=_negotiated(self._units.discounts, now_ms), units=units)
            price.version += f"+u{label:08x}"
        self._from, self._to, self._current = start, end, price
        return price


def _label(units: dict[str, int]) -> int:
    """Names prices of units in records: the same ones always have the same name."""
    text = ";".join(f"{name}={units[name]}" for name in sorted(units))
    return int.from_bytes(blake2b(text.encode(), digest_size=4).digest(), "big")


def _negotiated(discounts: Sequence[DiscountFragment], now_ms: int) -> int:
    own = price_at((discount for discount in discounts if discount.model), now_ms)
    found = own if own is not None else price_at((discount for discount in discounts if not discount.model), now_ms)
    return 0 if found is None else found.discount


class PriceBook:
    """Every page and discount, for whoever makes tariffs of them."""

    def __init__(
        self,
        pages: Callable[[str], PriceFragment | None],
        discounts: Sequence[DiscountFragment],
        units: Iterable[UnitPriceFragment] = (),
    ) -> None:
        """pages: the page with an id, None where there is none."""
        self._pages = pages
        self._units: dict[str, list[UnitPriceFragment]] = {}
        for unit in units:
            self._units.setdefault(f"{unit.provider}/{unit.model}", []).append(unit)
        self._discounts: dict[str, list[DiscountFragment]] = {}
        for discount in discounts:
            self._discounts.setdefault(discount.provider, []).append(discount)

    def layers(self, page_id: str, region: str) -> list[Layer]:
        """What prices a provider's model at an endpoint of a region: its own page, then the one it is priced like, and so on.

        Raises LookupError where pages are priced like each other in a circle; its text names them.
        """
        provider, _, model = page_id.partition("/")
        discounts = [one for one in self._discounts.get(provider, ()) if one.model in ("", model)]
        found: list[Layer] = []
        seen: list[str] = []
        at = page_id
        while at:
            if at in seen:
                names = [f"{page.provider}/{page.model}" for one in (*seen[seen.index(at) :], at) if (page := self._pages(one)) is not None]
                raise LookupError(" is priced like ".join(names))
            seen.append(at)
            page = self._pages(at)
            if page is None:
                break
            found += [
                Layer([version for version in page.versions if region and version.region == region], discounts),
                Layer([version for version in page.versions if not version.region], discounts),
            ]
            at = page.like
        return [layer for layer in found if layer.versions]

    def tariff(self, page_id: str, region: str, *more: Layer) -> Tariff | None:
        """The tariff of a provider's model; None where nothing ever prices it. more: further layers. Raises LookupError, PriceError."""
        layers = [*self.layers(page_id, region), *more]
        own = self._units.get(page_id)
        if not layers and own is None:
            return None
        provider, _, model = page_id.partition("/")
        discounts = [one for one in self._discounts.get(provider, ()) if one.model in ("", model)] if own else []
        return Tariff(layers, Units(own, discounts) if own else None)

    def priced(self, page_id: str) -> bool:
        """Whether units of a provider's model have prices."""
        return page_id in self._units
