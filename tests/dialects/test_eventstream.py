"""AWS's event streams: framed at any cut, checked by both checksums, within bounds."""

from __future__ import annotations

from datetime import UTC, datetime
from struct import pack
from uuid import UUID
from zlib import crc32

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.proxy.dialects import eventstream
from apps.proxy.dialects.eventstream import Framer, Message, encode
from apps.proxy.dialects.translation import NotAnAnswer
from tests.scale import examples

MOMENT = datetime(2026, 5, 28, 14, 45, 17, 123000, tzinfo=UTC)
NAMED = UUID("12345678-1234-5678-1234-567812345678")
HEADERS: dict[str, eventstream.HeaderValue] = {
    ":message-type": "event",
    ":event-type": "contentBlockDelta",
    "yes": True,
    "no": False,
    "small": -7,
    "large": -(2**40),
    "raw": b"\x00\xff",
    "when": MOMENT,
    "who": NAMED,
    "ö": "ä",
}
ONE, TWO, EMPTY = encode(HEADERS, b'{"delta":{"text":"a"}}'), encode({":message-type": "event"}, b"x" * 300), encode({}, b"")


def raw(headers: bytes, payload: bytes = b"") -> bytes:
    """A message whose headers nobody checked, with checksums that are right."""
    lengths = pack(">II", len(headers) + len(payload) + 16, len(headers))
    whole = lengths + pack(">I", crc32(lengths)) + headers + payload
    return whole + pack(">I", crc32(whole))


def fed(data: bytes) -> list[Message]:
    framer = Framer()
    messages = framer.feed(data)
    framer.close()
    return messages


def test_every_type_of_header_is_read_as_it_was_written() -> None:
    assert Framer().feed(ONE + EMPTY) == [Message(HEADERS, b'{"delta":{"text":"a"}}'), Message({}, b"")]
    assert Framer().feed(raw(b"\x01a\x02\xff\x01b\x03\xff\xfe"))[0].headers == {"a": -1, "b": -2}
    assert Framer().feed(ONE)[0].text(":event-type") == "contentBlockDelta"
    assert Framer().feed(ONE)[0].text("small") == Framer().feed(ONE)[0].text("none") == ""


def test_the_makers_own_reader_reads_what_we_write() -> None:
    plain: dict[str, eventstream.HeaderValue] = {":message-type": "event", "yes": True, "no": False, "n": 5, "l": 2**40, "b": b"\x01"}
    buffer = EventStreamBuffer()
    buffer.add_data(encode(plain, b"payload"))
    (message,) = list(buffer)
    assert message.headers == plain and message.payload == b"payload"


def test_cut_at_every_byte() -> None:
    stream = ONE + EMPTY + TWO
    whole = Framer().feed(stream)
    assert len(whole) == 3
    for cut in range(len(stream)):
        framer = Framer()
        assert framer.feed(stream[:cut]) + framer.feed(stream[cut:]) == whole
        framer.close()
    framer = Framer()
    assert [message for place in range(len(stream)) for message in framer.feed(stream[place : place + 1])] == whole


@settings(max_examples=examples(40))
@given(st.lists(st.tuples(st.text(max_size=20), st.binary(max_size=60)), max_size=6), st.data())
def test_cut_anywhere(messages: list[tuple[str, bytes]], data: st.DataObject) -> None:
    written = [Message({"x": text}, payload) for text, payload in messages]
    stream = b"".join(encode(message.headers, message.payload) for message in written)
    framer, read, at = Framer(), [], 0
    while at < len(stream):
        size = data.draw(st.integers(1, len(stream) - at))
        read += framer.feed(stream[at : at + size])
        at += size
    framer.close()
    assert read == written


def test_every_byte_that_is_wrong_is_found() -> None:
    for place in range(len(TWO)):
        spoilt = bytearray(TWO)
        spoilt[place] ^= 0x10
        with pytest.raises(NotAnAnswer):
            fed(bytes(spoilt))


@pytest.mark.parametrize(
    "data",
    [
        b"<html><body>no stream</body></html>",
        b'{"message":"no stream"}',
        b"data: {}\n\ndata: {}\n\n",
        raw(b"\x01a\x0a"),
        raw(b"\x01a"),
        raw(b"\x05a\x00"),
        raw(b"\x01a\x07\x00\x05ab"),
        raw(b"\x01a\x07\x00"),
        raw(b"\x01a\x07\x00\x01\xff"),
        raw(b"\x01a\x04\x00\x00"),
        raw(b"\x01a\x09abc"),
        raw(b"\x01a\x08" + b"\x7f" * 8),
        raw(b"\x00\x00"),
        raw(b"\x01\xff\x00"),
    ],
)
def test_what_is_no_stream(data: bytes) -> None:
    with pytest.raises(NotAnAnswer):
        Framer().feed(data)


def test_lengths_that_cannot_be_are_refused_before_anything_is_held() -> None:
    for total, headers in (
        (15, 0),
        (20, 5),
        (2**32 - 1, 0),
        (2**20, eventstream.MAX_HEADER_BYTES + 1),
        (eventstream.MAX_PAYLOAD_BYTES + 17, 0),
    ):
        lengths = pack(">II", total, headers)
        with pytest.raises(NotAnAnswer, match="cannot have"):
            Framer().feed(lengths + pack(">I", crc32(lengths)))


def test_a_stream_that_ends_within_a_message() -> None:
    framer = Framer()
    assert framer.feed(ONE[:-1]) == []
    with pytest.raises(NotAnAnswer, match="within a message"):
        framer.close()


@pytest.mark.parametrize(
    ("headers", "payload"),
    [
        ({"": "x"}, b""),
        ({"x" * 256: "x"}, b""),
        ({"x": "y" * 2**15}, b""),
        ({"x": 2**63}, b""),
        ({}, b"x" * (eventstream.MAX_PAYLOAD_BYTES + 1)),
    ],
)
def test_what_has_no_spelling_is_not_written(headers: dict[str, eventstream.HeaderValue], payload: bytes) -> None:
    with pytest.raises(ValueError, match=r"header|large"):
        encode(headers, payload)
