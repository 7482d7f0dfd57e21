"""The journal's codec: a cut segment is a prefix, a damaged one never yields a wrong record."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.contracts.journal import FIRST_OFFSET, HEADER, MAGIC, SEALED, TornFrame, crc, frame_size, is_sealed, read_frames, segment_number

payloads = st.lists(st.binary(min_size=1, max_size=60), max_size=12)


def segment(records: list[bytes], *, size: int = 4096, sealed: bool = False) -> bytearray:
    data = bytearray(size)
    data[: len(MAGIC)] = MAGIC
    at = FIRST_OFFSET
    for record in records:
        HEADER.pack_into(data, at, len(record), crc(record))
        data[at + HEADER.size : at + HEADER.size + len(record)] = record
        at += frame_size(len(record))
    if sealed:
        data[at : at + 4] = SEALED.to_bytes(4, "little")
    return data


def readable(data: bytes | bytearray) -> tuple[list[bytes], int]:
    found, at = [], FIRST_OFFSET
    try:
        for payload, following in read_frames(data, at):
            found.append(bytes(payload))
            at = following
    except TornFrame as torn:
        return found, torn.offset
    return found, at


@given(payloads, st.booleans())
def test_what_was_written_is_read(records: list[bytes], sealed: bool) -> None:
    data = segment(records, sealed=sealed)
    found, at = readable(data)
    assert found == records
    assert is_sealed(data, at) == sealed


@given(payloads, st.integers(0, 4096))
def test_cut_anywhere_it_is_a_prefix(records: list[bytes], length: int) -> None:
    found, _ = readable(segment(records)[:length])
    assert found == records[: len(found)]


@given(payloads.filter(bool), st.data())
def test_a_flipped_bit_never_yields_a_wrong_record(records: list[bytes], data: st.DataObject) -> None:
    damaged = segment(records)
    end = FIRST_OFFSET + sum(frame_size(len(record)) for record in records)
    at = data.draw(st.integers(FIRST_OFFSET, end - 1))
    damaged[at] ^= 1 << data.draw(st.integers(0, 7))
    found, _ = readable(damaged)
    assert found == records[: len(found)]


def test_a_length_beyond_the_segment_is_torn() -> None:
    data = segment([b"whole"], size=128)
    HEADER.pack_into(data, FIRST_OFFSET + frame_size(5), 16_000, 1)
    with pytest.raises(TornFrame):
        list(read_frames(data, FIRST_OFFSET))


@pytest.mark.parametrize(
    ("name", "number"),
    [("00000001.seg", 1), ("123456789.seg", 123456789), ("meta.json", None), ("x.seg", None), ("00000001.new", None)],
)
def test_segments_are_known_by_name(name: str, number: int | None) -> None:
    assert segment_number(name) == number
