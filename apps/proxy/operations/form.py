"""multipart/form-data (RFC 7578), as far as it must be read: which parts there are, where each one's content lies, and a new body with
another text in one of them. The bytes of files are never copied but with the whole.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import NamedTuple

from apps.proxy.errors import Refusal

STEP = "read"
MAX_PARTS = 64
MAX_PART_HEAD = 8_192
MAX_TEXT = 100_000
"""Bytes of a field that is no file."""
_BOUNDARY = re.compile(rb'boundary=(?:"([^"\r\n]{1,70})"|([^\s;,"]{1,70}))', re.I)
_NAME = re.compile(rb'[;\s]name="((?:[^"\\\r\n]|\\.)*)"', re.I)
_FILENAME = re.compile(rb"[;\s]filename\*?=", re.I)


class Part(NamedTuple):
    """name: of the field. file: it has a file name. start, end: of its content in the body."""

    name: str
    file: bool
    start: int
    end: int


class Form(NamedTuple):
    """content_type: the header that goes with the body, boundary included."""

    content_type: bytes
    body: bytes
    parts: tuple[Part, ...]

    def text(self, name: str) -> str | None:
        """The content of a field that is no file; None where there is none. Raises UnicodeDecodeError."""
        for part in self.parts:
            if part.name == name and not part.file:
                return self.body[part.start : part.end].decode()
        return None

    def fields(self) -> dict[str, str]:
        """Every field that is no file; of several with one name the last. Raises UnicodeDecodeError."""
        return {part.name: self.body[part.start : part.end].decode() for part in self.parts if not part.file}

    def files(self, *names: str) -> list[memoryview]:
        """The contents of the files under these names."""
        whole = memoryview(self.body)
        return [whole[part.start : part.end] for part in self.parts if part.file and part.name in names]

    def with_text(self, name: str, text: str) -> bytes:
        """The body with another text in a field, which it has exactly once."""
        part = next(part for part in self.parts if part.name == name and not part.file)
        return b"".join((memoryview(self.body)[: part.start], text.encode(), memoryview(self.body)[part.end :]))

    def digest(self) -> bytes:
        """Of the fields, whatever the boundary between them is: the same form sent again has the same one."""
        found = blake2b(digest_size=32)
        for part in self.parts:
            found.update(b"%d:%b:%d:%d:" % (len(part.name), part.name.encode(), part.file, part.end - part.start))
            found.update(memoryview(self.body)[part.start : part.end])
        return found.digest()


def read_form(headers: dict[bytes, bytes], body: bytes) -> Form | Refusal:
    """The form in a request's body, or why it is none."""
    content_type = headers.get(b"content-type", b"")
    if content_type.partition(b";")[0].strip().lower() != b"multipart/form-data":
        shown = content_type[:60].decode("latin-1")
        return Refusal("unsupported_media_type", STEP, f"Send 'Content-Type: multipart/form-data' with the file in it, not {shown!r}.")
    encoding = headers.get(b"content-encoding")
    if encoding is not None and encoding.lower() != b"identity":
        return Refusal("unsupported_encoding", STEP, "Send the body uncompressed: a Content-Encoding is not accepted.")
    found = _BOUNDARY.search(content_type)
    if found is None:
        return _malformed("the content type names no boundary of 1 to 70 characters")
    if not body:
        return Refusal("empty_body", STEP, "The request has no body. Send a form.")
    boundary = b"--" + (found.group(1) or found.group(2))
    if body.startswith(boundary):
        at = len(boundary)
    else:  # a preamble, which is to be ignored
        at = body.find(b"\r\n" + boundary)
        if at < 0:
            return _malformed("the boundary does not occur in it")
        at += 2 + len(boundary)
    parts: list[Part] = []
    while not body.startswith(b"--", at):
        line = body.find(b"\r\n", at, at + 256)
        if line < 0 or body[at:line].strip(b" \t"):
            return _malformed("a boundary is not at the end of its line")
        head_end = body.find(b"\r\n\r\n", line, line + MAX_PART_HEAD)
        if head_end < 0:
            return _malformed("a part's head has no end")
        start = head_end + 4
        end = body.find(b"\r\n" + boundary, head_end + 2)
        if end < 0:
            return _malformed("its last boundary is missing: it was cut")
        end = max(end, start)
        part = _part(body[line + 2 : head_end], start, end)
        if part is None:
            return _malformed("a part has no Content-Disposition with a name")
        if not part.file and end - start > MAX_TEXT:
            return Refusal("invalid_field", STEP, f"The field {part.name[:80]!r} is longer than {MAX_TEXT} bytes.", part.name[:80])
        parts.append(part)
        if len(parts) > MAX_PARTS:
            return _malformed(f"it has more than {MAX_PARTS} parts")
        at = body.find(b"\r\n" + boundary, head_end + 2) + 2 + len(boundary)
    return Form(content_type, body, tuple(parts))


def _part(head: bytes, start: int, end: int) -> Part | None:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-disposition":
            found = _NAME.search(value)
            if found is None:
                return None
            return Part(found.group(1).decode("utf-8", "replace"), _FILENAME.search(value) is not None, start, end)
    return None


def _malformed(why: str) -> Refusal:
    return Refusal("invalid_form", STEP, f"The body is not a form that can be read: {why}. Send multipart/form-data as RFC 7578 has it.")
