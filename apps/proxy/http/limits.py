"""Bounds of both sides: what a peer may make us hold, and for how long. Bytes and seconds."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What a client may do.

    head_bytes: request line and headers -> 431. headers: how many -> 431. target_bytes: request target -> 414.
    body_bytes: -> 413; of the paths in ``uploads`` upload_bytes.
    head_seconds: from the head's first byte to its end -> 408. body_seconds and body_rate: every
    ``body_seconds`` a body being sent must have grown by ``body_seconds * body_rate`` bytes, and ``body_whole_seconds`` after it began it
    must be whole -> 408. idle_seconds: keep-alive
    without a request -> closed. write_seconds: not a byte taken while we have some to give -> connection aborted.
    linger_seconds, linger_bytes: how much is still read and dropped after an early answer, so that the client can read it.
    pipeline_bytes: how much is read ahead, unparsed, while an answer is being made.
    """

    head_bytes: int = 65_536
    headers: int = 200
    target_bytes: int = 8_192
    body_bytes: int = 10_000_000
    uploads: frozenset[bytes] = frozenset()
    upload_bytes: int = 30_000_000
    head_seconds: float = 10.0
    body_seconds: float = 30.0
    body_rate: int = 512
    body_whole_seconds: float = 300.0
    idle_seconds: float = 75.0
    write_seconds: float = 60.0
    linger_seconds: float = 5.0
    linger_bytes: int = 16_777_216
    pipeline_bytes: int = 65_536


@dataclass(frozen=True, slots=True)
class ClientLimits:
    """What an upstream may do, and how many connections to it we hold.

    connections: open at once, idle ones included. idle_seconds: an unused connection is closed. connect_seconds: for
    connections that the layer makes by itself (stale replay), TLS included. head_bytes: status line and headers (1xx answers
    before it included), also chunk extensions and trailers. headers: how many. informational: 1xx answers per request.
    """

    connections: int = 4_096
    idle_seconds: float = 30.0
    connect_seconds: float = 2.0
    head_bytes: int = 65_536
    headers: int = 200
    informational: int = 16
