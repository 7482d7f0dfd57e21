"""What proxies get of the prices of units."""

from __future__ import annotations

from apps.contracts.snapshot import UnitPriceFragment
from apps.prices.unit_models import UnitPrice
from apps.providers import rules

THOUSANDS = 1_000
"""Of units in the million that proxies reckon with."""


def unit_price_of(row: UnitPrice) -> UnitPriceFragment:
    """What proxies get of a price."""
    return UnitPriceFragment(
        id=str(row.pk),
        organisation=str(row.organisation_id),
        provider=str(row.provider_id),
        model=row.model,
        unit=row.unit,
        quality=row.quality,
        size=row.size,
        amount=row.per_thousand * THOUSANDS,
        valid_from_ms=rules.unix_ms(row.valid_from) or 0,
        valid_to_ms=rules.unix_ms(row.valid_to),
    )
