"""How pages show prices."""

from __future__ import annotations

from collections.abc import Mapping

from django import template

from apps.contracts.money import dollars_text
from apps.contracts.pricing import percent_text
from apps.providers.price_form import hours_write, tier_write

register = template.Library()


@register.filter
def per_million(nano: int) -> str:
    """Nano-dollars per million tokens as dollars, exact, with at least two decimals so that columns line up."""
    whole, _, part = dollars_text(nano).partition(".")
    return f"${whole}.{part.ljust(2, '0')}"


@register.filter
def percent(share: int) -> str:
    """Hundredths of a percent as people write them."""
    return percent_text(share)


@register.filter
def off_peak(hours: Mapping[str, int]) -> str:
    """Hours of the day and what comes off: ``16:30-00:30 50%``."""
    return f"{hours_write(hours)} off (UTC)"


@register.filter
def tier(prices: Mapping[str, int | None]) -> str:
    """A tier's prices in dollars per million tokens."""
    return ", ".join(part.replace("=", " $") for part in tier_write(prices).split(" ")[1:])
