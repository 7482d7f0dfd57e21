"""Money: integer nano-dollars (int64); prices: integer nano-dollars per million units; costs round up.

1 US dollar = 1_000_000_000 nano-dollars. A price of $0.15 per million input tokens is
``150_000_000`` (nano-dollars per million tokens). No float ever carries money.
"""

from __future__ import annotations

import re
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


_PLAIN = re.compile(r"[0-9]{1,12}(?:\.[0-9]{1,12})?")
_CURRENCY = re.compile(r"[^\x00-\x7f]|[A-Za-z]{3}(?![A-Za-z])")


def dollars_read(text: str) -> int:
    """Nano-dollars of an amount that a person wrote: plain digits of US dollars, not negative. Forms and documents read by this alone,
    so that both refuse the same with the same words. Raises MoneyError."""
    if not _PLAIN.fullmatch(text):
        shown = f"{text[:40]!r}"
        currency = _CURRENCY.search(text)
        if currency and currency[0].lower() not in ("nan", "inf", "usd"):
            raise MoneyError(f"{shown}: amounts are in US dollars: convert it, and write plain digits, such as '25.00' or 25")
        raise MoneyError(f"{shown}: write dollars in plain digits, such as '25.00' or 25")
    return from_dollars(text)


def percent_read(text: str) -> int:
    """Hundredths of a percent of what a person wrote, ``12.5%`` or ``12.5``. Raises MoneyError."""
    match = re.fullmatch(r"([0-9]{1,3})(?:\.([0-9]{1,2}))?\s?%?", text.strip())
    share = int(match[1]) * 100 + int((match[2] or "").ljust(2, "0")) if match else -1
    if not 0 <= share <= 10_000:
        raise MoneyError(f"{text[:40]!r}: write a percentage from 0 to 100 with at most two decimals, such as 12.5%")
    return share


def clock_read(text: str) -> int:
    """Minutes since midnight of a time of the day, ``16:30``. Raises MoneyError."""
    match = re.fullmatch(r"([01]?[0-9]|2[0-3]):([0-5][0-9])", text.strip())
    if match is None:
        raise MoneyError(f"{text[:40]!r}: write a time of the day, UTC, from 00:00 to 23:59")
    return int(match[1]) * 60 + int(match[2])


def clock_text(minute: int) -> str:
    """``990`` -> ``16:30``."""
    return f"{minute // 60:02d}:{minute % 60:02d}"


def dollars_text(nano: int) -> str:
    """Plain exact decimal text without exponent or trailing zeros: ``'0.0000125'``, ``'5'``."""
    sign, amount = ("-", -nano) if nano < 0 else ("", nano)
    whole, part = divmod(amount, NANO)
    return f"{sign}{whole}.{part:09d}".rstrip("0").rstrip(".") if part else f"{sign}{whole}"


def ceil_div(numerator: int, denominator: int) -> int:
    """Integer division rounded up; the one place a cost is rounded."""
    return -(-numerator // denominator)
