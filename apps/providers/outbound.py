"""The one way out of the control plane to addresses that people typed: httpx behind the outbound guard.

Names are resolved once, every address is judged (``apps.contracts.addresses``), and the connection is made to one that was judged: a
name that answers differently the next time gains nothing. Redirects are not followed and proxies from the environment are not used, so
a credential goes where it was meant to and nowhere else; should a caller follow redirects, each is judged like the first address.
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterable
from typing import Any

import httpcore
import httpx

from apps.contracts.addresses import refusal

TIMEOUT = httpx.Timeout(10.0, connect=5.0)
"""Seconds between two bytes, and to connect to one address."""

Resolve = Callable[[str, int], list[str]]


class AddressRefused(httpcore.ConnectError):
    """The guard: every address that the name has is one that this provider may not use. Arrives as the cause of ``httpx.ConnectError``."""


class NameUnknown(httpcore.ConnectError):
    """The name does not resolve. Arrives as the cause of ``httpx.ConnectError``."""


def resolve(host: str, port: int) -> list[str]:
    """The addresses of a host, in the system's order, none twice. Raises ``socket.gaierror``."""
    return list(dict.fromkeys(str(found[4][0]) for found in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)))


class GuardedBackend(httpcore.NetworkBackend):
    """Connects to judged addresses only. ``asked``: the resolver; tests bring their own."""

    def __init__(self, *, allow_private: bool, asked: Resolve = resolve) -> None:
        self._allow_private = allow_private
        self._resolve = asked
        self._dial = httpcore.SyncBackend()

    def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore.NetworkStream:
        try:
            addresses = self._resolve(host, port)
        except (socket.gaierror, UnicodeError) as error:
            raise NameUnknown(f"{host} does not resolve: {getattr(error, 'strerror', None) or error}") from error
        why = [refusal(address, allow_private=self._allow_private) for address in addresses]
        allowed = [address for address, refused in zip(addresses, why, strict=True) if not refused]
        if not allowed:
            what = next(filter(None, why), "it has no address")
            raise AddressRefused(what if what.startswith(f"{host} ") else f"{host}: {what}")
        deadline = None if timeout is None else time.monotonic() + timeout
        for at, address in enumerate(allowed, 1):
            left = None if deadline is None else max(deadline - time.monotonic(), 0.001)
            try:
                return self._dial.connect_tcp(address, port, left, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                if at == len(allowed) or (deadline is not None and time.monotonic() >= deadline):
                    raise
        raise AssertionError("a loop over at least one address returns or raises")

    def connect_unix_socket(self, path: str, timeout: float | None = None, socket_options: Iterable[Any] | None = None) -> Any:
        raise AddressRefused("sockets of this host are not called")

    def sleep(self, seconds: float) -> None:
        self._dial.sleep(seconds)


class GuardedTransport(httpx.HTTPTransport):
    """httpx's own transport, with its connections made by ``GuardedBackend``."""

    def __init__(self, *, allow_private: bool, tls: ssl.SSLContext, asked: Resolve = resolve) -> None:
        super().__init__(verify=tls, trust_env=False)
        self._pool.close()
        self._pool = httpcore.ConnectionPool(
            ssl_context=tls, max_connections=4, network_backend=GuardedBackend(allow_private=allow_private, asked=asked)
        )


def tls_settings(*, verify: bool = True, ca_file: str = "") -> ssl.SSLContext:
    """As the proxies have them: verified against the system's authorities or ``ca_file``. Raises OSError where that cannot be read."""
    context = ssl.create_default_context(cafile=ca_file or None)
    if not verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def client(
    *, allow_private: bool, tls: ssl.SSLContext | None = None, timeout: httpx.Timeout = TIMEOUT, asked: Resolve = resolve
) -> httpx.Client:
    """A client for one provider's addresses. allow_private: that provider's explicit switch."""
    transport = GuardedTransport(allow_private=allow_private, tls=tls or tls_settings(), asked=asked)
    return httpx.Client(transport=transport, timeout=timeout, follow_redirects=False, trust_env=False)


def cause_of(error: BaseException, kind: type[BaseException]) -> BaseException | None:
    """The first error of a kind along the chain of causes and contexts; httpx wraps what httpcore raised, which wraps the system's."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        if isinstance(found, kind):
            return found
        seen.add(id(found))
        found = found.__cause__ or found.__context__
    return None
