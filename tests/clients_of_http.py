"""httpx as these tests use it: patient, and with one TLS context for all clients that want nothing else of it."""

from __future__ import annotations

import functools
import os
from typing import TYPE_CHECKING, Any

from httpx._config import DEFAULT_TIMEOUT_CONFIG
from httpx._transports import default

if TYPE_CHECKING:
    import ssl

_own = default.create_ssl_context


@functools.cache
def _usual(trust_env: bool, *trusted: str | None) -> ssl.SSLContext:
    return _own(trust_env=trust_env)


def _shared(verify: Any = True, cert: Any = None, trust_env: bool = True) -> ssl.SSLContext:
    if verify is True and cert is None:
        return _usual(trust_env, os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR"))
    return _own(verify, cert, trust_env)


def httpx_shaped() -> None:
    """httpx gives up after five seconds where nobody says otherwise; a busy machine takes longer. And each of its clients, also of those
    that speak plain HTTP, reads the certificates that everybody trusts: 20 ms, for hundreds of them.
    """
    for what in ("connect", "read", "write", "pool"):
        setattr(DEFAULT_TIMEOUT_CONFIG, what, 60.0)
    default.create_ssl_context = _shared
