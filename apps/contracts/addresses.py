"""Where calls to typed addresses may go: the rules of the outbound guard, the same for proxies and control plane. Pure.

A name says nothing about where it leads, and what it says now it need not say a moment later (DNS rebinding). So a dialler
resolves once, asks ``refusal`` about every address it found, and connects to one of those very addresses; ``host_refusal`` only
gives an early answer while a person types.

Sources: IANA's special-purpose registries for IPv4 and IPv6 (RFC 6890 and its successors), and the metadata services of the large
clouds, which hand out credentials to whoever asks. The table is spelled out, because ``ipaddress`` judges differently from one
release of Python to the next.
"""

from __future__ import annotations

import socket
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from typing import Final

METADATA: Final = "a cloud's metadata service"
_MULTICAST: Final = "a multicast address"
_BROADCAST: Final = "the broadcast address"
NEVER: Final = frozenset({METADATA, _MULTICAST, _BROADCAST})
"""Kinds that no switch opens: no model is served there."""

_V4: Final[tuple[tuple[IPv4Network, str], ...]] = tuple(
    (IPv4Network(network), kind)
    for network, kind in (
        ("169.254.169.254/32", METADATA),
        ("169.254.170.2/32", METADATA),  # tasks of Amazon ECS
        ("169.254.170.23/32", METADATA),  # pods of Amazon EKS
        ("100.100.100.200/32", METADATA),  # Alibaba
        ("168.63.129.16/32", METADATA),  # Azure's wire server; public in form, reachable only from inside
        ("192.0.0.192/32", METADATA),  # Oracle
        ("0.0.0.0/8", "an address of this host"),
        ("10.0.0.0/8", "a private address"),
        ("100.64.0.0/10", "a carrier-grade NAT address"),
        ("127.0.0.0/8", "a loopback address"),
        ("169.254.0.0/16", "a link-local address"),
        ("172.16.0.0/12", "a private address"),
        ("192.0.0.0/24", "a reserved address"),
        ("192.0.2.0/24", "a documentation address"),
        ("192.88.99.0/24", "a reserved address"),
        ("192.168.0.0/16", "a private address"),
        ("198.18.0.0/15", "a benchmarking address"),
        ("198.51.100.0/24", "a documentation address"),
        ("203.0.113.0/24", "a documentation address"),
        ("224.0.0.0/4", _MULTICAST),
        ("255.255.255.255/32", _BROADCAST),
        ("240.0.0.0/4", "a reserved address"),
    )
)
_V6: Final[tuple[tuple[IPv6Network, str], ...]] = tuple(
    (IPv6Network(network), kind)
    for network, kind in (
        ("fd00:ec2::254/128", METADATA),  # Amazon
        ("fd00:ec2::23/128", METADATA),
        ("fd20:ce::254/128", METADATA),  # Google
        ("::/128", "an address of this host"),
        ("::1/128", "a loopback address"),
        ("64:ff9b:1::/48", "a private address"),
        ("fc00::/7", "a private address"),
        ("fe80::/10", "a link-local address"),
        ("fec0::/10", "a private address"),
        ("ff00::/8", _MULTICAST),
        ("2001::/23", "a reserved address"),  # Teredo, ORCHID and the like: tunnels and identifiers
        ("2001:db8::/32", "a documentation address"),
        ("3fff::/20", "a documentation address"),
    )
)
_GLOBAL_V6: Final = IPv6Network("2000::/3")
_EMBEDDING: Final[tuple[tuple[IPv6Network, int], ...]] = (
    (IPv6Network("::ffff:0:0/96"), 0),  # IPv4-mapped
    (IPv6Network("::ffff:0:0:0/96"), 0),  # IPv4-translated
    (IPv6Network("64:ff9b::/96"), 0),  # NAT64
    (IPv6Network("2002::/16"), 80),  # 6to4
)
"""IPv6 networks that carry an IPv4 address, and how many bits stand behind it: where such an address leads is that address's matter.
6to4's relays are gone (RFC 7526), so nothing answers there that a provider would use: refused without the switch, whatever it carries."""

_LOOPBACK_NAMES: Final = frozenset({"localhost", "localhost.localdomain", "localhost6", "ip6-localhost", "ip6-loopback"})
_METADATA_NAMES: Final = frozenset({"metadata.google.internal", "instance-data.ec2.internal"})


def kind_of(address: str) -> str:
    """What is special about an IP address in text form (a scope such as ``%eth0`` is ignored); empty for an ordinary public one.

    Raises ValueError for text that is no IP address.
    """
    parsed = ip_address(address.partition("%")[0])
    return _kind_v4(parsed) if isinstance(parsed, IPv4Address) else _kind_v6(parsed)


def refusal(address: str, *, allow_private: bool) -> str:
    """Why a connection to this IP address is refused, in words (``10.1.2.3 is a private address``); empty where it may be made.

    allow_private: the provider's explicit switch. Multicast, broadcast and metadata services stay refused with it.
    """
    try:
        kind = kind_of(address)
    except ValueError:
        return f"{address[:60]!r} is no IP address"
    if not kind or (allow_private and kind not in NEVER):
        return ""
    return f"{address} is {kind}"


def host_refusal(host: str, *, allow_private: bool) -> str:
    """The same for a host as people type it: an address in any form that resolvers take (``127.1``, ``0x7f000001``, ``2130706433``,
    ``[::1]``), or a name that can only mean this host. Other names are judged when they are resolved: empty for them."""
    name = host.strip("[]").rstrip(".").lower()
    literal = literal_address(name)
    if literal is not None:
        why = refusal(str(literal), allow_private=allow_private)
        return f"{host} means {why}" if why and str(literal) != name else why
    if name in _METADATA_NAMES:
        return f"{host} is {METADATA}"
    if not allow_private and (name in _LOOPBACK_NAMES or name.endswith(".localhost")):
        return f"{host} is this host itself"
    return ""


def literal_address(host: str) -> IPv4Address | IPv6Address | None:
    """The address that a host is written as, in whatever form; None for a name."""
    try:
        return ip_address(host.partition("%")[0])
    except ValueError:
        pass
    if not host or host[-1] not in "0123456789abcdefABCDEF" or not host[0].isdigit() or not host.isascii() or " " in host:
        return None
    try:
        return IPv4Address(socket.inet_aton(host))  # decimal, octal, hexadecimal, fewer than four parts: as getaddrinfo reads them
    except OSError:
        return None


def _kind_v4(address: IPv4Address) -> str:
    return next((kind for network, kind in _V4 if address in network), "")


def _kind_v6(address: IPv6Address) -> str:
    found = next((kind for network, kind in _V6 if address in network), "")
    if found:
        return found
    for network, behind in _EMBEDDING:
        if address in network:
            inner = _kind_v4(IPv4Address(int(address) >> behind & 0xFFFFFFFF))
            return inner or ("a tunnel's address" if behind else "")
    return "" if address in _GLOBAL_V6 else "a reserved address"
