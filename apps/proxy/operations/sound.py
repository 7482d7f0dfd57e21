"""The longest that a file of sound can play, from its bytes alone: what a transcription can cost at most.

Nothing is decoded, and no length that a header claims is believed where it could be too short. Frames are counted by their marks, which
occur at least once for each; a mark that occurs by chance makes the bound larger, never smaller.
"""

from __future__ import annotations

import struct

Data = bytes | memoryview
READABLE = "wav, mp3, flac and ogg (Opus, Vorbis)"
_PCM = (1, 3, 6, 7, 0xFFFE)
"""WAV's formats of a fixed number of bits for a sample: integers, floats, A-law, mu-law, and these in the extensible head."""
_MP3_MILLISECONDS = {
    b"\xff\xfa": 36, b"\xff\xfb": 36, b"\xff\xfc": 36, b"\xff\xfd": 36,
    b"\xff\xf2": 36, b"\xff\xf3": 36, b"\xff\xf4": 72, b"\xff\xf5": 72,
    b"\xff\xe2": 72, b"\xff\xe3": 72, b"\xff\xe4": 144, b"\xff\xe5": 144,
    b"\xff\xf6": 24, b"\xff\xf7": 24, b"\xff\xfe": 12, b"\xff\xff": 12,
    b"\xff\xf0": 140, b"\xff\xf1": 140, b"\xff\xf8": 140, b"\xff\xf9": 140,
}  # fmt: skip
"""How frames of MPEG sound begin, layers I to III of versions 1, 2 and 2.5, and AAC's (which may stand behind an ID3 tag too) -> the
longest such a frame plays: at its lowest rate."""
_OPUS_MILLISECONDS = 120
"""The longest packet there may be (RFC 6716)."""


def longest_seconds(data: Data) -> float | None:
    """None where the file is of no kind that can be bounded, or is broken."""
    head = bytes(data[:64])
    try:
        if head[:4] in (b"RIFF", b"RF64") and head[8:12] == b"WAVE":
            return _wav(data)
        if head[:4] == b"fLaC":
            return _flac(data)
        if head[:4] == b"OggS":
            return _ogg(data)
        if head[:3] == b"ID3" or head[:2] in _MP3_MILLISECONDS:
            return _mp3(data)
    except (struct.error, IndexError, ZeroDivisionError):
        return None
    return None


def _wav(data: Data) -> float | None:
    """All bytes of the file over its rate, whatever its chunks say of their sizes."""
    at = 12
    for _ in range(64):
        name, size = bytes(data[at : at + 4]), struct.unpack_from("<I", data, at + 4)[0]
        if name == b"fmt ":
            kind, channels, rate, _, _, bits = struct.unpack_from("<HHIIHH", data, at + 8)
            if kind not in _PCM or not channels or not rate or bits < 8:
                return None
            return len(data) * 8.0 / int(channels * rate * bits)
        at += 8 + size + size % 2
    return None


def _mp3(data: Data) -> float | None:
    whole = bytes(data)
    total = sum(whole.count(mark) * longest for mark, longest in _MP3_MILLISECONDS.items())
    return total / 1000 if total else None


def _flac(data: Data) -> float | None:
    """Frames have no more samples than the head's largest block; a decoder refuses others."""
    whole = bytes(data)
    largest = struct.unpack_from(">H", whole, 10)[0]
    rate = int.from_bytes(whole[18:21], "big") >> 4
    if not rate or not largest:
        return None
    frames = whole.count(b"\xff\xf8") + whole.count(b"\xff\xf9")
    return frames * largest / rate if frames else None


def _ogg(data: Data) -> float | None:
    """Packets, as its pages end them, by the longest that one may play."""
    whole = bytes(data)
    start = 27 + whole[26]
    if whole[start : start + 8] == b"OpusHead":
        longest = _OPUS_MILLISECONDS / 1000
    elif whole[start : start + 7] == b"\x01vorbis":
        rate = struct.unpack_from("<I", whole, start + 12)[0]
        longest = (1 << (whole[start + 28] >> 4)) / rate
    else:
        return None
    packets, at, streams = 0, 0, 0
    while at >= 0:
        streams += whole[at + 5] >> 1 & 1
        if streams > 1:  # another one in it, or after it, may have other packets
            return None
        segments = whole[at + 26]
        table = whole[at + 27 : at + 27 + segments]
        packets += segments - table.count(b"\xff")
        following = at + 27 + segments + sum(table)
        at = following if whole[following : following + 4] == b"OggS" else whole.find(b"OggS", max(following, at + 27))
    return packets * longest if packets else None
