"""Ranges of client addresses (CIDR, IPv4 and IPv6): where a key may be used from, and whose word about a client is taken.

A range is stored in its canonical spelling, so that equal ranges are equal texts. An IPv4 address that arrives mapped into IPv6
(``::ffff:192.0.2.1``, as sockets of both families show it) is the IPv4 address.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

MAX_NETWORKS = 100
"""Ranges that one key or setting may have: a request of such a key is compared with each."""
MAX_HOPS = 32
"""Addresses of a forwarded header that are looked at, from the right."""


class NetworkError(ValueError):
    """A text that is no range of addresses; the message says what to write."""


def network_read(text: str) -> str:
    """The canonical spelling of one range, ``192.0.2.0/24`` or ``2001:db8::/32``; a single address is a range of one.

    Raises NetworkError, also for a range whose address has bits beyond its length: whoever wrote it meant one of two things.
    """
    text = text.strip()
    try:
        return str(ip_network(text))
    except ValueError:
        pass
    try:
        meant = ip_network(text, strict=False)
    except ValueError:
        raise NetworkError(
            f"{text[:60]!r} is not a range of addresses: write CIDR, such as 192.0.2.0/24 or 2001:db8::/32, or one address"
        ) from None
    address = text.partition("/")[0]
    raise NetworkError(f"{text!r} is between two meanings: write {meant} for the whole range, or {address} for the one address")


class Networks:
    """Compiled ranges. Raises NetworkError for a range that ``network_read`` refuses."""

    __slots__ = ("_v4", "_v6")

    def __init__(self, ranges: Iterable[str]) -> None:
        v4: list[tuple[int, int]] = []
        v6: list[tuple[int, int]] = []
        for text in ranges:
            network = ip_network(network_read(text))
            (v4 if network.version == 4 else v6).append((int(network.network_address), int(network.netmask)))
        self._v4 = tuple(v4)
        self._v6 = tuple(v6)

    def holds(self, address: str) -> bool:
        """Whether an address lies in one of the ranges; False for what is no address."""
        found = address_read(address)
        if found is None:
            return False
        number = int(found)
        ranges = self._v4 if found.version == 4 else self._v6
        return any(number & mask == base for base, mask in ranges)


def address_read(text: str) -> IPv4Address | IPv6Address | None:
    """An address without its port, brackets and zone; None where there is none."""
    text = text.strip()
    if text.startswith("["):
        text = text[1:].partition("]")[0]
    elif text.count(":") == 1:
        text = text.partition(":")[0]
    try:
        found = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        return found.ipv4_mapped
    return found


def client_address(peer: str, forwarded: str, trusted: Networks | None) -> str:
    """Who asks: the peer of the connection, or whom a trusted peer names in ``x-forwarded-for``.

    Each proxy appends whom it heard from, so the list is read from its right end, past every trusted address; what stands left of the
    first untrusted one was written by that client and proves nothing. Empty where a trusted peer names no address at the place looked at.
    """
    if trusted is None or not trusted.holds(peer):
        found = address_read(peer)
        return "" if found is None else str(found)
    hops = [hop for hop in forwarded.split(",") if hop.strip()][-MAX_HOPS:]
    for hop in reversed(hops):
        named = address_read(hop)
        if named is None:
            return ""
        if not trusted.holds(str(named)):
            return str(named)
    found = address_read(hops[0] if hops else peer)
    return "" if found is None else str(found)
