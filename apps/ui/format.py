"""Numbers as people read them: durations, money, counts. Pure; the template tags print what stands here."""

from __future__ import annotations

import json
from typing import Any

from apps.contracts.money import NANO, dollars_text

THIN = "\u202f"
"""A narrow space that does not break: between a number and its unit."""
NOTHING = "–"


def duration(us: float | None) -> str:
    """Microseconds as the unit a person would use: ``640 µs``, ``81.2 ms``, ``1.24 s``, ``2 min 5 s``. None, negative: nothing."""
    if us is None or us < 0:
        return NOTHING
    if us < 999.5:
        return f"{us:.0f}{THIN}µs"
    if us < 9_995:
        return f"{us / 1e3:.2f}{THIN}ms"
    if us < 99_950:
        return f"{us / 1e3:.1f}{THIN}ms"
    if us < 999_500:
        return f"{us / 1e3:.0f}{THIN}ms"
    if us < 9_995_000:
        return f"{us / 1e6:.2f}{THIN}s"
    if us < 60_000_000:
        return f"{us / 1e6:.1f}{THIN}s"
    minutes, seconds = divmod(round(us / 1e6), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}{THIN}h {minutes}{THIN}min" if hours else f"{minutes}{THIN}min {seconds}{THIN}s"


def compact(value: float | None) -> str:
    """A count in three significant digits or so: ``999``, ``1.25k``, ``12.5k``, ``3.1M``."""
    if value is None:
        return NOTHING
    for limit, divisor, suffix in ((999_500_000_000, 1e12, "T"), (999_500_000, 1e9, "G"), (999_500, 1e6, "M"), (9_999.5, 1e3, "k")):
        if abs(value) >= limit:
            scaled = value / divisor
            text = f"{scaled:.0f}" if abs(scaled) >= 99.95 else f"{scaled:.1f}"
            return text.removesuffix(".0") + suffix
    return f"{value:,.0f}".replace(",", THIN)


def rate(value: float | None) -> str:
    """Per second: enough digits to see a trickle."""
    if value is None:
        return NOTHING
    if value == 0:
        return "0"
    if value < 0.095:
        return f"{value:.3f}"
    if value < 9.95:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 999.5 else compact(value)


def percent(part: float, whole: float) -> str:
    """A share; a tiny one is said to be tiny, never rounded to nothing, and one short of all never to all."""
    if not whole:
        return NOTHING
    share = 100 * part / whole
    if 0 < share < 0.01:
        return f"<0.01{THIN}%"
    if 99.995 <= share < 100:
        return f">99.99{THIN}%"
    return f"{share:.0f}{THIN}%" if share in (0, 100) else f"{share:.2f}{THIN}%" if share < 10 else f"{share:.1f}{THIN}%"


def dollars(nano: int | None) -> str:
    """Nano-dollars for tables and tiles: two decimals from a dollar on, else four, six, eight or nine: as many as it takes.

    Whole cents have two. In even steps, so that the figures of a column stand below one another.
    """
    if nano is None:
        return NOTHING
    if nano == 0:
        return "$0"
    sign, size = ("-" if nano < 0 else ""), abs(nano)
    cents = (size + NANO // 200) // (NANO // 100)
    if size >= NANO:
        return f"{sign}${cents // 100:,}.{cents % 100:02d}"
    most = 4 if size >= NANO // 100 else 6 if size >= NANO // 10_000 else 9
    digits = next(step for step in (2, 4, 6, 8, 9) if step == most or size % 10 ** (9 - step) == 0)
    return f"{sign}${size / NANO:.{digits}f}"


def dollars_exact(nano: int | None) -> str:
    """Nano-dollars to the last one."""
    if nano is None:
        return NOTHING
    return f"-${dollars_text(-nano)}" if nano < 0 else f"${dollars_text(nano)}"


def bytes_text(count: int | None) -> str:
    """Bytes in binary units."""
    if count is None:
        return NOTHING
    size = float(count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024 or unit == "GiB":
            break
        size /= 1024
    return f"{size:.0f}{THIN}{unit}" if unit == "B" or size >= 99.95 else f"{size:.1f}{THIN}{unit}"


def age(seconds: float) -> str:
    """How long ago, in one unit; a clock that is ahead is now."""
    if seconds < 1.5:
        return "now"
    for limit, divisor, unit in ((90, 1, "s"), (5_400, 60, "min"), (172_800, 3_600, "h")):
        if seconds < limit:
            return f"{seconds / divisor:.0f}{THIN}{unit} ago"
    return f"{seconds / 86_400:.0f} days ago"


def value_text(value: Any) -> str:
    """A setting's value for people: nothing as a dash, yes and no, lists with commas, what has parts as JSON."""
    if value is None or value in ("", [], {}, ()):
        return NOTHING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, (list, tuple)) and all(isinstance(item, (str, int, float)) for item in value):
        return ", ".join(str(item) for item in value)
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
