"""Last-known-good config on disk: what a proxy boots from while Postgres is away.

One file: an 8-byte magic, the CRC-32 of the rest, a MessagePack ``Delta`` with base 0. Replaced atomically; credentials inside
stay sealed to the proxies' key, digests stay HMACs, so the file opens nothing by itself. Mode 0600 all the same.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import msgspec

from apps.contracts.snapshot import Delta

_MAGIC = b"BHCONF1\n"
_CRC = struct.Struct("<I")
_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Delta).decode


class LastGoodError(ValueError):
    """The file is damaged or not ours."""


def save(path: Path, delta: Delta) -> None:
    """Write and fsync beside, then rename over: a reader sees the old file or the new one."""
    payload = _encode(delta)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    beside = path.with_suffix(f".{os.getpid()}.new")
    descriptor = os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    try:
        os.write(descriptor, _MAGIC + _CRC.pack(zlib.crc32(payload)))
        view = memoryview(payload)
        while view:
            view = view[os.write(descriptor, view) :]
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    beside.replace(path)


def load(path: Path) -> Delta | None:
    """The saved config; None where there is none. Raises LastGoodError for a damaged file."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    head = len(_MAGIC) + _CRC.size
    if data[: len(_MAGIC)] != _MAGIC or len(data) < head:
        raise LastGoodError(f"{path} is no saved config")
    payload = data[head:]
    if zlib.crc32(payload) != _CRC.unpack_from(data, len(_MAGIC))[0]:
        raise LastGoodError(f"{path} is damaged (checksum)")
    try:
        return _decode(payload)
    except msgspec.MsgspecError as error:
        raise LastGoodError(f"{path} does not decode: {error}") from error
