"""The proxy's append-only usage journal: the promise that no usage record is lost starts here.

Invariants, each with a test:

1. **Whole or absent.** ``append`` returns only after the whole frame is in the page cache of a shared
   mapping, so SIGKILL at any later moment loses nothing. A frame's length word is stored last, in one
   aligned 32-bit store: whoever reads a length reads a whole frame.
2. **Admitted means writable.** After ``admit()`` returned True, that request's opens and its full record
   fit, whatever happens to the disk: their bytes are allocated and mapped already.
3. **A full disk is an error at preparation, never a SIGBUS**: segments are allocated by
   ``posix_fallocate`` before they are mapped. (Copy-on-write file systems such as btrfs and ZFS may
   still need space when a page is written: keep the journal on ext4, XFS or tmpfs.)
4. **Bounded**: the segments on disk never exceed ``max_bytes``; the shipper's deletions make room.
5. **Power loss costs at most one fsync interval**: data, the directory entry of each segment, and the
   directory itself are synced by ``upkeep``; a segment's entry is synced before the segment is full.
6. **Alive means locked**: ``lock`` is held from before the directory gets its final name until ``close``
   or the process's death, by a descriptor that no child inherits.

The arithmetic of admission. A request may write ``RESERVED_OPENS`` opens of ``MAX_OPEN_PAYLOAD`` and one
record of ``MAX_PAYLOAD``: ``REQUEST_BYTES`` with frames. A frame that does not fit the rest of a segment
leaves that rest empty, so a segment with ``r`` free bytes is sure to hold only ``max(0, r - SLACK)``,
``SLACK`` being the largest frame less its eight-byte alignment. ``admit`` demands ::

    sum over current and prepared segments of max(0, r - SLACK)  >=  (admitted + 1) * REQUEST_BYTES

An append of f bytes lowers the left side by at most f: in the current segment by f; at a rotation the
old segment's share was already 0 (r < f <= largest frame), and the new one's falls by f. So each admitted
request keeps what it has not used yet, and ``append`` cannot fail. A request that needs more attempts
than ``RESERVED_OPENS`` calls ``admit`` again for them (and ``retire`` once more).
"""

from __future__ import annotations

import asyncio
import fcntl
import mmap
import os
import shutil
import sys
import threading
import time
import zlib
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import UUID

import msgspec

from apps.contracts.journal import (
    FIRST_OFFSET,
    LOCK_NAME,
    MAX_OPEN_PAYLOAD,
    MAX_PAYLOAD,
    META_NAME,
    NEW_PREFIX,
    SEALED,
    SEGMENT_BYTES,
    JournalMeta,
    frame_size,
    segment_number,
)
from apps.proxy.segments import Segment, record_find, sync_directory, write_synced

RESERVED_OPENS = 8
"""Opens that one ``admit`` covers."""
REQUEST_BYTES = frame_size(MAX_PAYLOAD) + RESERVED_OPENS * frame_size(MAX_OPEN_PAYLOAD)
"""Bytes that one ``admit`` reserves."""
SLACK = frame_size(MAX_PAYLOAD) - 8
"""Bytes at the end of a segment that a frame may find too few."""
MIN_AHEAD = 2
"""Segments kept prepared beyond the current one, at least."""
MIN_SEGMENT_BYTES = 64 * 1024
UPKEEP_SECONDS = 0.1
MEASURE_SECONDS = 1.0


class JournalError(Exception):
    """Base: the journal cannot do what was asked; the message says what to do."""


