"""What providers bill beside tokens: how meters are named, and what one unit of each costs.

A meter is a text: the unit alone (``search``), or for images ``image:<quality>:<size>``. ``*`` for a quality or size means that nobody
said which it is: it then costs as the dearest of them. In a price an empty quality or size stands for every one that has no price
of its own.

Units are of two kinds. Those of ``WHOLE`` are what a call is billed by: where one of them is metered and has a price, the call's tokens
cost nothing besides. Those of ``BESIDE`` are billed on top of tokens.
"""

from __future__ import annotations

from collections.abc import Mapping

WHOLE: dict[str, str] = {
    "image": "images made",
    "second": "seconds of sound",
    "character": "characters spoken",
    "search": "search units of a rerank",
}
BESIDE: dict[str, str] = {
    "web_search": "web searches that a model makes",
    "file_search": "searches in a vendor's file store",
    "code_session": "sessions of a vendor's code interpreter",
}
HOUR = "cache_write_hour"
"""No meter: the unit under which tokens that are written to a cache for an hour have their price, per token."""
UNITS: dict[str, str] = {**WHOLE, **BESIDE, HOUR: "tokens written to a cache for an hour"}
ANY = "*"
SEPARATOR = ":"


def meter_of(unit: str, quality: str = "", size: str = "") -> str:
    """A meter's name; the unit alone where neither is given."""
    return f"{unit}{SEPARATOR}{quality}{SEPARATOR}{size}" if quality or size else unit


def parts_of(meter: str) -> tuple[str, str, str]:
    """(unit, quality, size), the last two empty where the meter has none."""
    unit, _, rest = meter.partition(SEPARATOR)
    quality, _, size = rest.partition(SEPARATOR)
    return unit, quality, size


def amount_of(prices: Mapping[str, int], meter: str) -> int | None:
    """What one unit costs; None where nothing prices it. The price for quality and size wins over that for the quality, that over the
    size's, that over the unit's. What is not known (``*``) costs as the dearest that it can be."""
    unit, quality, size = parts_of(meter)
    qualities, sizes = [quality], [size]
    if quality == ANY or size == ANY:
        known = [parts_of(name) for name in prices]
        if quality == ANY:
            qualities = ["", *(one[1] for one in known if one[0] == unit)]
        if size == ANY:
            sizes = ["", *(one[2] for one in known if one[0] == unit)]
    found: int | None = None
    for one in qualities:
        for other in sizes:
            for name in (meter_of(unit, one, other), meter_of(unit, one), meter_of(unit, "", other), unit):
                amount = prices.get(name)
                if amount is not None:
                    if found is None or amount > found:
                        found = amount
                    break
    return found


def billed_whole(prices: Mapping[str, int], meters: Mapping[str, int]) -> bool:
    """Whether a call with these meters is billed by them alone, its tokens not at all."""
    return any(parts_of(meter)[0] in WHOLE and amount_of(prices, meter) is not None for meter in meters)


def surely_whole(prices: Mapping[str, int], meters: Mapping[str, int]) -> bool:
    """``billed_whole`` whatever a quality or size that is not known (``*``) turns out to be: it may be one that nothing prices."""
    found = ((unit, quality, size) for unit, quality, size in map(parts_of, meters) if unit in WHOLE)
    known = (meter_of(unit, "" if quality == ANY else quality, "" if size == ANY else size) for unit, quality, size in found)
    return any(amount_of(prices, meter) is not None for meter in known)


def total_of(prices: Mapping[str, int], meters: Mapping[str, int]) -> int:
    """What the meters cost together, in the unit of the prices; those without a price nothing."""
    total = 0
    for meter, count in meters.items():
        amount = amount_of(prices, meter)
        if amount is not None and count > 0:
            total += amount * count
    return total
