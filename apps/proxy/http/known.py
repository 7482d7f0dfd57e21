"""The head that a client sends again and again on one connection.

A client's requests on a kept-alive connection mostly differ in their content-length and body only. Such a head was read in full once, by
the strict parser and every check; the same bytes again, but for the digits of the length, mean the same, so they are
recognised by comparing bytes. Anything else (another byte anywhere, a body in pieces, two requests at once) goes to the parser,
which stands between two messages meanwhile and stays right.
"""

from __future__ import annotations

import re

from apps.proxy.http.types import Request

_LENGTH = re.compile(rb"\r\ncontent-length:[ \t]*([0-9]{1,8})(?=[ \t]*\r\n)", re.IGNORECASE)
_OPTIONAL = frozenset((b"transfer-encoding", b"expect", b"upgrade", b"trailer"))
_LOOKED_FOR = frozenset((b"content-encoding", b"idempotency-key", b"traceparent"))
_MOST_DIGITS = 8
PATIENCE = 2
"""Heads in a row that differ from the one before; then this client's heads are not looked at any more."""


class KnownHead:
    """prefix + digits + suffix is the whole head, its empty line included."""

    __slots__ = ("headers", "method", "path", "plain", "prefix", "query", "suffix")

    def __init__(self, request: Request, prefix: bytes, suffix: bytes) -> None:
        self.method = request.method
        self.path = request.path
        self.query = request.query
        self.headers = dict(request.headers)
        self.plain = request.headers.get(b"content-type") == b"application/json" and not any(
            name in _LOOKED_FOR or name.startswith(b"x-bulkhead-") for name in request.headers
        )
        self.prefix = prefix
        self.suffix = suffix

    def body_start(self, data: bytes, most: int) -> int:
        """Where the body begins when ``data`` is one whole request with this head and at most ``most`` bytes of body; else -1."""
        prefix = self.prefix
        if not data.startswith(prefix):
            return -1
        at = len(prefix)
        end = data.find(b"\r", at, at + _MOST_DIGITS + 1)
        digits = data[at:end]
        if end < 0 or not digits.isdigit() or not data.startswith(self.suffix, end):
            return -1
        length = int(digits)
        start = end + len(self.suffix)
        return start if len(data) - start == length and length <= most else -1


def learn(data: bytes, request: Request) -> KnownHead | None:
    """What ``request`` was read from, if ``data`` is exactly that request: a plain HTTP/1.1 one with a length, nothing optional."""
    headers = request.headers
    if request.http_10 or b"content-length" not in headers:
        return None
    if not _OPTIONAL.isdisjoint(headers) or headers.get(b"connection", b"keep-alive").lower() != b"keep-alive":
        return None
    end = data.find(b"\r\n\r\n") + 4
    if end < 4 or len(data) - end != len(request.body):
        return None
    found = _LENGTH.search(data, 0, end)
    if found is None or found.group(1) != headers[b"content-length"] or _LENGTH.search(data, found.end(), end) is not None:
        return None
    suffix = data[found.end(1) : end]
    if not suffix.startswith(b"\r\n"):  # white space behind the digits: the parser may have it
        return None
    return KnownHead(request, data[: found.start(1)], suffix)
