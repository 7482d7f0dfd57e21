"""What may lie beside a timeline: logs and pictures, told by their bytes and never by what their sender calls them. Pure."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

MOST_BYTES = 5 * 2**20
MOST_OF_ONE = 40
"""Files of one incident."""
TEXT = "text/plain"
SIGNATURES: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"),
)
IMAGES = frozenset({"image/png", "image/jpeg", "image/gif", "image/webp"})


class AttachmentRefused(ValueError):
    """A file that is not taken; the message says what is."""


@dataclass(frozen=True, slots=True)
class Checked:
    """A file that may be kept. kind: its media type."""

    name: str
    kind: str
    body: bytes


def attachment_check(name: str, body: bytes) -> Checked:
    """A file as it may be kept. Raises AttachmentRefused."""
    if not body:
        raise AttachmentRefused("the file is empty: choose another one")
    if len(body) > MOST_BYTES:
        raise AttachmentRefused(f"at most {MOST_BYTES // 2**20} MB, please: send the part of it that shows what happened")
    return Checked(file_name(name), kind_of(body), body)


def kind_of(body: bytes) -> str:
    """The media type of what may be kept: pictures by how they begin, anything that is UTF-8 text. Raises AttachmentRefused."""
    for start, kind in SIGNATURES:
        if body.startswith(start):
            return kind
    if body[:4] == b"RIFF" and body[8:12] == b"WEBP":
        return "image/webp"
    try:
        text = body.decode("utf-8")
    except UnicodeDecodeError:
        raise AttachmentRefused("only text (UTF-8: logs, JSON, CSV) and pictures (PNG, JPEG, GIF, WebP) are kept here") from None
    if "\x00" in text:
        raise AttachmentRefused("this is no text: it holds NUL characters; only text and pictures are kept here")
    return TEXT


def file_name(written: str) -> str:
    """A name without folders and without what no header or disk holds."""
    last = written.replace("\\", "/").rsplit("/", 1)[-1]
    plain = "".join(sign for sign in last if unicodedata.category(sign)[0] != "C" and sign not in '"<>|:*?;')
    return plain.strip(" .")[:200] or "file"
