"""The shipper's loop: find journals, read them, settle them, bury the dead. One process per host.

It holds no state that Postgres and the journals do not hold: on any failure it forgets what it read and starts again from
the watermarks, so being killed at any moment is the same as pausing. Postgres away: it waits and tries again, for
as long as it takes; journals grow on disk meanwhile, and proxies say "not ready" at 80% of their bound.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import threading
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING
from uuid import UUID

from django.db import Error, InterfaceError, OperationalError, connection

from apps.contracts.journal import LOCK_NAME, NEW_PREFIX
from apps.settlement import presence, services
from apps.settlement.choices import DRAINED
from apps.settlement.folding import Folder
from apps.settlement.tail import JournalTail
from apps.settlement.watchdogs import Watchdogs

if TYPE_CHECKING:
    from apps.contracts.exposition import Family
    from apps.contracts.usage import UsageRecord
    from apps.settlement.metrics import ShipperMetrics
    from apps.settlement.tracing import Traces

log = logging.getLogger("bulkhead.shipper")

BATCH_ROWS = 5_000
BATCH_FRAMES = 20_000
BATCH_SECONDS = 0.25
FIRST_ROWS = 500
"""Of a batch that was waiting, so many are read before it is begun; the rest while Postgres stores them."""
NEXT_ROWS = 250
FOLD_ROWS = 1_000
"""A smaller batch brings the rollups up to date itself; those of a busy shipper are folded beside it (``apps.settlement.folding``)."""
BUSY_SECONDS = 0.02
IDLE_SECONDS = 0.2
DISCOVER_SECONDS = 0.2
DEATH_SECONDS = 0.2
"""How often the lock of a journal with nothing to read is tried."""
STATUS_SECONDS = 1.0
RETRY_SECONDS = (0.1, 0.2, 0.5, 1.0, 2.0)
DAMAGE_SECONDS = 10.0
"""A frame of a live journal that does not verify for this long is no longer "being written"."""
STOP_SECONDS = 5.0
"""How long a stopping shipper goes on where proxies go on writing."""
STALE_NEW_SECONDS = 3600.0


class Shipper:
    """Settles every journal below ``root``. ``status``: file that says how it goes, rewritten every second. ``traces``: exports what is
    settled; None: nobody wants it. ``metrics``: counts what is settled. ``metrics_url``: where that is scraped, for who lists it."""

    def __init__(
        self, root: Path, *, status: Path | None = None, traces: Traces | None = None, metrics: ShipperMetrics | None = None
    ) -> None:
        self.root = root
        self.traces = traces
        self.metrics = metrics
        self.metrics_url = ""
        self.records = 0
        self._status = status
        self._tails: dict[str, JournalTail] = {}
        self._discovered_at = self._death_checked_at = self._status_at = 0.0
        self._said_at = -presence.SEEN_SECONDS
        self._batch_at: float | None = None
        self._behind = False
        """Whether the last batch was full: more is waiting, and the next one need not be old enough, nor read whole before it is begun."""
        self._folder = Folder()
        self._unfolded = True
        """Whether batches may wait for a fold: at first, those of a shipper that was killed."""
        self._failures = 0
        self._state = "starting"
        self._error = ""
        self.lag_ms = 0
        self._damaged: dict[str, float] = {}
        self.watchdogs = Watchdogs()
        self._unreadable_names: set[str] = set()

    def run(self, stop: threading.Event) -> None:
        """Until ``stop`` is set and all that is there is settled, or Postgres is away then."""
        pause = BUSY_SECONDS
        stop_at: float | None = None
        while True:
            stopping = stop.is_set()
            if stopping and stop_at is None:
                stop_at = time.monotonic() + STOP_SECONDS
            try:
                read, settled = self.round(force=stopping)
            except Exception as error:
                self._failed(error)
                if stopping:
                    log.warning("stopping with unsettled records in %s; the next start settles them", self.root)
                    break
                stop.wait(RETRY_SECONDS[min(self._failures, len(RETRY_SECONDS)) - 1])
                continue
            self._recovered()
            if read or settled:
                pause = BUSY_SECONDS
            elif stopping:
                break
            if stop_at is not None and time.monotonic() > stop_at and self._batch_at is None:
                break  # proxies write on: the rest is the next shipper's
            if not read or self._batch_at is not None:
                stop.wait(pause)
                pause = min(IDLE_SECONDS, pause * 1.5) if self._batch_at is None else BUSY_SECONDS
        self._state = "stopped"
        self._status_write(force=True)
        self.close()

    def close(self) -> None:
        self._folder.close()
        for tail in self._tails.values():
            tail.close()
        self._tails.clear()

    def round(self, *, force: bool = False) -> tuple[bool, bool]:
        """Look for journals, read, and settle when a batch is full or old enough (``force``: whatever is there).

        Returns whether anything was read, and whether a transaction was committed.
        """
        now = time.monotonic()
        self._folder.collect()
        if force or now - self._discovered_at >= DISCOVER_SECONDS:
            self._discover()
            self._discovered_at = now
        read, ended = self._read(now, force=force)
        waiting = [tail for tail in self._tails.values() if tail.unsettled or tail.boot_id in ended]
        if waiting and self._batch_at is None:
            self._batch_at = now
        rows = sum(len(tail.taken.records) for tail in waiting)
        due = self._batch_at is not None and (force or ended or self._behind or rows >= BATCH_ROWS or now - self._batch_at >= BATCH_SECONDS)
        if due:
            fold = rows < FOLD_ROWS and not self._behind and not self._folder.busy
            self._settle(waiting, [tail for tail in waiting if tail.boot_id in ended], fold=fold)
            if not fold:
                self._folder.begin()
        elif not waiting:
            self.lag_ms = 0
            if self._unfolded:
                self._folder.wait()
                due = services.rollups_fold() > 0
                self._unfolded = due
        self.watchdogs.look(now)
        self._status_write()
        self._say(now)
        return read, due

    # -- inside ---------------------------------------------------------------------------------------------

    def _read(self, now: float, *, force: bool) -> tuple[bool, set[str]]:
        """Read on in every journal, in turn; returns whether there was anything, and the boot ids of the ended ones."""
        check_death = force or now - self._death_checked_at >= DEATH_SECONDS
        if check_death:
            self._death_checked_at = now
        rows = BATCH_ROWS - sum(len(tail.taken.records) for tail in self._tails.values())
        if self._behind:
            rows = min(rows, FIRST_ROWS)
        share = max(1, rows // max(1, len(self._tails)))
        read = False
        ended: set[str] = set()
        for tail in self._tails.values():
            if rows <= 0 or tail.taken.frames >= BATCH_FRAMES:
                continue
            # The lock first, then the rest of the journal: what was written before the death is seen.
            dead = tail.dead or (check_death and tail.check_death())
            try:
                taken = tail.take(rows=share, frames=BATCH_FRAMES - tail.taken.frames)
            except OSError as error:
                self._unreadable(tail.boot_id, error)
                continue
            if taken:
                read = True
            elif dead:
                ended.add(tail.boot_id)
            self._watch_damage(tail, now)
        return read, ended

    def _read_on(self, tails: list[JournalTail]) -> list[UsageRecord]:
        """Some more records of the batch that is being stored; none: it is full, or that was all."""
        found: list[UsageRecord] = []
        room = BATCH_ROWS - sum(len(tail.taken.records) for tail in tails)
        share = max(1, min(room, NEXT_ROWS) // max(1, len(tails)))
        for tail in tails:
            if len(found) >= room:
                break
            before = len(tail.taken.records)
            try:
                tail.take(rows=share, frames=BATCH_FRAMES - tail.taken.frames)
            except OSError as error:
                self._unreadable(tail.boot_id, error)
            found += tail.taken.records[before:]
        return found

    def _settle(self, waiting: list[JournalTail], ended: list[JournalTail], *, fold: bool) -> None:
        more = partial(self._read_on, [tail for tail in waiting if tail not in ended]) if self._behind else None
        settled = services.batch_settle(tails=waiting, ended=ended, fold=fold, more=more)
        self._batch_at = None
        self._behind = settled.records >= BATCH_ROWS
        self._unfolded = True
        if self.traces is not None:
            self.traces.offer(settled.stored)
        if self.metrics is not None:
            self.metrics.count(settled)
        self.records += settled.records
        self.lag_ms = settled.lag_ms
        if settled.rejected:
            log.error("%d records could not be stored as usage; they are kept in settlement_reject", settled.rejected)
        for tail in ended:
            ending = tail.ending()
            if ending.lost_bytes:
                log.error(
                    "the journal of proxy %s was torn at %d:%d: %d bytes after it cannot be read (power loss?); all before it is settled",
                    tail.boot_id,
                    *tail.position,
                    ending.lost_bytes,
                )
            log.info("the journal of proxy %s is settled to its end (%d requests with unknown outcome)", tail.boot_id, len(tail.opens))
            self._remove(tail)

    def _discover(self) -> None:
        seen = set()
        for entry in os.scandir(self.root):
            if entry.name.startswith(NEW_PREFIX):
                _sweep_unfinished(Path(entry.path))
            elif _is_boot_id(entry.name) and entry.is_dir(follow_symlinks=False):
                seen.add(entry.name)
                if entry.name not in self._tails:
                    try:
                        self._adopt(Path(entry.path))
                    except OSError as error:
                        self._unreadable(entry.name, error)
        for name in self._tails.keys() - seen:
            log.error("the journal of proxy %s has vanished from %s; if its disk is lost: manage.py journal_write_off", name, self.root)
            self._tails.pop(name).close()

    def _adopt(self, directory: Path) -> None:
        tail = JournalTail(directory, segment=1, offset=0, first_segment=1)
        meta = tail.meta()
        row = services.journal_adopt(
            directory_name=directory.name, name=meta.name if meta else "", started_us=meta.started_us if meta else 0
        )
        tail = JournalTail(directory, segment=row.segment, offset=row.offset, first_segment=row.first_segment)
        if row.state == DRAINED:
            if tail.check_death():
                self._remove(tail)
            return
        tail.delete_passed()
        tail.recover(services.carried_opens(boot_id=directory.name))
        self._tails[directory.name] = tail
        log.info("settling the journal of proxy %s (%s) from %d:%d", row.name, directory.name, *tail.start)

    def _unreadable(self, name: str, error: OSError) -> None:
        """One journal that cannot be read does not stop the others; said once a process."""
        if name not in self._unreadable_names:
            self._unreadable_names.add(name)
            log.error("the journal of proxy %s cannot be read: %s; its records wait, check %s", name, error.strerror, self.root / name)

    def _remove(self, tail: JournalTail) -> None:
        """Postgres says drained; where the files cannot be deleted now, the next start does it."""
        self._tails.pop(tail.boot_id, None)
        try:
            tail.remove()
        except OSError as error:
            log.error("the settled journal %s cannot be deleted: %s; check its permissions", tail.directory, error.strerror)
            tail.close()

    def _watch_damage(self, tail: JournalTail, now: float) -> None:
        if not tail.waiting_for_frame:
            self._damaged.pop(tail.boot_id, None)
            return
        since = self._damaged.setdefault(tail.boot_id, now)
        if since >= 0 and now - since > DAMAGE_SECONDS:
            self._damaged[tail.boot_id] = -1.0  # said once
            log.error(
                "the journal of proxy %s does not verify at %d:%d and its proxy lives: restart that proxy, its later records settle then",
                tail.boot_id,
                *tail.position,
            )

    def _failed(self, error: Exception) -> None:
        """Forget what was read and the connection: the next round starts from the watermarks."""
        self.close()
        self._unfolded = True
        self._behind = False
        self._batch_at = None
        self._discovered_at = 0.0
        self._failures += 1
        away = isinstance(error, (OperationalError, InterfaceError))
        state = "waiting for Postgres" if away else "failing"
        if state != self._state or (not away and str(error) != self._error):
            if away:
                log.warning("Postgres is away (%s); nothing is lost, records wait in %s", str(error).strip().split("\n")[0], self.root)
            elif isinstance(error, services.WatermarkMoved):
                log.warning("%s; reading its watermark again", error)
            else:
                log.error("settling failed; trying again until it works", exc_info=error)
        self._state, self._error = state, str(error)
        try:
            connection.close()
        except Error:
            connection.connection = None
        self._status_write()

    def _recovered(self) -> None:
        if self._failures:
            log.warning("settling again after %d failed attempts", self._failures)
        self._failures = 0
        self._state, self._error = "running", ""

    def _say(self, now: float) -> None:
        """Tells Postgres, now and then, that this shipper is there and how far it is behind."""
        if now - self._said_at >= presence.SEEN_SECONDS:
            presence.shipper_say(
                directory=str(self.root),
                pid=os.getpid(),
                metrics_url=self.metrics_url,
                state=self._state,
                lag_ms=self._lag(),
                records=self.records,
            )
            self._said_at = now

    def families(self) -> list[Family]:
        """What it says to who scrapes it, in their thread."""
        assert self.metrics is not None
        tails = list(self._tails.values())
        return self.metrics.families(
            state=self._state,
            lag_ms=self._lag(),
            journals=len(tails),
            opens=sum(len(tail.opens) for tail in tails),
            traces=self.traces.state() if self.traces is not None else None,
        )

    def _status_write(self, *, force: bool = False) -> None:
        now = time.monotonic()
        if self._status is None or not (force or now - self._status_at >= STATUS_SECONDS):
            return
        self._status_at = now
        body = {
            "pid": os.getpid(),
            "at_ms": time.time_ns() // 1_000_000,
            "state": self._state,
            "error": self._error,
            "warnings": self.watchdogs.warnings,
            "records": self.records,
            "lag_ms": self._lag(),
            "metrics_url": self.metrics_url,
            "journals": [
                {
                    "boot_id": t.boot_id,
                    "segment": t.position[0],
                    "offset": t.position[1],
                    "opens": len(t.opens),
                    "segments": len(t.segments()),
                }
                for t in self._tails.values()
            ],
            "traces": self.traces.state() if self.traces is not None else None,
        }
        try:
            self._status.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            making = self._status.with_suffix(".new")
            making.write_text(json.dumps(body))
            making.replace(self._status)
        except OSError as error:
            log.warning("the status file %s cannot be written: %s", self._status, error.strerror)

    def _lag(self) -> int:
        oldest = min(_ends(list(self._tails.values())), default=None)
        return self.lag_ms if oldest is None else max(self.lag_ms, time.time_ns() // 1_000_000 - oldest)


def _ends(tails: Iterable[JournalTail]) -> Iterable[int]:
    for tail in tails:
        for record in tail.taken.records[:1]:
            yield (record.started_us + max(0, record.total_us)) // 1000


def _is_boot_id(name: str) -> bool:
    try:
        return str(UUID(name)) == name
    except ValueError:
        return False


def _sweep_unfinished(directory: Path) -> None:
    """A journal whose proxy died while making it holds no record; after an hour nobody is making it any more."""
    try:
        if time.time() - directory.stat().st_mtime < STALE_NEW_SECONDS:
            return
        if (directory / LOCK_NAME).exists():
            fd = os.open(directory / LOCK_NAME, os.O_RDWR | os.O_CLOEXEC)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            finally:
                os.close(fd)
        for path in directory.iterdir():
            path.unlink()
        directory.rmdir()
    except OSError:
        return  # locked after all, or gone meanwhile
