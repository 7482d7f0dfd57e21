"""The journal's files: segments that are allocated before they are mapped, syncing, and looking for a record in them."""

from __future__ import annotations

import errno
import mmap
import os
from pathlib import Path

from apps.contracts.journal import FIRST_OFFSET, HEADER, MAGIC, MAX_PAYLOAD, segment_name

FIND_SEGMENTS = 4
"""The newest ones, that ``record_find`` looks into."""
FIND_WINDOW = 256 * 1024
"""Bytes looked through at once."""


class Segment:
    """One preallocated, mapped file. ``words`` is the same memory as 32-bit words, for single stores."""

    __slots__ = ("fd", "map", "number", "size", "words")

    def __init__(self, number: int, fd: int, size: int) -> None:
        self.number = number
        self.fd = fd
        self.size = size
        self.map = mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE)
        self.words = memoryview(self.map).cast("I")

    @classmethod
    def make(cls, directory: Path, number: int, size: int) -> Segment:
        """Allocate and map a segment; its name appears when its bytes are there. Raises OSError and leaves no file behind."""
        path = directory / segment_name(number)
        making = path.with_suffix(".new")
        fd = os.open(making, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(fd, 0, size)
            os.pwrite(fd, MAGIC, 0)
            segment = cls(number, fd, size)
        except BaseException as error:
            os.close(fd)
            os.unlink(making)
            if isinstance(error, (OverflowError, ValueError)):  # mmap's own refusal
                raise OSError(errno.ENOMEM, str(error)) from error
            raise
        os.rename(making, path)
        return segment

    def close(self) -> None:
        self.words.release()
        self.map.close()
        os.close(self.fd)


def record_find(directory: Path, start: bytes) -> bytes | None:
    """The latest record in a journal's newest segments whose payload begins with ``start``.

    Reads the segments' files, window by window from the end, so that the interpreter's lock is never held for long.
    """
    for path in sorted(directory.glob("*.seg"), reverse=True)[:FIND_SEGMENTS]:
        try:
            with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
                end = len(view)
                while end > 0:
                    begin = max(0, end - FIND_WINDOW)
                    at = view.rfind(start, begin, min(len(view), end + len(start)))
                    if at >= FIRST_OFFSET + HEADER.size:
                        length, _ = HEADER.unpack_from(view, at - HEADER.size)
                        if len(start) <= length <= MAX_PAYLOAD:
                            return view[at : at + length]
                    end = begin
        except (FileNotFoundError, ValueError):  # settled and deleted meanwhile
            continue
    return None


def sync_directory(path: Path) -> None:
    """Make the names in a directory outlive a power loss."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def write_synced(path: Path, data: bytes) -> None:
    """A new file of mode 0600 that outlives a power loss, once its directory is synced."""
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)
