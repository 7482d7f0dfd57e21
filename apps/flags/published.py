"""One organisation's part of the published config, as whoever foretells a flip reads it: routes, providers, flags, prices."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import cast

from apps.contracts.pricing import Price, PriceError
from apps.contracts.snapshot import DiscountFragment, FlagFragment, PriceFragment, ProviderFragment, RouteFragment, UnitPriceFragment
from apps.contracts.tariff import PriceBook
from apps.flags.plans import Place, place_of
from apps.publishing.state import ConfigState


@dataclass
class Config:
    """One organisation's part of the published config."""

    state: ConfigState
    organisation: str

    @cached_property
    def providers(self) -> dict[str, ProviderFragment]:
        """By name."""
        rows = cast(Mapping[str, ProviderFragment], self.state.fragments["providers"])
        return {row.name: row for row in rows.values() if row.organisation == self.organisation}

    @cached_property
    def routes(self) -> list[RouteFragment]:
        rows = cast(Mapping[str, RouteFragment], self.state.fragments["routes"])
        return [row for row in rows.values() if row.organisation == self.organisation]

    @cached_property
    def flags(self) -> list[FlagFragment]:
        rows = cast(Mapping[str, FlagFragment], self.state.fragments["flags"])
        return [row for row in rows.values() if row.organisation == self.organisation]

    @cached_property
    def book(self) -> PriceBook:
        pages = cast(Mapping[str, PriceFragment], self.state.fragments["prices"])
        discounts = cast(Mapping[str, DiscountFragment], self.state.fragments["discounts"])
        units = cast(Mapping[str, UnitPriceFragment], self.state.fragments.get("unit_prices", {}))
        return PriceBook(
            pages.get,
            [row for row in discounts.values() if row.organisation == self.organisation],
            [row for row in units.values() if row.organisation == self.organisation],
        )

    def price(self, place: Place, now_ms: int) -> Price | None:
        """What a place costs at a moment; None where nothing prices it."""
        provider = self.providers.get(place.provider)
        if provider is None:
            return None
        region = next((endpoint.region for endpoint in provider.endpoints if endpoint.name == place.endpoint), "")
        try:
            tariff = self.book.tariff(f"{provider.id}/{place.model}", region)
        except (LookupError, PriceError):
            return None
        return tariff.at(now_ms) if tariff else None

    def most_at_once(self) -> dict[Place, int]:
        """Connections that each target's endpoint takes from one proxy."""
        most = {(name, endpoint.name): endpoint.max_connections for name, row in self.providers.items() for endpoint in row.endpoints}
        places = {place_of(target, self.providers) for route in self.routes for target in (*route.targets, *route.fallback)}
        return {place: most.get((place.provider, place.endpoint), 0) for place in places}
