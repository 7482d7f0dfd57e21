"""What the parser leaves to us: checks on a request's head and its target that llhttp does not make.

llhttp (strict, as httptools builds it) refuses bad names, bare CR, LF and NUL, obs-fold, both lengths at once and odd
content-lengths by itself; the tests keep a table of that. It lets pass what is refused here.
"""

from __future__ import annotations

import re
from urllib.parse import unquote_to_bytes

from apps.proxy.http.errors import Refused

SINGLE = frozenset(
    (
        b"api-key",
        b"authorization",
        b"content-length",
        b"content-type",
        b"expect",
        b"host",
        b"proxy-authorization",
        b"transfer-encoding",
        b"x-api-key",
        b"x-goog-api-key",
    )
)
"""Fields that must not repeat: framing, and whatever decides who asks."""

NO_TRAILER = SINGLE | {b"connection", b"trailer", b"content-encoding", b"upgrade", b"te"}
"""Fields that change framing, routing or who asks, and so may not come after the body (RFC 9110 6.5.1)."""

METHODS = {
    name.encode(): name
    for name in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "PROPFIND", "REPORT", "SEARCH", "PURGE", "LINK")
}

_HOST = re.compile(rb"(?:\[[0-9A-Fa-f:.%]+\]|[A-Za-z0-9._~!$&'()*+;=%-]+)(?::[0-9]{0,5})?")
_ABSOLUTE = re.compile(rb"https?://([^/?#]+)([/?].*)?", re.IGNORECASE | re.DOTALL)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LONGEST_CACHED = 256
_MOST_CACHED = 1_024

_targets: dict[bytes, tuple[str, bytes]] = {}
_hosts: set[bytes] = set()


def check_host(host: bytes) -> None:
    """Raises ``Refused`` unless ``host`` is ``uri-host [":" port]``. Seen ones are remembered."""
    if host in _hosts:
        return
    if not _HOST.fullmatch(host):
        raise Refused("malformed_http", "The Host header is not a host name with an optional port.")
    if len(_hosts) >= _MOST_CACHED:
        _hosts.clear()
    if len(host) <= _LONGEST_CACHED:
        _hosts.add(host)


def split_target(target: bytes) -> tuple[str, bytes]:
    """Origin-form target -> decoded path, raw query. Raises ``Refused``. Seen ones are remembered."""
    found = _targets.get(target)
    if found is not None:
        return found
    if b"#" in target:
        raise Refused("malformed_http", "The request target has a fragment ('#'), which is never sent to a server.")
    raw, _, query = target.partition(b"?")
    try:
        path = unquote_to_bytes(raw).decode()
    except UnicodeDecodeError:
        raise Refused("malformed_http", "The path is not UTF-8 after percent-decoding.") from None
    if _CONTROL.search(path):
        raise Refused("malformed_http", "The path has control characters.")
    if len(target) <= _LONGEST_CACHED:
        if len(_targets) >= _MOST_CACHED:
            _targets.clear()
        _targets[target] = (path, query)
    return path, query


def read_target(method: str, target: bytes, headers: dict[bytes, bytes]) -> tuple[str, bytes]:
    """Any form of target (RFC 9112 3.2) -> decoded path, raw query. Absolute-form replaces ``host`` in ``headers``, as 3.2.2 says."""
    if target[:1] == b"/":
        return split_target(target)
    if target == b"*" and method == "OPTIONS":
        return "*", b""
    absolute = _ABSOLUTE.fullmatch(target)
    if absolute is None:
        raise Refused("malformed_http", "The request target must be a path ('/v1/...') or an http(s) URL.")
    authority, rest = absolute.groups()
    check_host(authority)
    headers[b"host"] = authority
    rest = rest or b"/"
    return split_target(rest if rest[:1] == b"/" else b"/" + rest)


def merge_repeated(headers: dict[bytes, bytes], name: bytes, value: bytes) -> None:
    """A field that came before: joined (RFC 9110 5.3), or ``Refused`` where it must not repeat."""
    if name in SINGLE:
        raise Refused("malformed_http", f"The header '{name.decode('latin-1')}' may be sent only once.")
    headers[name] += b", " + value


def check_trailers(trailers: dict[bytes, bytes]) -> None:
    for name in trailers:
        if name in NO_TRAILER:
            raise Refused("malformed_http", f"The field '{name.decode('latin-1')}' may not be sent after the body.")
