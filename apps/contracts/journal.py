"""The journal's codec: how records lie in a file. The proxy writes, the shipper reads and deletes.

A journal is a directory ``<journal root>/<boot id>/``:

* ``lock``: flocked (exclusive) by its proxy for life. The kernel's release proves the death of the
  proxy; a timeout never does.
* ``meta.json``: ``JournalMeta``, written before the first segment.
* ``00000001.seg``, ``00000002.seg``, ...: preallocated, zero-filled segments.

A segment is ``MAGIC`` followed by frames: ``length:u32le  crc32:u32le  payload`` padded with zeros
to 8 bytes. The writer stores payload and crc first and ``length`` last, so a reader that sees a length
sees a whole frame; length 0 is the end for now. ``SEALED`` as length says: go on in the next segment.
A bad CRC in a live journal means "not yet"; in a dead one, the end (a power loss tore it).
A position is ``(segment, offset)``; it only ever grows.

Invariants that both sides rely on:

1. Cut a segment at any byte: what can be read is a prefix of what was appended, never anything else.
2. The segment after a sealed one exists before ``SEALED`` is written; a cleanly closed journal ends in ``SEALED``.
3. A directory whose name starts with ``NEW_PREFIX`` is being made: it holds no record and nobody reads it.
4. Only the shipper deletes, segments in ascending order, and only sealed ones while the writer lives.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator

import msgspec

MAGIC = b"BHJRNL1\n"
HEADER = struct.Struct("<II")
SEALED = 0xFFFFFFFF
MAX_PAYLOAD = 16 * 1024
"""Bytes of the largest record; a writer trims (``apps.contracts.usage.encode_bounded``) before it appends."""
MAX_OPEN_PAYLOAD = 2 * 1024
"""Bytes of the largest open record."""
SEGMENT_BYTES = 16 * 1024 * 1024
FIRST_OFFSET = len(MAGIC)
LOCK_NAME = "lock"
META_NAME = "meta.json"
NEW_PREFIX = ".new-"
"""A journal is made under this prefix and renamed when it is locked and its first segment is ready."""


class JournalMeta(msgspec.Struct, frozen=True, kw_only=True):
    """Who writes this journal."""

    boot_id: str
    name: str
    pid: int
    started_us: int
    format: int = 1


def segment_name(number: int) -> str:
    return f"{number:08d}.seg"


def segment_number(name: str) -> int | None:
    """The number in a segment's file name; None for any other file."""
    digits, dot, suffix = name.partition(".")
    return int(digits) if dot and suffix == "seg" and digits.isascii() and digits.isdigit() else None


def frame_size(payload_length: int) -> int:
    """Bytes a payload takes in a segment: header, payload, padding to 8."""
    return HEADER.size + (payload_length + 7 & ~7)


def crc(payload: bytes | memoryview) -> int:
    return zlib.crc32(payload)


class TornFrame(Exception):
    """A frame whose CRC or length does not hold, at ``offset``."""

    def __init__(self, offset: int) -> None:
        super().__init__(f"torn frame at offset {offset}")
        self.offset = offset


def read_frames(segment: bytes | memoryview, offset: int) -> Iterator[tuple[memoryview, int]]:
    """Yield ``(payload, next_offset)`` from ``offset`` until there is nothing more.

    Ends at length 0, at the segment's end, or at SEALED (see ``is_sealed``). Raises TornFrame.
    """
    view = memoryview(segment)
    size = len(view)
    while offset + HEADER.size <= size:
        length, checksum = HEADER.unpack_from(view, offset)
        if length == 0 or length == SEALED:
            return
        start = offset + HEADER.size
        if length > MAX_PAYLOAD or start + length > size:
            raise TornFrame(offset)
        payload = view[start : start + length]
        if zlib.crc32(payload) != checksum:
            raise TornFrame(offset)
        offset += frame_size(length)
        yield payload, offset


def is_sealed(segment: bytes | memoryview, offset: int) -> bool:
    """True when the writer has moved on to the next segment at this offset."""
    if offset + HEADER.size > len(segment):
        return True
    return bool(HEADER.unpack_from(segment, offset)[0] == SEALED)
