"""AWS's event streams: binary messages with headers, each with two checksums, framed from bytes that come in any pieces.

A message is: its whole length and that of its headers (4 bytes each, big-endian), the CRC-32 of these eight bytes, headers, payload, and
the CRC-32 of all before it. Source: the Smithy specification, "Event stream".
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from struct import Struct
from typing import NamedTuple
from uuid import UUID
from zlib import crc32

from apps.proxy.dialects.translation import NotAnAnswer

MAX_HEADER_BYTES = 128 * 1024
MAX_PAYLOAD_BYTES = 16 * 1024 * 1024
"""A message beyond these is no answer of a provider: it would be held in memory whole."""
MAX_KNOWN, MAX_KNOWN_BYTES = 16, 512
"""How many headers of a stream are remembered, and how large each may be."""
HeaderValue = bool | int | bytes | str | datetime | UUID
_PRELUDE = Struct(">III")
_LENGTHS, _CRC = Struct(">II"), Struct(">I")
_AROUND = _PRELUDE.size + _CRC.size
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_NUMBERS = {2: Struct(">b"), 3: Struct(">h"), 4: Struct(">i"), 5: Struct(">q")}
"""Types of headers whose value is a number: byte, short, integer, long."""
_LENGTH, _LONG = Struct(">H"), _NUMBERS[5]


class Message(NamedTuple):
    """headers: by name, as ``:event-type``; of two with one name the last. Messages with the same headers share them."""

    headers: Mapping[str, HeaderValue]
    payload: bytes

    def text(self, name: str) -> str:
        """A header's value where it is a text; empty where there is none."""
        value = self.headers.get(name)
        return value if type(value) is str else ""


class Framer:
    """Gives messages as they become whole. What is no stream is found by its first twelve bytes; after an error nothing more is read."""

    __slots__ = ("_held", "_known")

    def __init__(self) -> None:
        self._held = bytearray()
        self._known: dict[bytes, dict[str, HeaderValue]] = {}
        """Headers as they are written -> as they are read: a stream says the same few again and again."""

    def feed(self, data: bytes) -> list[Message]:
        """Raises NotAnAnswer for a checksum that is wrong, a length that cannot be, or headers that cannot be read."""
        held = self._held
        held += data
        messages: list[Message] = []
        start = 0
        while len(held) - start >= _PRELUDE.size:
            total, headers, check = _PRELUDE.unpack_from(held, start)
            if crc32(held[start : start + 8]) != check:
                raise NotAnAnswer("the beginning of a message of the event stream has another checksum")
            if headers > MAX_HEADER_BYTES or total < headers + _AROUND or total - headers - _AROUND > MAX_PAYLOAD_BYTES:
                raise NotAnAnswer(f"a message of the event stream cannot have {total} bytes, {headers} of them headers")
            end = start + total
            if len(held) < end:
                break
            whole = bytes(held[start:end])
            if crc32(whole[: -_CRC.size]) != _CRC.unpack_from(whole, total - _CRC.size)[0]:
                raise NotAnAnswer("a message of the event stream has another checksum")
            body = _PRELUDE.size + headers
            written = whole[_PRELUDE.size : body]
            known = self._known.get(written)
            if known is None:
                known = _headers(written)
                if len(self._known) < MAX_KNOWN and len(written) <= MAX_KNOWN_BYTES:
                    self._known[written] = known
            messages.append(Message(known, whole[body : -_CRC.size]))
            start = end
        if start:
            del held[:start]
        return messages

    def close(self) -> None:
        """Raises NotAnAnswer where the stream ended within a message."""
        if self._held:
            raise NotAnAnswer("the event stream ended within a message")


def _headers(data: bytes) -> dict[str, HeaderValue]:
    found: dict[str, HeaderValue] = {}
    at = 0
    try:
        while at < len(data):
            size = data[at]
            name = data[at + 1 : at + 1 + size].decode()
            kind = data[at + 1 + size]
            if not name:
                raise NotAnAnswer("a header of the event stream has no name")
            found[name], at = _value(kind, data, at + 2 + size)
    except (IndexError, ValueError, OverflowError) as error:
        raise NotAnAnswer(f"the headers of the event stream cannot be read: {error}") from None
    if at != len(data):
        raise NotAnAnswer("a header of the event stream is longer than its place")
    return found


def _value(kind: int, data: bytes, at: int) -> tuple[HeaderValue, int]:
    """(value, where the next header begins). Raises IndexError, ValueError or OverflowError where there is none."""
    if kind <= 1:
        return kind == 0, at
    number = _NUMBERS.get(kind)
    if number is not None:
        end = at + number.size
        return int.from_bytes(_piece(data, at, end), "big", signed=True), end
    if kind in (6, 7):
        start = at + _LENGTH.size
        end = start + int.from_bytes(_piece(data, at, start), "big")
        value = _piece(data, start, end)
        return value if kind == 6 else value.decode(), end
    if kind == 8:
        end = at + _LONG.size
        return _EPOCH + int.from_bytes(_piece(data, at, end), "big", signed=True) * _MILLISECOND, end
    if kind == 9:
        return UUID(bytes=_piece(data, at, at + 16)), at + 16
    raise ValueError(f"no value is of type {kind}")


def _piece(data: bytes, start: int, end: int) -> bytes:
    if end > len(data):
        raise IndexError("a value ends beyond them")
    return data[start:end]


def encode(headers: Mapping[str, HeaderValue], payload: bytes) -> bytes:
    """One message. Whole numbers are written as integers, and as longs where they need it. Raises ValueError for what has no spelling."""
    head = b"".join([_header(name, value) for name, value in headers.items()])
    if len(head) > MAX_HEADER_BYTES or len(payload) > MAX_PAYLOAD_BYTES:
        raise ValueError("a message of an event stream cannot be that large")
    total = len(head) + len(payload) + _AROUND
    lengths = _LENGTHS.pack(total, len(head))
    whole = b"".join((lengths, _CRC.pack(crc32(lengths)), head, payload))
    return whole + _CRC.pack(crc32(whole))


def _header(name: str, value: HeaderValue) -> bytes:
    said = name.encode()
    if not 0 < len(said) < 256:
        raise ValueError("a header's name has 1 to 255 bytes")
    return bytes((len(said),)) + said + _WRITERS[type(value)](value)


def _whole_number(value: int) -> bytes:
    return b"\x04" + value.to_bytes(4, "big", signed=True) if -(2**31) <= value < 2**31 else b"\x05" + _long(value)


def _long(value: int) -> bytes:
    if not -(2**63) <= value < 2**63:
        raise ValueError("a number in a header has at most 64 bits")
    return value.to_bytes(8, "big", signed=True)


def _sized(kind: bytes, value: bytes) -> bytes:
    if len(value) >= 2**15:
        raise ValueError("a value in a header has at most 32767 bytes")
    return kind + _LENGTH.pack(len(value)) + value


_WRITERS: dict[type, Callable[..., bytes]] = {
    bool: lambda value: b"\x00" if value else b"\x01",
    int: _whole_number,
    bytes: lambda value: _sized(b"\x06", value),
    str: lambda value: _sized(b"\x07", value.encode()),
    datetime: lambda value: b"\x08" + _long((value - _EPOCH) // _MILLISECOND),
    UUID: lambda value: b"\x09" + value.bytes,
}
