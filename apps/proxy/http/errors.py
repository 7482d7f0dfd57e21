"""What can go wrong at this border, both sides.

Towards upstreams (given to ``Sink.failed`` or raised by ``Pool.connect``; foreign errors are translated here and nowhere else)::

    UpstreamError
    ├── ConnectFailed            no connection was made; nothing was sent
    │   ├── DnsFailed            the name does not resolve
    │   ├── AddressRefused       it resolves only to addresses that this upstream may not use (the outbound guard)
    │   ├── ConnectionRefused    nobody listens there
    │   ├── TlsFailed            handshake or certificate
    │   ├── ConnectTimeout       not connected (TLS included) in time
    │   └── PoolExhausted        every connection is in use and none came free in time
    ├── ConnectionReset          closed or reset before the first byte of an answer
    ├── Truncated                closed or reset in the middle of an answer
    └── MalformedResponse        not HTTP/1.x as RFC 9112 has it, or beyond our bounds

Towards clients::

    Refused                      this layer answers by itself; code is one of ``apps.contracts.errors.CODES``
"""

from __future__ import annotations

import socket
import ssl


class UpstreamError(Exception):
    """An upstream did not give a whole answer."""

    sent = True
    """Whether a part of the request may have reached the upstream."""


class ConnectFailed(UpstreamError):
    sent = False


class DnsFailed(ConnectFailed):
    pass


class AddressRefused(ConnectFailed):
    pass


class ConnectionRefused(ConnectFailed):
    pass


class TlsFailed(ConnectFailed):
    pass


class ConnectTimeout(ConnectFailed):
    pass


class PoolExhausted(ConnectFailed):
    pass


class ConnectionReset(UpstreamError):
    pass


class Truncated(UpstreamError):
    pass


class MalformedResponse(UpstreamError):
    pass


class Refused(Exception):
    """Raised while a request is being read; becomes the answer, after which the connection closes."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def connect_failed(error: BaseException, where: str) -> ConnectFailed:
    """Translates what sockets, resolvers and TLS raise. ``where`` is ``host:port``."""
    if isinstance(error, ConnectFailed):
        return error
    if isinstance(error, socket.gaierror):
        return DnsFailed(f"The name of {where} does not resolve: {error.strerror or error}.")
    if isinstance(error, ssl.SSLError):
        reason = getattr(error, "verify_message", "") or error.reason or str(error)
        return TlsFailed(f"TLS with {where} failed: {reason}.")
    if isinstance(error, TimeoutError):
        return ConnectTimeout(f"No connection to {where} in time.")
    if isinstance(error, ConnectionRefusedError):
        return ConnectionRefused(f"Nobody listens on {where}.")
    if isinstance(error, ConnectionError):
        return ConnectFailed(f"The connection to {where} broke while it was being made: {type(error).__name__}.")
    if isinstance(error, OSError):
        return ConnectFailed(f"{where} cannot be reached: {error.strerror or error}.")
    return ConnectFailed(f"{where} cannot be reached: {type(error).__name__}.")
