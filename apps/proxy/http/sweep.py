"""One coarse timer per event loop, instead of one timer per request.

Deadlines at this layer are seconds long, so nobody needs them exact: every member is asked four times a second whether its time
is up. ``now`` is the loop's time at the last beat; a deadline set as ``sweep.now + seconds + BEAT`` never fires early.
The same beat renews the ``Date`` header (RFC 9110 6.6.1) once a second.
"""

from __future__ import annotations

import asyncio
import logging
import time
from email.utils import formatdate
from http import HTTPStatus
from typing import Protocol
from weakref import WeakKeyDictionary

logger = logging.getLogger(__name__)

BEAT = 0.25
"""Seconds between two beats."""


class Swept(Protocol):
    def sweep(self, now: float) -> None:
        """``now``: the loop's time. Called about every ``BEAT`` seconds; may remove itself from the sweep."""


def status_line(status: int) -> bytes:
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = ""
    return f"HTTP/1.1 {status} {phrase}\r\n".encode()


class Sweep:
    __slots__ = ("__weakref__", "_loop", "_second", "_timer", "date", "heads", "members", "now")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._timer: asyncio.TimerHandle | None = None
        self._second = 0
        self.now = loop.time()
        self.members: set[Swept] = set()
        self.date = b""
        self.heads: dict[int, bytes] = {}
        """Status -> status line and date, rendered on first use in each second."""

    def join(self, member: Swept) -> None:
        if self._timer is None:
            self._tell_time()
            self._timer = self._loop.call_later(BEAT, self._beat)
        self.members.add(member)

    def leave(self, member: Swept) -> None:
        self.members.discard(member)

    def head(self, status: int) -> bytes:
        """Status line and date, cached in ``heads``."""
        head = self.heads[status] = status_line(status) + self.date
        return head

    def _tell_time(self) -> float:
        now = self.now = self._loop.time()
        second = int(time.time())
        if second != self._second:
            self._second = second
            self.date = f"date: {formatdate(second, usegmt=True)}\r\n".encode()
            self.heads.clear()
        return now

    def _beat(self) -> None:
        now = self._tell_time()
        for member in tuple(self.members):
            try:
                member.sweep(now)
            except Exception:  # one member's failure must not stop everybody's clock
                logger.exception("A sweep failed")
        self._timer = self._loop.call_later(BEAT, self._beat) if self.members else None


_sweeps: WeakKeyDictionary[asyncio.AbstractEventLoop, Sweep] = WeakKeyDictionary()


def sweep_of(loop: asyncio.AbstractEventLoop) -> Sweep:
    """The loop's only sweep."""
    sweep = _sweeps.get(loop)
    if sweep is None:
        sweep = _sweeps[loop] = Sweep(loop)
    return sweep
