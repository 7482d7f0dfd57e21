"""How long files of sound can play at most: never less than they do."""

from __future__ import annotations

import random
import struct

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from apps.proxy.operations.sound import longest_seconds
from tests.conformance.test_operations import wav
from tests.scale import examples


def noise(size: int) -> bytes:
    return random.Random(size).randbytes(size)


def mp3(frames: int, *, mark: bytes = b"\xff\xfb", size: int = 417, tag: bool = False) -> bytes:
    """MPEG 1 layer III of 128 kbit/s at 44.1 kHz: 1,152 samples a frame."""
    body = b"".join(mark + b"\x90\x64" + noise(size - 4) for _ in range(frames))
    return b"ID3\x04\x00\x00\x00\x00\x00\x00" + body if tag else body


def flac(frames: int, block: int = 4_096, rate: int = 44_100) -> bytes:
    info = struct.pack(">HH", block, block) + bytes(6) + ((rate << 44) | (1 << 41) | (15 << 36)).to_bytes(8, "big") + bytes(16)
    return b"fLaC\x80\x00\x00\x22" + info + b"".join(b"\xff\xf8\xc9\x18" + noise(200) for _ in range(frames))


def page(flags: int, packets: list[bytes]) -> bytes:
    table = b"".join(b"\xff" * (len(packet) // 255) + bytes([len(packet) % 255]) for packet in packets)
    return b"OggS\0" + bytes([flags]) + bytes(20) + bytes([len(table)]) + table + b"".join(packets)


def opus(packets: int) -> bytes:
    """Twenty milliseconds each, as browsers record them."""
    head = page(2, [b"OpusHead\x01\x01" + bytes(9)]) + page(0, [b"OpusTags" + bytes(8)])
    return head + b"".join(page(0, [noise(60)] * 40) for _ in range(packets // 40))


def vorbis(packets: int) -> bytes:
    head = page(2, [b"\x01vorbis" + struct.pack("<IBIiii", 0, 2, 44_100, 0, 0, 0) + bytes([0xB8, 1])])
    return head + b"".join(page(0, [noise(300)] * 20) for _ in range(packets // 20))


@pytest.mark.parametrize(
    ("data", "plays"),
    [
        (wav(3), 3.0),
        (wav(0.5, rate=48_000), 0.5),
        (mp3(100), 100 * 1_152 / 44_100),
        (mp3(100, tag=True), 100 * 1_152 / 44_100),
        (mp3(100, mark=b"\xff\xf3", size=209), 100 * 576 / 22_050),
        (flac(50), 50 * 4_096 / 44_100),
        (flac(5, block=65_535, rate=8_000), 5 * 65_535 / 8_000),
        (opus(400), 400 * 0.02),
        (vorbis(400), 400 * 1_024 / 44_100),
    ],
)
def test_a_file_plays_no_longer_than_its_bound(data: bytes, plays: float) -> None:
    found = longest_seconds(data)
    assert found is not None and plays <= found <= 12 * plays + 1
    assert longest_seconds(memoryview(data)) == found


def test_a_head_that_claims_less_is_not_believed() -> None:
    sound = wav(10)
    lies = sound[:40] + struct.pack("<I", 16) + sound[44:]
    assert (longest_seconds(lies) or 0) >= 10
    chained = opus(40) + page(2, [b"\x01vorbis" + bytes(22)]) + page(0, [noise(300)] * 20)
    assert longest_seconds(chained) is None, "a second stream may have longer packets"


@pytest.mark.parametrize(
    "data", [b"", b"RIFF", b"OggS", b"fLaC", b"ID3", b"RIFF\0\0\0\0WAVE", b"\x1aE\xdf\xa3", b"\0\0\0\x20ftypM4A ", b"text"]
)
def test_what_cannot_be_read_has_no_bound(data: bytes) -> None:
    assert longest_seconds(data) is None


@settings(max_examples=examples(200))
@given(st.sampled_from((wav(0.1), mp3(3), flac(3), opus(40), vorbis(20))), st.integers(0, 200), st.binary(max_size=40))
def test_nonsense_is_never_an_error(data: bytes, cut: int, other: bytes) -> None:
    for nonsense in (data[:cut], data[:cut] + other + data[cut:], other + data):
        found = longest_seconds(nonsense)
        assert found is None or found >= 0
