"""Identifiers: UUIDv7 of our own (RFC 9562), because Python 3.11 has none.

The timestamp in the id selects the day partition of a usage record, so an id is made once,
by the proxy, at the request's arrival, and never taken from a client.
"""

from __future__ import annotations

import os
import time
from uuid import UUID

_TAIL = 10
_POOL = 409 * _TAIL
_VERSION = bytes(byte & 0x0F | 0x70 for byte in range(256))
_VARIANT = bytes(byte & 0x3F | 0x80 for byte in range(256))
_pool = b""
_at = 0


def _tail() -> bytes:
    """Ten random bytes with version and variant set, from a pool: one system call in 409 ids."""
    global _pool, _at
    at = _at
    if at >= len(_pool):
        fresh = bytearray(os.urandom(_POOL))
        fresh[0::_TAIL] = fresh[0::_TAIL].translate(_VERSION)
        fresh[2::_TAIL] = fresh[2::_TAIL].translate(_VARIANT)
        _pool, at = bytes(fresh), 0
    _at = at + _TAIL
    return _pool[at : at + _TAIL]


def _forget_pool() -> None:
    global _pool, _at
    _pool, _at = b"", 0


os.register_at_fork(after_in_child=_forget_pool)


def uuid7_bytes(unix_ms: int | None = None) -> bytes:
    """Sixteen bytes of a UUIDv7. ``unix_ms``: milliseconds since the epoch (default: now)."""
    ms = time.time_ns() // 1_000_000 if unix_ms is None else unix_ms
    # 48 bits time | 4 bits version 7 | 12 random | 2 bits variant 10 | 62 random
    return (ms & 0xFFFFFFFFFFFF).to_bytes(6, "big") + _tail()


def uuid7(unix_ms: int | None = None) -> UUID:
    """A UUIDv7 as ``uuid.UUID``."""
    return UUID(bytes=uuid7_bytes(unix_ms))


def uuid_text(raw: bytes) -> str:
    """Canonical text of sixteen bytes, without building a UUID object."""
    h = raw.hex()
    return f"{h[:8]}-{h[8:12]}-{h[12:16]}-{h[16:20]}-{h[20:]}"


def uuid7_unix_ms(value: UUID | bytes) -> int:
    """Milliseconds since the epoch that a UUIDv7 carries."""
    raw = value.bytes if isinstance(value, UUID) else value
    return int.from_bytes(raw[:6], "big")
