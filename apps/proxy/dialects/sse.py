"""Server-sent events, framed from bytes that come in any pieces. Source: the HTML standard, "Server-sent events", 9.2.6."""

from __future__ import annotations

from typing import NamedTuple

from apps.proxy.dialects.translation import NotAnAnswer

MAX_EVENT_BYTES = 16 * 1024 * 1024
"""An event beyond this is no answer of a provider: it would be held in memory whole."""
_BOM = b"\xef\xbb\xbf"


class Event(NamedTuple):
    """name: the ``event:`` field, ``message`` where there is none. data: the ``data:`` lines, joined by line feeds."""

    name: str
    data: bytes


class Framer:
    """Gives events as they become whole. Lines end in LF, CR LF or CR; an event without data is none; comments are left out."""

    __slots__ = ("_begun", "_carry", "_data", "_name", "_size")

    def __init__(self) -> None:
        self._carry = b""
        self._data: list[bytes] = []
        self._name = ""
        self._size = 0
        self._begun = False

    def feed(self, data: bytes) -> list[Event]:
        """Raises NotAnAnswer for an event larger than MAX_EVENT_BYTES."""
        if self._begun and not self._carry and not self._data and not self._name and data.endswith(b"\n\n") and b"\r" not in data:
            # As they mostly come: nothing to wait for, before or after; and mostly one, of one line.
            return [Event("message", data[6:-2])] if data[:6] == b"data: " and data.find(b"\n") == len(data) - 2 else self._whole(data)
        held = self._carry + data
        if not self._begun:
            if len(held) < 3 and _BOM.startswith(held):
                self._carry = held
                return []
            self._begun = True
            held = held.removeprefix(_BOM)
        # A CR at the very end may be the first half of CR LF: it waits for what follows.
        tail = b""
        if held.endswith(b"\r"):
            held, tail = held[:-1], b"\r"
        if b"\r" in held:
            held = held.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = held.split(b"\n")
        self._carry = rest + tail
        events: list[Event] = []
        for line in lines:
            self._line(line, events)
        if len(self._carry) + self._size > MAX_EVENT_BYTES:
            raise NotAnAnswer(f"an event is larger than {MAX_EVENT_BYTES} bytes")
        return events

    def _whole(self, data: bytes) -> list[Event]:
        events: list[Event] = []
        for block in data[:-2].split(b"\n\n"):
            name, start = "message", 0
            if block.startswith(b"event: "):
                start = block.find(b"\n") + 1
                name = block[7 : start - 1].decode("utf-8", "replace") or name
            if block.startswith(b"data: ", start) and block.find(b"\n", start) < 0 and (start or block[:1] == b"d"):
                events.append(Event(name, block[start + 6 :]))
                continue
            for line in block.split(b"\n"):
                self._line(line, events)
            self._line(b"", events)
        return events

    def close(self) -> list[Event]:
        """The last event where the stream ended without its empty line: providers do that, and it is whole if its line is."""
        events: list[Event] = []
        carry, self._carry = self._carry.removesuffix(b"\r"), b""
        if carry:
            self._line(carry, events)
        self._line(b"", events)
        return events

    def _line(self, line: bytes, events: list[Event]) -> None:
        if not line:
            if self._data:
                events.append(Event(self._name or "message", self._data[0] if len(self._data) == 1 else b"\n".join(self._data)))
            self._data, self._name, self._size = [], "", 0
            return
        field, colon, value = line.partition(b":")
        if not colon and not field:
            return
        value = value.removeprefix(b" ")
        if field == b"data":
            self._data.append(value)
            self._size += len(value) + 1
        elif field == b"event":
            self._name = value.decode("utf-8", "replace")
