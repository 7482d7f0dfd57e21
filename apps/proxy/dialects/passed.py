"""Events of a stream that went to the app as they came, kept small: read again only where the stream breaks and somebody must go on."""

from __future__ import annotations

import zlib

MOST = 4 * 1024 * 1024
"""Packed bytes; a stream that needs more is one that nobody goes on with."""


class Packed:
    """Pieces in their order. lost: it became too much, and nothing is kept any more."""

    __slots__ = ("_pieces", "_size", "lost")

    def __init__(self) -> None:
        self._pieces: list[bytes] = []
        self._size = 0
        self.lost = False

    def add(self, events: bytes) -> list[bytes]:
        """Gives what is let go: nothing until it is too much, then all of it. Costs about a microsecond an event, less than reading it."""
        if self.lost:
            return [events]
        piece = zlib.compress(events, 1)
        self._pieces.append(piece)
        self._size += len(piece)
        if self._size <= MOST:
            return []
        gone, self._pieces, self.lost = self.pieces(), [], True
        return gone

    def pieces(self) -> list[bytes]:
        return [zlib.decompress(piece) for piece in self._pieces]
