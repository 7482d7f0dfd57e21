"""Reading one journal: from its watermark on, with the set of opens that no record has closed yet.

Invariants:

1. ``position`` moves over whole, verified frames only, in order. What ``take`` hands out lies between ``start`` (the watermark in
   Postgres) and ``position``; after ``settled`` the two are equal.
2. ``opens`` is exactly the opens before ``position`` without a close before ``position``. After a restart it is rebuilt from the
   segments between ``first_segment`` and the watermark, and from the carried opens.
3. A segment may be deleted only when the watermark has passed it, all earlier ones are deleted, and each of its opens is
   closed or carried to Postgres. (A later segment may hold the close of an earlier open, hence the order.)
4. Dead means that the lock was taken, *then* everything was read: what the writer stored before it died is seen.

Only memory is changed here. After any failed transaction the tail is thrown away and made anew from Postgres.
"""

from __future__ import annotations

import fcntl
import logging
import mmap
import os
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from apps.contracts.feedback import FeedbackRecord
from apps.contracts.journal import (
    FIRST_OFFSET,
    HEADER,
    LOCK_NAME,
    MAGIC,
    MAX_PAYLOAD,
    META_NAME,
    SEALED,
    JournalMeta,
    TornFrame,
    frame_size,
    is_sealed,
    read_frames,
    segment_name,
    segment_number,
)
from apps.contracts.usage import OpenRecord, UsageRecord, encode_record

log = logging.getLogger("bulkhead.shipper")

RETAINED_SEGMENTS = 8
"""Settled segments kept for opens of running requests; beyond that, the oldest segment's are carried to Postgres."""
CARRIED = 0
"""Segment number under which carried opens are counted; real ones start at 1."""


class _Open(msgspec.Struct, array_like=True, tag="open"):
    """An open record's first field: all that is needed unless its proxy dies."""

    id: bytes


_decode = msgspec.msgpack.Decoder(_Open | UsageRecord | FeedbackRecord).decode


def _open_start() -> bytes:
    """The first bytes of every open record that this version writes, up to its id."""
    id = b"\xff" * 16
    payload = encode_record(
        OpenRecord(
            id=id, started_us=0, organisation="", key_id="", kind="chat", route="", requested_model="", stream=False, provider="",
            endpoint="", model="",
        )
    )  # fmt: skip
    return payload[: payload.index(id)]


_OPEN_START = _open_start()
_OPEN_ID = slice(len(_OPEN_START), len(_OPEN_START) + 16)
"""How an open of this version begins, and where its id lies: nothing else of it is looked at unless its proxy dies."""


@dataclass(slots=True)
class Rejected:
    """A payload that is no record of ours."""

    segment: int
    offset: int
    payload: bytes
    error: str


@dataclass(slots=True)
class Taken:
    """What was read since the last commit, and not settled yet."""

    records: list[UsageRecord] = field(default_factory=list)
    feedback: list[FeedbackRecord] = field(default_factory=list)
    closed_carried: list[bytes] = field(default_factory=list)
    rejected: list[Rejected] = field(default_factory=list)
    frames: int = 0


@dataclass(slots=True)
class Prune:
    """Segments below ``first_segment`` go once the transaction has committed; ``carried``: their running opens."""

    first_segment: int
    carried: list[tuple[bytes, int, bytes]] = field(default_factory=list)
    """``(request id, ordinal, payload)``"""


@dataclass(slots=True)
class Ending:
    """A dead journal, read to its end. lost_bytes: unreadable ones after it; unfinished: of an append that never returned."""

    lost_bytes: int = 0
    unfinished_bytes: int = 0


