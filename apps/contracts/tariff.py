"""What one target costs over time: which price version is in force when, with which discounts. Pure; in the proxy on the hot path.

A tariff has layers, asked in order: the prices of the endpoint's region, the model's other prices, those of the model it is priced
like, the route's default. The first layer with a version in force decides. ``at`` costs one comparison until the next moment at which
anything could change: a version begins or ends, a discount does, the cheap hours do.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from apps.contracts.pricing import WHOLE, Price, price_at
from apps.contracts.snapshot import DiscountFragment, PriceFragment, PriceVersion

DAY_MS = 86_400_000
MINUTE_MS = 60_000
NEVER = 1 << 62
ZERO = PriceVersion(version="unpriced:zero", input=0, output=0)
"""Where a route says that a target without a price costs nothing: the records say so."""


class Layer(NamedTuple):
    """Versions that are asked together. discounts: negotiated ones of the target; one for the model itself wins over one for all."""

    versions: Sequence[PriceVersion]
    discounts: Sequence[DiscountFragment] = ()


class Tariff:
    """Raises PriceError for a version or discount that nothing can be charged by."""

    __slots__ = ("_compiled", "_current", "_edges", "_from", "_layers", "_to")

    def __init__(self, layers: Sequence[Layer]) -> None:
        self._layers = [layer for layer in layers if layer.versions]
        self._compiled: dict[tuple[int, int, int], Price] = {}
        edges = {0, NEVER}
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
            key = (number << 20 | layer.versions.index(version), negotiated, off_peak)
            found = self._compiled.get(key)
            if found is None:
                found = self._compiled[key] = Price(version, negotiated=negotiated, off_peak=off_peak)
            price = found
            break
        self._from, self._to, self._current = start, end, price
        return price


def _negotiated(discounts: Sequence[DiscountFragment], now_ms: int) -> int:
    own = price_at((discount for discount in discounts if discount.model), now_ms)
    found = own if own is not None else price_at((discount for discount in discounts if not discount.model), now_ms)
    return 0 if found is None else found.discount


class PriceBook:
    """Every page and discount, for whoever makes tariffs of them."""

    def __init__(self, pages: Callable[[str], PriceFragment | None], discounts: Sequence[DiscountFragment]) -> None:
        """pages: the page with an id, None where there is none."""
        self._pages = pages
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
        return Tariff(layers) if layers else None
