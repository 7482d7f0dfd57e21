"""The broker goes away and comes back: a worker lives through it.

Redis carries hints and queues, never the truth: tasks are acknowledged after they ran, and asked for again by themselves. So its absence
is no fault of the process that notices it, and must not cost the worker's life with whatever it was doing.
"""

from __future__ import annotations

from typing import Any

from kombu import transport
from kombu.exceptions import OperationalError
from kombu.transport import redis
from redis.exceptions import ConnectionError as Disconnected
from redis.exceptions import TimeoutError as TimedOut

AWAY = (OperationalError, Disconnected, TimedOut, ConnectionError)
"""What kombu, the Redis client and sockets raise where nobody answers."""


class Channel(redis.Channel):  # type: ignore[misc]
    """Says of a connection that was closed that it is lost, as everybody above it expects.

    kombu 5.7 raises AttributeError there, when a task that ran while Redis went away is acknowledged or given back: the worker ends by it.
    """

    def _connparams(self, asynchronous: bool = False) -> dict[str, Any]:
        if getattr(self.connection, "client", None) is None:
            raise Disconnected("the connection to the broker was closed")
        found: dict[str, Any] = super()._connparams(asynchronous=asynchronous)
        return found


class Transport(redis.Transport):  # type: ignore[misc]
    Channel = Channel


def transports_take() -> None:
    """From now on every ``redis://`` and ``rediss://`` of kombu's is spoken to through this transport."""
    for scheme in ("redis", "rediss"):
        transport.TRANSPORT_ALIASES[scheme] = f"{__name__}:Transport"


def broker_away(error: object) -> bool:
    """Whether this exception, or one that it was raised for, says that the broker cannot be spoken to."""
    seen = 0
    while isinstance(error, BaseException) and seen < 10:
        if isinstance(error, AWAY):
            return True
        error, seen = error.__cause__ or error.__context__, seen + 1
    return False
