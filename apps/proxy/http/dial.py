"""From an origin to a connected transport: name resolution, the outbound guard, racing addresses, TLS.

The guard (``apps.contracts.addresses``) judges the very addresses that are dialled, after the only resolution there is: a name that
answers differently from one moment to the next gains nothing. It costs a connection a few microseconds and a request nothing.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from asyncio.staggered import staggered_race
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple, cast

from apps.contracts.addresses import refusal
from apps.proxy.http.errors import AddressRefused, connect_failed

_HEAD_START = 0.25
"""Seconds that one address has before the next is tried beside it (RFC 8305, section 5)."""


class Origin(NamedTuple):
    """Where a pool's connections go.

    scheme: ``http`` or ``https``. host: name or address, without brackets. sni: the name that TLS asks for and verifies,
    when it is not ``host``. allow_private: addresses of this host, of private networks and the like may be dialled.
    """

    scheme: str
    host: str
    port: int
    sni: str = ""
    allow_private: bool = False

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def client_tls(ca_file: str | None = None, *, verify: bool = True) -> ssl.SSLContext:
    """The TLS settings of a pool: verified against the system's authorities, or against ``ca_file`` (PEM) instead.

    ``verify=False`` is for tests of an operator's own machines; nothing sets it by default.
    """
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _permitted(origin: Origin, addresses: list[tuple[int, tuple[object, ...]]]) -> list[tuple[int, tuple[object, ...]]]:
    """The addresses that may be dialled. Raises AddressRefused where none may."""
    why = [refusal(str(address[0]), allow_private=origin.allow_private) for _, address in addresses]
    allowed = [item for item, refused in zip(addresses, why, strict=True) if not refused]
    if not allowed:
        what = next(filter(None, why), "it has no address")
        way = "" if origin.allow_private else "; its provider is not allowed private addresses (allow_private_addresses)"
        raise AddressRefused(f"{origin} is not called: {what}{way}.")
    return allowed


def _interleaved(addresses: list[tuple[int, tuple[object, ...]]]) -> list[tuple[int, tuple[object, ...]]]:
    """Families in turn, the resolver's first choice first (RFC 8305, section 4)."""
    first = [item for item in addresses if item[0] == addresses[0][0]]
    other = [item for item in addresses if item[0] != addresses[0][0]]
    turns: list[tuple[int, tuple[object, ...]]] = []
    for index in range(max(len(first), len(other))):
        turns += first[index : index + 1] + other[index : index + 1]
    return turns


async def _connected(loop: asyncio.AbstractEventLoop, family: int, address: tuple[object, ...]) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setblocking(False)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_connect(sock, cast("tuple[str, int]", address))
    except BaseException:
        sock.close()
        raise
    return sock


async def _race(loop: asyncio.AbstractEventLoop, origin: Origin) -> socket.socket:
    found = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
    addresses = _interleaved(_permitted(origin, [(int(family), address) for family, _, _, _, address in found]))
    if len(addresses) == 1:
        return await _connected(loop, *addresses[0])
    sock: socket.socket | None
    sock, _, errors = await staggered_race((partial(_connected, loop, *address) for address in addresses), _HEAD_START)
    if sock is None:
        raise next(error for error in errors if error is not None)
    return sock


async def dial(
    loop: asyncio.AbstractEventLoop, origin: Origin, tls: ssl.SSLContext | None, factory: Callable[[], Any], seconds: float
) -> None:
    """Connects ``factory()`` to the origin within ``seconds``, TLS included; raises ``ConnectFailed``."""
    sock: socket.socket | None = None
    try:
        async with asyncio.timeout(seconds):
            sock = await _race(loop, origin)
            if tls is None:
                await loop.create_connection(factory, sock=sock)
            else:
                await loop.create_connection(factory, sock=sock, ssl=tls, server_hostname=origin.sni or origin.host)
    except asyncio.CancelledError:
        if sock is not None:
            sock.close()
        raise
    except Exception as error:
        if sock is not None:
            sock.close()
        raise connect_failed(error, str(origin)) from error
