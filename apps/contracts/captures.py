"""A captured sample on its way from the proxy to Postgres: redacted by the proxy, sealed to the proxies' key, one file each.

The file's name is the request's id; what it holds is a Fernet token under the seal key, so a spool that is copied tells nothing.
"""

from __future__ import annotations

import msgspec
from cryptography.fernet import Fernet, InvalidToken

SUFFIX = ".sample"
MAKING = ".making"
"""Ends the name of a file that is still being written."""
SPOOL = "captures"
"""The folder beside the journals' (``BULKHEAD_CAPTURE_DIR`` says another)."""
MAX_FILE = 1_500_000
"""Bytes of a file; a larger one is none of ours."""


class Sample(msgspec.Struct, array_like=True, kw_only=True, gc=False):
    """What is kept of one request. rule: id of the capture that wanted it. found: how many finds of each kind were taken out.

    request, answer: redacted; the answer of a stream is its text. cut: some of it was longer than what is kept.
    """

    id: bytes
    started_us: int
    organisation: str
    route: str
    key_id: str
    rule: str
    status: int
    stream: bool
    request: str
    answer: str
    found: dict[str, int] = {}
    cut: bool = False


class SampleError(ValueError):
    """A file that is no sample of ours, or was sealed to another key."""


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Sample).decode


def sample_seal(sample: Sample, key: Fernet) -> bytes:
    return key.encrypt(_encode(sample))


def sample_open(sealed: bytes, key: Fernet) -> Sample:
    """Raises SampleError."""
    try:
        return _decode(key.decrypt(sealed))
    except (InvalidToken, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise SampleError(str(error) or "it was sealed to another key") from error
