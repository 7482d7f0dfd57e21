"""How pages show prices."""

from __future__ import annotations

from django import template

from apps.contracts.money import dollars_text

register = template.Library()


@register.filter
def per_million(nano: int) -> str:
    """Nano-dollars per million tokens as dollars, exact, with at least two decimals so that columns line up."""
    whole, _, part = dollars_text(nano).partition(".")
    return f"${whole}.{part.ljust(2, '0')}"
