"""What is written while one batch of events is handled goes to the sockets when the batch is done.

An event loop takes what is ready in batches, and every write wakes whoever sleeps at the other end, which costs a busy machine more
than the write itself. Written one after the other, most writes find their reader awake. Whoever closes a connection flushes first.
"""

from __future__ import annotations

import asyncio
import logging
from weakref import WeakKeyDictionary

logger = logging.getLogger(__name__)


SMALL = 1024
MANY = 64
FULL = SMALL * MANY
"""At most MANY writes wait, and of those above SMALL bytes at most FULL bytes: a fast producer meets its transport's high-water mark."""


class Outbox:
    """One per event loop. Order is kept; nothing waits longer than the batch at hand."""

    __slots__ = ("__weakref__", "_loop", "_size", "_transports", "_waiting")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._transports: list[asyncio.Transport] = []
        self._waiting: list[bytes] = []
        """What goes to the transport at the same place: two lists, so that no pair is made for every write."""
        self._size = 0
        """Bytes that wait, those of small writes apart: they are bounded by their number."""

    def write(self, transport: asyncio.Transport, data: bytes) -> None:
        waiting = self._waiting
        waiting.append(data)
        self._transports.append(transport)
        if len(waiting) == 1:
            self._loop.call_soon(self.flush)
        if len(data) > SMALL:
            self._size += len(data)
            if self._size > FULL:
                self.flush()
        elif len(waiting) >= MANY:
            self.flush()

    def flush(self) -> None:
        waiting, self._waiting = self._waiting, []
        transports, self._transports = self._transports, []
        self._size = 0
        for number, data in enumerate(waiting):
            try:
                transports[number].write(data)
            except RuntimeError:  # closed meanwhile: its protocol has been told
                pass
            except Exception:  # one connection's failure must not keep back the others' bytes
                logger.exception("A write failed")


_outboxes: WeakKeyDictionary[asyncio.AbstractEventLoop, Outbox] = WeakKeyDictionary()


def outbox_of(loop: asyncio.AbstractEventLoop) -> Outbox:
    """The loop's only outbox."""
    outbox = _outboxes.get(loop)
    if outbox is None:
        outbox = _outboxes[loop] = Outbox(loop)
    return outbox
