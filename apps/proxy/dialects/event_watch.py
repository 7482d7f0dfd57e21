"""Streams of server-sent events that pass through as they are: framed, and looked into only where something in them matters.

What is the same for every format whose events are JSON objects; what an event says is for the format's own watch.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING

from apps.proxy.dialects.passed import Packed
from apps.proxy.dialects.sse import Framer

if TYPE_CHECKING:
    from apps.contracts.usage import Tokens

KEEP_RAW = 64 * 1024
"""Bytes of events kept as they came; beyond, they are packed."""
MAX_CARRY = 16 * 1024 * 1024
"""Bytes of an event that has not ended; beyond, the stream is over as broken."""
MALFORMED = '{"error":{"message":"an event of the stream is not a JSON object","type":"server_error","code":"upstream_malformed"}}'
TOO_LARGE = '{"error":{"message":"an event of the stream is too large","type":"server_error","code":"upstream_malformed"}}'


class EventWatch(ABC):
    """A StreamWatch. A format says which bytes make an event matter (``marks``), what such an event means (``look``) and how much output
    it was (``measure``)."""

    __slots__ = (
        "_carry",
        "_measured",
        "_packed",
        "_raw",
        "_raw_size",
        "_unended",
        "error",
        "finished",
        "has_output",
        "passed_bytes",
        "rest",
        "tokens",
    )

    failed = ""
    marks: tuple[bytes, ...] = ()

    def __init__(self) -> None:
        self.tokens: Tokens | None = None
        self.finished = False
        self.error = ""
        self.has_output = False
        self.rest = b""
        self.passed_bytes = 0
        self._carry = b""
        self._raw: list[bytes] = []
        self._raw_size = 0
        self._measured = 0
        """Output that is not among what is kept."""
        self._packed = Packed()
        self._unended = b""
        """What came without its empty line: it is given with the stream's end alone."""

    @abstractmethod
    def look(self, data: bytes, event: bytes) -> bool:
        """What an event says: sets ``tokens``, ``has_output``, ``error``, or ``finished`` and ``rest``. True: it may go to the app now."""

    @abstractmethod
    def measure(self, data: bytes) -> int:
        """UTF-8 bytes of output in an event that was passed on."""

    def feed(self, chunk: bytes) -> bytes:
        if self.finished or self.error:
            return b""
        if self._carry or chunk[-2:] != b"\n\n" or b"\r" in chunk:
            chunk = self._frame(chunk)
            if not chunk:
                return b""
        if not self.has_output or chunk[-3:] != b"}\n\n" or self._matters(chunk):
            chunk = self._look(chunk)
            if not chunk:
                return b""
        self._keep(chunk)
        return chunk

    def passes(self, wire: bytes, start: int) -> bool:
        if not self.has_output or self._carry or self.finished or self.error or wire[-5:] != b"}\n\n\r\n" or self._matters(wire):
            return False
        self.passed_bytes += len(wire) - start - 2
        self._keep(wire)  # its size line is no ``data:`` field, so it is ignored when this is read
        return True

    def close(self) -> bool:
        """The upstream's body ended. True when the stream was whole."""
        if self._carry and not self.finished and not self.error:
            carried, self._carry = self._carry.replace(b"\r\n", b"\n").rstrip(b"\r\n") + b"\n\n", b""
            given = self._look(carried)
            if self.error == MALFORMED:  # cut in the middle of an event: the stream just ends before it
                self.error = ""
            self.rest = given + self.rest
            self._unended = given
        return self.finished and not self.error

    def output_bytes(self) -> int:
        return self._measured + sum(map(self._measure, (*self._packed.pieces(), b"".join((*self._raw, self._unended)))))

    def passed(self) -> bytes | None:
        """The events that the app was given, the sizes of chunks among them; None where they were too many."""
        return None if self._packed.lost else b"".join((*self._packed.pieces(), *self._raw))

    def _matters(self, chunk: bytes) -> bool:
        return any(map(chunk.__contains__, self.marks))

    def _keep(self, chunk: bytes) -> None:
        self._raw.append(chunk)
        self._raw_size += len(chunk)
        if self._raw_size > KEEP_RAW:
            self._compact()

    def _compact(self) -> None:
        raw, self._raw, self._raw_size = b"".join(self._raw), [], 0
        for gone in self._packed.add(raw):
            self._measured += self._measure(gone)

    def _measure(self, raw: bytes) -> int:
        return sum(self.measure(event.data) for event in Framer().feed(raw)) if raw else 0

    def _frame(self, chunk: bytes) -> bytes:
        """Whole events only, lines ended by LF; what has not ended is carried over."""
        data = self._carry + chunk
        tail = b""
        if b"\r" in data:
            if data.endswith(b"\r"):  # perhaps the first half of CR LF
                data, tail = data[:-1], b"\r"
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        cut = data.rfind(b"\n\n")
        if cut < 0:
            self._carry = data + tail
            if len(self._carry) > MAX_CARRY:
                self.error, self._carry = TOO_LARGE, b""
            return b""
        self._carry = data[cut + 2 :] + tail
        return data[: cut + 2]

    def _look(self, chunk: bytes) -> bytes:
        passed: list[bytes] = []
        for event in chunk.split(b"\n\n"):
            lines = [line[5:].strip() for line in event.split(b"\n") if line.startswith(b"data:")]
            data = lines[0] if len(lines) == 1 else b"\n".join(lines)
            # nothing but a comment keeps the connection alive; fields without data would be read as an event without JSON
            if self.look(data, event) if data else event.startswith(b":"):
                passed.append(event)
            if self.finished or self.error:
                break
        return b"\n\n".join(passed) + b"\n\n" if passed else b""
