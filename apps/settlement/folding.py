"""Brings the rollups up to date beside settling: in a thread and transaction of its own, while the next batches are stored.

Under load batches leave their sums pending (``apps.usage.services.cells_keep``). Adding them waits mostly for Postgres; done between two
batches, nothing would be stored meanwhile. Invariant: a sum is pending or added, never both and never neither, because the transaction
that adds it deletes it; so a fold that fails, or that nobody waits for, loses nothing.

Most of a fold's work are the totals by all dimensions and the wide ones: thousands of rows, each of which nearly every second has something
for. Those of the running minute are added every ``WIDE_SECONDS``; those of a minute that is over with the next fold, as all others.
"""

from __future__ import annotations

import time
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime

from django.db import connection

from apps.settlement import services

SECONDS = (0.5, 2.0)
SHARE = 0.1
"""Folding goes on for about this share of the time, and begins again within ``SECONDS``: adding to a row of a rollup costs several
times what storing a record does, and every batch adds to the same rows."""
WIDE_SECONDS = 10.0
"""How long the wide totals of the running minute may wait."""


class Folder:
    """One fold at a time, in one thread that keeps its connection. Used by the shipper's thread alone."""

    def __init__(self) -> None:
        self._pool: ThreadPoolExecutor | None = None
        self._running: Future[float] | None = None
        self._due_at = self._wide_at = 0.0

    @property
    def busy(self) -> bool:
        """Whether a fold is under way: its rows are locked, and who wants them would wait for it."""
        return self._running is not None

    def collect(self) -> None:
        """Takes note of a fold that has ended. Raises what it raised: a fold that fails is a round that fails."""
        if self._running is not None and self._running.done():
            self.wait()

    def begin(self) -> None:
        """Begins a fold where one is due and none is under way."""
        if self._running is None and time.monotonic() >= self._due_at:
            self._pool = self._pool or ThreadPoolExecutor(1, "fold")
            now = time.monotonic()
            hold_from = None
            if now < self._wide_at:
                hold_from = datetime.fromtimestamp(time.time() // 60 * 60, UTC)
            else:
                self._wide_at = now + WIDE_SECONDS
            self._running = self._pool.submit(_fold, hold_from)

    def wait(self) -> None:
        """Until no fold is under way. Raises what it raised."""
        running, self._running = self._running, None
        if running is not None:
            least, most = SECONDS
            self._due_at = time.monotonic() + most
            took = running.result()
            self._due_at = time.monotonic() + min(max(took / SHARE, least), most)

    def close(self) -> None:
        """Ends the thread and its connection; what it could not do stays pending."""
        pool, self._pool, self._running = self._pool, None, None
        if pool is not None:
            pool.submit(connection.close)
            pool.shutdown()


def _fold(hold_from: datetime | None) -> float:
    """One fold; returns its seconds."""
    began = time.monotonic()
    connection.close_if_unusable_or_obsolete()
    try:
        services.rollups_fold(hold_from=hold_from)
    except Exception:
        connection.close()
        raise
    return time.monotonic() - began
