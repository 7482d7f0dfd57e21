"""Money: integer nano-dollars (int64); prices: integer nano-dollars per million units; costs round up.

1 US dollar = 1_000_000_000 nano-dollars. A price of $0.15 per million input tokens is
``150_000_000`` (nano-dollars per million tokens). No float ever carries money.
"""

from __future__ import annotations

from decimal import ROUND_CEILING, Decimal, InvalidOperation

NANO = 1_000_000_000
"""Nano-dollars in one US dollar."""

MILLION = 1_000_000
"""Units that a price is quoted for."""

MAX_NANO = 2**63 - 1
"""Largest amount that fits the int64 columns: about 9.2 billion dollars."""


class MoneyError(ValueError):
    """An amount that is not finite, not a number, negative where it may not be, or beyond int64."""


def from_dollars(value: str | int | Decimal) -> int:
    """Nano-dollars of a dollar amount, rounded up to the next nano-dollar.

    Floats are refused: ``0.1`` has no exact value. Raises MoneyError with what to do.
    """
    if isinstance(value, (float, bool)):
        raise MoneyError(f"{value!r} is not an exact amount: write it as text, such as '0.15'")
    try:
        amount = Decimal(value)
    except (InvalidOperation, TypeError, ValueError):
        raise MoneyError(f"{value!r} is not an amount of dollars: write digits, such as '25' or '0.15'") from None
    if not amount.is_finite():
        raise MoneyError(f"{value!r} is not a finite amount of dollars")
    if abs(amount) > Decimal(MAX_NANO) / NANO:
        raise MoneyError(f"{value!r} dollars is more than can be counted (9.2 billion)")
    return int((amount * NANO).to_integral_value(rounding=ROUND_CEILING))


def to_dollars(nano: int) -> Decimal:
    """The exact dollar amount of nano-dollars."""
    return Decimal(nano).scaleb(-9)


def dollars_text(nano: int) -> str:
    """Plain exact decimal text without exponent or trailing zeros: ``'0.0000125'``, ``'5'``."""
    sign, amount = ("-", -nano) if nano < 0 else ("", nano)
    whole, part = divmod(amount, NANO)
    return f"{sign}{whole}.{part:09d}".rstrip("0").rstrip(".") if part else f"{sign}{whole}"


def ceil_div(numerator: int, denominator: int) -> int:
    """Integer division rounded up; the one place a cost is rounded."""
    return -(-numerator // denominator)