class JournalTail:
    """One journal of this host."""

    def __init__(self, directory: Path, *, segment: int, offset: int, first_segment: int) -> None:
        self.directory = directory
        self.boot_id = directory.name
        self.start = (segment, offset)
        self.position = (segment, offset)
        self.first_segment = first_segment
        self.taken = Taken()
        self.opens: dict[bytes, list[tuple[int, bytes]]] = {}
        self.dead = False
        self.torn: TornFrame | None = None
        self.waiting_for_frame = False
        """A frame that does not verify in a live journal: being written, or damaged."""
        self._open_counts: dict[int, int] = {}
        self._lock_fd = -1
        self._map: mmap.mmap | None = None
        self._map_number = -1

    # -- life -----------------------------------------------------------------------------------------------

    def recover(self, carried: list[tuple[bytes, bytes]]) -> None:
        """Rebuild ``opens`` as of the watermark. ``carried``: ``(request id, payload)`` in order of their ordinals."""
        for request, payload in carried:
            self._opened(request, CARRIED, payload)
        watermark = self.start
        self.position = (self.first_segment, FIRST_OFFSET)
        while self.position < watermark and self._enter(self.position[0]):
            number, offset = self.position
            end = watermark[1] if number == watermark[0] else None
            try:
                for frame, _ in read_frames(self._view(end), offset):
                    self._follow(frame, number)
            except TornFrame as torn:
                log.error("the journal of proxy %s is damaged at %d:%d, which was settled before", self.boot_id, number, torn.offset)
            self.position = (number + 1, FIRST_OFFSET)
        self.position = watermark
        self.taken = Taken()

    def meta(self) -> JournalMeta | None:
        """Who writes it; None where that cannot be read."""
        try:
            return msgspec.json.decode((self.directory / META_NAME).read_bytes(), type=JournalMeta)
        except (OSError, msgspec.MsgspecError):
            return None

    def check_death(self) -> bool:
        """Try the writer's lock. True from the first success on: the lock is then ours, and the writer is gone."""
        if not self.dead:
            try:
                fd = os.open(self.directory / LOCK_NAME, os.O_RDWR | os.O_CLOEXEC)
            except OSError:
                return False
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(fd)
                return False
            self._lock_fd = fd
            self.dead = True
        return True

    def close(self) -> None:
        self._leave()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)
            self._lock_fd = -1
            self.dead = False

    # -- reading --------------------------------------------------------------------------------------------

    def take(self, *, rows: int, frames: int) -> bool:
        """Read on, up to so many full records and frames; True when there was anything.

        False in a dead journal means its end.
        """
        before = self.position
        while rows > 0 and frames > 0:
            number, offset = self.position
            if not self._enter(number):
                break
            assert self._map is not None
            mapped = self._map
            try:
                rows, frames, offset = self._take_segment(mapped, number, offset, rows, frames)
            except TornFrame as torn:
                self.position = (number, torn.offset)
                self.waiting_for_frame = not self.dead
                if self.dead:
                    self.torn = torn
                break
            self.waiting_for_frame = False
            self.position = (number, offset)
            if rows <= 0 or frames <= 0:
                break
            if not is_sealed(memoryview(mapped), offset) or not (self.directory / segment_name(number + 1)).exists():
                break
            self.position = (number + 1, FIRST_OFFSET)
        return self.position != before

    def _take_segment(self, mapped: mmap.mmap, number: int, offset: int, rows: int, frames: int) -> tuple[int, int, int]:
        """``read_frames`` and ``_follow`` in one loop for the two frames that every request has; returns what is left, and where it stands.

        Raises TornFrame at the frame's offset, with everything before it taken.
        """
        taken, opens, counts = self.taken, self.opens, self._open_counts
        decode, header, checksum_of, room = _decode, HEADER.unpack_from, zlib.crc32, len(mapped) - HEADER.size
        append, opened_here, first_frames = taken.records.append, 0, frames
        open_start, open_id = _OPEN_START, _OPEN_ID
        try:
            while rows > 0 and frames > 0 and offset <= room:
                length, checksum = header(mapped, offset)
                if length == 0 or length == SEALED:
                    break
                start = offset + 8
                payload = mapped[start : start + length]
                if length > MAX_PAYLOAD or len(payload) != length or checksum_of(payload) != checksum:
                    raise TornFrame(offset)
                frames -= 1
                offset = start + (length + 7 & ~7)
                if payload.startswith(open_start):
                    request = payload[open_id]
                    known = opens.get(request)
                    if known is None:
                        opens[request] = [(number, payload)]
                    else:
                        known.append((number, payload))
                    opened_here += 1
                    continue
                try:
                    record = decode(payload)
                except (msgspec.MsgspecError, UnicodeDecodeError) as error:
                    taken.rejected.append(Rejected(number, start - HEADER.size, payload, str(error)))
                else:
                    if type(record) is _Open:
                        opens.setdefault(record.id, []).append((number, payload))
                        opened_here += 1
                    elif type(record) is FeedbackRecord:
                        taken.feedback.append(record)
                        rows -= 1
                    else:
                        for segment, _ in opens.pop(record.id, ()):
                            if segment == number:
                                opened_here -= 1
                            else:
                                counts[segment] -= 1
                                if segment == CARRIED:
                                    taken.closed_carried.append(record.id)
                        append(record)
                        rows -= 1
        finally:
            counts[number] = counts.get(number, 0) + opened_here
            taken.frames += first_frames - frames
        return rows, frames, offset

    def _follow(self, payload: memoryview, number: int) -> None:
        """One frame's effect on ``opens``, for a journal that is read again."""
        try:
            record = _decode(payload)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            return  # it was set aside when it was settled
        if type(record) is _Open:
            self._opened(record.id, number, bytes(payload))
            return
        if isinstance(record, FeedbackRecord):
            return
        for segment, _ in self.opens.pop(record.id, ()):
            self._open_counts[segment] -= 1

    def _opened(self, request: bytes, segment: int, payload: bytes) -> None:
        self.opens.setdefault(request, []).append((segment, payload))
        self._open_counts[segment] = self._open_counts.get(segment, 0) + 1

    # -- settling -------------------------------------------------------------------------------------------

    @property
    def unsettled(self) -> bool:
        """Whether the watermark has anything to move over."""
        return self.position != self.start

    def prune(self) -> Prune:
        """Which segments the coming commit makes deletable, and which running opens must be carried for that."""
        watermark, first = self.position[0], self.first_segment
        carried: list[tuple[bytes, int, bytes]] = []
        while first < watermark:
            if self._open_counts.get(first, 0):
                if watermark - first <= RETAINED_SEGMENTS:
                    break
                carried += [
                    (request, ordinal, payload)
                    for request, opens in self.opens.items()
                    for ordinal, (segment, payload) in enumerate(opens)
                    if segment == first
                ]
            first += 1
        return Prune(first, carried)

    def settled(self, prune: Prune) -> None:
        """The transaction has committed: forget what was taken, delete what may go."""
        self.start = self.position
        self.taken = Taken()
        for request, ordinal, payload in prune.carried:
            segment = self.opens[request][ordinal][0]
            self.opens[request][ordinal] = (CARRIED, payload)
            self._open_counts[segment] -= 1
            self._open_counts[CARRIED] = self._open_counts.get(CARRIED, 0) + 1
        self.first_segment = prune.first_segment
        self.delete_passed()

    def delete_passed(self) -> None:
        """Unlink segments below ``first_segment``, also those that an earlier process left."""
        for number in self.segments():
            if number < self.first_segment:
                (self.directory / segment_name(number)).unlink(missing_ok=True)
                self._open_counts.pop(number, None)

    def segments(self) -> list[int]:
        """Numbers of the segments on disk, ascending."""
        try:
            return sorted(number for name in os.listdir(self.directory) if (number := segment_number(name)) is not None)
        except FileNotFoundError:
            return []

    def ending(self) -> Ending:
        """What lies behind the last whole frame of a dead journal. Zero bytes are room that was never used."""
        number, offset = self.position
        here = self._rest(number, offset)
        later = sum(self._rest(later, FIRST_OFFSET) for later in self.segments() if later > number)
        if self.torn is None and later == 0 and here <= HEADER.size + frame_size(MAX_PAYLOAD):
            return Ending(unfinished_bytes=here)
        return Ending(lost_bytes=here + later)

    def remove(self) -> None:
        """Delete the whole directory, once Postgres says it is drained. The lock goes last."""
        self._leave()
        for name in os.listdir(self.directory):
            if name != LOCK_NAME:
                (self.directory / name).unlink(missing_ok=True)
        (self.directory / LOCK_NAME).unlink(missing_ok=True)
        self.directory.rmdir()
        self.close()

    # -- files ----------------------------------------------------------------------------------------------

    def _rest(self, number: int, offset: int) -> int:
        """Bytes from ``offset`` to the last one that is not zero; 0 at a seal."""
        if not self._enter(number):
            return 0
        view = self._view()
        if self.torn is None and is_sealed(view, offset):
            return 0
        return len(bytes(view[offset:]).rstrip(b"\0"))

    def _enter(self, number: int) -> bool:
        """Map a segment for reading; False where it is not there (yet)."""
        if number == self._map_number:
            return True
        try:
            fd = os.open(self.directory / segment_name(number), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        try:
            mapped = mmap.mmap(fd, 0, mmap.MAP_SHARED, mmap.PROT_READ)
        finally:
            os.close(fd)
        if mapped[: len(MAGIC)] != MAGIC:
            mapped.close()
            return False
        self._leave()
        self._map, self._map_number = mapped, number
        return True

    def _view(self, end: int | None = None) -> memoryview:
        assert self._map is not None
        return memoryview(self._map)[:end]

    def _leave(self) -> None:
        self._map, self._map_number = None, -1  # unmapped when its last view is gone