def segment_bytes_for(max_bytes: int) -> int:
    """Segments so small that one more or less is no step from "has room" to "full": a bound of 64 MiB or less would hold four."""
    return max(MIN_SEGMENT_BYTES, min(SEGMENT_BYTES, max_bytes // 32))


class JournalUnusable(JournalError):
    """The directory cannot be made, locked or allocated: the proxy must not start."""


class RecordTooLarge(JournalError):
    """A payload that is empty or larger than MAX_PAYLOAD: trim it first (``encode_bounded``)."""


class JournalClosed(JournalError):
    """An append after ``close``."""


class JournalOverrun(JournalError):
    """An append beyond what was admitted: a request wrote without ``admit`` or more than its share."""


class Journal:
    """One proxy process's journal. ``admit``, ``append`` and ``retire`` belong to one thread (the event loop's)."""

    def __init__(self, directory: Path, *, lock_fd: int, max_bytes: int, fsync_ms: int, segment_bytes: int) -> None:
        """Use ``create``."""
        self.directory = directory
        self.max_bytes = max_bytes
        self.segment_bytes = segment_bytes
        self.failed = ""
        self.records = 0
        """Frames appended since the start."""
        self._lock_fd = lock_fd
        self._fsync_seconds = fsync_ms / 1000
        self._segment_room = segment_bytes - FIRST_OFFSET - SLACK
        self._admitted = 0  # bytes
        self._at = FIRST_OFFSET
        self._size = 0
        self._ahead: deque[Segment] = deque()
        self._retired: deque[Segment] = deque()
        self._last_number = 0
        self._disk_segments = 0
        self._preparing = threading.Lock()
        self._closed = False
        self._broken = False
        self._directory_dirty = False
        self._synced_records = -1
        self._synced_at = 0.0
        self._measured_at = 0.0
        self._stop = threading.Event()
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="journal")

    # -- life ---------------------------------------------------------------------------------------------

    @classmethod
    def create(
        cls,
        root: Path,
        *,
        boot_id: str,
        name: str,
        max_bytes: int,
        fsync_ms: int = 100,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> Journal:
        """Make, lock and preallocate ``root/<boot_id>``. Raises JournalUnusable with what to do.

        max_bytes: bound over all segments on disk, at least four segments. fsync_ms: 1 or more.
        """
        segment_bytes = -(-segment_bytes // mmap.PAGESIZE) * mmap.PAGESIZE
        if sys.byteorder != "little":
            raise JournalUnusable("the journal's format is little-endian: this machine's processor is not supported")
        if segment_bytes < MIN_SEGMENT_BYTES:
            raise JournalUnusable(f"segments of {segment_bytes} bytes are too small: use at least {MIN_SEGMENT_BYTES}")
        if max_bytes < (MIN_AHEAD + 2) * segment_bytes:
            raise JournalUnusable(
                f"BULKHEAD_JOURNAL_MAX_BYTES={max_bytes} is too small: allow at least {(MIN_AHEAD + 2) * segment_bytes}, four segments"
            )
        if fsync_ms < 1:
            raise JournalUnusable(f"BULKHEAD_JOURNAL_FSYNC_MS={fsync_ms} is too small: use 1 or more")
        boot_id = str(UUID(boot_id))
        making, directory = root / f"{NEW_PREFIX}{boot_id}", root / boot_id
        lock_fd = -1
        try:
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
            if directory.exists():
                raise JournalUnusable(f"{directory} exists already: a boot id is used once")
            making.mkdir(mode=0o700)
            # Locked before it has its final name: whoever sees the journal sees it locked or dead.
            lock_fd = os.open(making / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(lock_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            meta = JournalMeta(boot_id=boot_id, name=name, pid=os.getpid(), started_us=time.time_ns() // 1000)
            write_synced(making / META_NAME, msgspec.json.encode(meta))
            journal = cls(making, lock_fd=lock_fd, max_bytes=max_bytes, fsync_ms=fsync_ms, segment_bytes=segment_bytes)
            for _ in range(1 + MIN_AHEAD):
                journal._prepare()
            sync_directory(making)
            os.rename(making, directory)
            sync_directory(root)
        except OSError as error:
            if lock_fd >= 0:
                os.close(lock_fd)
                shutil.rmtree(making, ignore_errors=True)
            raise JournalUnusable(
                f"the journal {directory} cannot be made: {error.strerror}; it needs {(1 + MIN_AHEAD) * segment_bytes} bytes of disk "
                f"and a directory this user may write (BULKHEAD_JOURNAL_DIR)"
            ) from error
        journal.directory = directory
        journal._enter(journal._ahead.popleft())
        _living.add(journal)
        return journal

    async def run(self) -> None:
        """fsync, prepare segments and measure the disk, in a thread, until cancelled."""
        self._stop = stop = threading.Event()
        try:
            await asyncio.get_running_loop().run_in_executor(self._executor, self._keep_up, stop)
        finally:
            stop.set()

    def _keep_up(self, stop: threading.Event) -> None:
        """The whole of it in the thread: the event loop is not woken ten times a second to send it there."""
        pause = min(self._fsync_seconds, UPKEEP_SECONDS)
        while not (stop.wait(pause) or self._closed):
            self.upkeep()

    def close(self) -> None:
        """Seal, sync and unlock. Safe to call twice. Prepared segments stay: only the shipper deletes."""
        if self._closed:
            return
        self._closed = True
        self._stop.set()
        self._executor.shutdown(wait=True)
        current = self._current
        if self._at < current.size:
            current.words[self._at >> 2] = SEALED
        self._size = self._at  # nothing fits any more: append finds no room and refuses
        self._retired.append(current)
        self._retired.extend(self._ahead)
        self._ahead.clear()
        try:
            self._sync(time.monotonic())
            sync_directory(self.directory)
        finally:
            os.close(self._lock_fd)
            _living.discard(self)

    # -- the hot path -------------------------------------------------------------------------------------

    def admit(self) -> bool:
        """Reserve room for one request's opens and its full record; False: refuse it with ``journal_full``."""
        if self._broken:
            return False
        wanted = self._admitted + REQUEST_BYTES
        if wanted > self._size - self._at - SLACK and wanted > self._room() and not self._extend(wanted):
            return False
        self._admitted = wanted
        return True

    def retire(self) -> None:
        """Give back what one ``admit`` reserved; exactly once per successful ``admit``, after its last append."""
        self._admitted -= REQUEST_BYTES

    def append(self, payload: bytes) -> None:
        """Store one record; no system call except at rotation, where it swaps in a prepared segment.

        Raises RecordTooLarge, JournalClosed, and JournalOverrun where nothing was admitted.
        """
        length = len(payload)
        at = self._at
        end = at + 8 + (length + 7 & -8)
        if end > self._size or length > MAX_PAYLOAD or not length:
            at, end = self._make_room(length)
        self._map[at + 8 : at + 8 + length] = payload
        words = self._words
        word = at >> 2
        words[word + 1] = _crc32(payload)
        words[word] = length  # last: this makes the frame exist
        self._at = end
        self.records += 1

    # -- state --------------------------------------------------------------------------------------------

    @property
    def fill(self) -> float:
        """Written, not yet deleted bytes as a share (0..1) of ``max_bytes``; 1.0 when nothing can be admitted."""
        if self._broken or (self.failed and self._admitted + REQUEST_BYTES > self._room()):
            return 1.0
        full_segments = self._disk_segments - len(self._ahead) - 1
        return min(1.0, (full_segments * self.segment_bytes + self._at) / self.max_bytes)

    @property
    def position(self) -> tuple[int, int]:
        """``(segment, offset)`` where the next frame goes."""
        return self._current.number, self._at

    def upkeep(self) -> None:
        """One round of what ``run`` does: sync when due, measure when due, prepare segments. One thread at a time."""
        now = time.monotonic()
        if self.records != self._synced_records and now - self._synced_at >= self._fsync_seconds - 0.001:
            self._sync(now)
        if self.failed or now - self._measured_at >= MEASURE_SECONDS:
            self._measure(now)
        self._prepare_ahead()

    def find(self, start: bytes) -> bytes | None:
        """The latest record in the newest segments whose payload begins with ``start``. Call it in a thread."""
        return record_find(self.directory, start)

    # -- inside -------------------------------------------------------------------------------------------

    def _room(self) -> int:
        """Bytes of frames that are sure to fit."""
        rest = self._size - self._at - SLACK
        return len(self._ahead) * self._segment_room + (rest if rest > 0 else 0)

    def _extend(self, wanted: int) -> bool:
        """A burst outran ``run``: prepare here and now, unless the disk was found full (``run`` tries again)."""
        while not self.failed and not self._closed and wanted > self._room():
            with self._preparing:
                if wanted > self._room():
                    self._try_prepare()
        return not self._closed and wanted <= self._room()

    def _prepare_ahead(self) -> None:
        """Keep room for what is admitted and one segment more, and at least MIN_AHEAD segments."""
        while not self._closed:
            with self._preparing:
                wanted = max(MIN_AHEAD, -(-(self._admitted + self._segment_room) // self._segment_room))
                if len(self._ahead) >= wanted:
                    if not self._broken:
                        self.failed = ""
                    return
                if not self._try_prepare():
                    return

    def _try_prepare(self) -> bool:
        if (self._disk_segments + 1) * self.segment_bytes > self.max_bytes:
            self.failed = (
                f"the journal holds its limit of {self.max_bytes} bytes: see that the shipper runs and reaches Postgres, "
                f"or raise BULKHEAD_JOURNAL_MAX_BYTES"
            )
            return False
        try:
            self._prepare()
        except OSError as error:
            self.failed = f"no journal segment can be made in {self.directory}: {error.strerror}; free disk space"
            return False
        return True

    def _prepare(self) -> None:
        """The next segment, for later."""
        number = self._last_number + 1
        segment = Segment.make(self.directory, number, self.segment_bytes)
        self._last_number = number
        self._disk_segments += 1
        self._directory_dirty = True
        self._ahead.append(segment)

    def _enter(self, segment: Segment) -> None:
        self._current = segment
        self._map = segment.map
        self._words = segment.words
        self._size = segment.size
        self._at = FIRST_OFFSET

    def _make_room(self, length: int) -> tuple[int, int]:
        """Append's rare branch: refuse, or rotate. Returns the frame's start and end."""
        if self._closed:
            raise JournalClosed(f"the journal {self.directory} is closed")
        if not 0 < length <= MAX_PAYLOAD:
            raise RecordTooLarge(f"a record of {length} bytes: the journal takes 1 to {MAX_PAYLOAD}; trim it with encode_bounded")
        if not self._ahead:
            raise JournalOverrun("no room was admitted for this record: call admit() once per request, before its first append")
        old, at = self._current, self._at
        self._enter(self._ahead.popleft())
        if at < old.size:
            old.words[at >> 2] = SEALED  # the next segment exists: a reader may go there now
        self._retired.append(old)
        return FIRST_OFFSET, FIRST_OFFSET + frame_size(length)

    def _sync(self, now: float) -> None:
        """fsync rotated segments, the current one, and the directory where a segment was added.

        ``os.fsync`` lets other threads run; ``mmap.flush`` would hold the interpreter's lock.
        """
        records = self.records
        current: Segment | None = self._current
        try:
            while self._retired:
                segment = self._retired[0]
                os.fsync(segment.fd)
                self._retired.popleft().close()
                if segment is current:  # rotated away meanwhile: synced with the others, and its descriptor is gone
                    current = None
            if current is not None and not self._closed:
                os.fsync(current.fd)
            if self._directory_dirty:
                self._directory_dirty = False
                sync_directory(self.directory)
        except OSError as error:
            # After a failed fsync the kernel may have dropped the pages: what was promised may be gone.
            self._broken = True
            self.failed = f"the journal {self.directory} cannot be synced: {error.strerror}; replace the disk and restart this proxy"
            return
        self._synced_records, self._synced_at = records, now

    def _measure(self, now: float) -> None:
        """Count segments on disk: the shipper has deleted some."""
        with self._preparing:
            try:
                self._disk_segments = sum(segment_number(name) is not None for name in os.listdir(self.directory))
            except OSError as error:
                self._broken = True
                self.failed = f"the journal {self.directory} cannot be read: {error.strerror}; restart this proxy"
                return
            self._measured_at = now

    def _forget_lock(self) -> None:
        """In a forked child: let go of the lock's descriptor, so that the parent's death still shows."""
        os.close(self._lock_fd)


_crc32 = zlib.crc32
_living: set[Journal] = set()


def _forget_locks() -> None:
    for journal in list(_living):
        journal._forget_lock()
    _living.clear()


os.register_at_fork(after_in_child=_forget_locks)
