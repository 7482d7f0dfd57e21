"""Shapes that two parsers may read differently: refused with 400 and a closed connection, and the app never hears of them."""

from __future__ import annotations

import json

import pytest

from apps.proxy.http.limits import ServerLimits
from tests.proxy.http.memory import serve_bytes

POST = b"POST /v1/x HTTP/1.1\r\nHost: a\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"

REFUSED: dict[str, bytes] = {
    "length and chunked": POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked and length": POST + b"Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "length twice, same": POST + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
    "length twice, different": POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\nhi!",
    "length list": POST + b"Content-Length: 2, 2\r\n\r\nhi",
    "length signed": POST + b"Content-Length: +2\r\n\r\nhi",
    "length negative": POST + b"Content-Length: -2\r\n\r\nhi",
    "length hex": POST + b"Content-Length: 0x2\r\n\r\nhi",
    "length with space inside": POST + b"Content-Length: 2 2\r\n\r\nhi",
    "length empty": POST + b"Content-Length:\r\n\r\n",
    "length word": POST + b"Content-Length: two\r\n\r\nhi",
    "length overflow": POST + b"Content-Length: 18446744073709551618\r\n\r\nhi",
    "length with thousands of zeros": POST + b"Content-Length: " + b"0" * 5_000 + b"2\r\n\r\nhi",
    "coding xchunked": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "coding chunked twice": POST + b"Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "coding header twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding gzip, chunked": POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    "coding chunked, gzip": POST + b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "coding identity": POST + b"Transfer-Encoding: identity\r\n\r\n",
    "coding identity, then chunked": POST + b"Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding empty": POST + b"Transfer-Encoding:\r\n\r\n0\r\n\r\n",
    "coding quoted": POST + b'Transfer-Encoding: "chunked"\r\n\r\n0\r\n\r\n',
    "coding with vertical tab": POST + b"Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    "coding with parameter": POST + b"Transfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
    "coding with comma": POST + b"Transfer-Encoding: chunked,\r\n\r\n0\r\n\r\n",
    "coding with leading comma": POST + b"Transfer-Encoding: ,chunked\r\n\r\n0\r\n\r\n",
    "coding folded": POST + b"Transfer-Encoding:\r\n chunked\r\n\r\n0\r\n\r\n",
    "coding in HTTP/1.0": b"POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "coding with space before colon": POST + b"Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "folded header": POST + b"X: a\r\n b\r\n\r\n",
    "space before the first header": b"GET / HTTP/1.1\r\n Host: a\r\n\r\n",
    "space before colon": POST + b"X : a\r\n\r\n",
    "bare LF after header": POST + b"X: a\nY: b\r\n\r\n",
    "bare LF ends the head": POST + b"X: a\r\n\n",
    "bare LF after the request line": b"GET / HTTP/1.1\nHost: a\r\n\r\n",
    "bare CR in a value": POST + b"X: a\rY: b\r\n\r\n",
    "NUL in a value": POST + b"X: a\x00b\r\n\r\n",
    "NUL in a name": POST + b"X\x00: a\r\n\r\n",
    "control in a value": POST + b"X: a\x01b\r\n\r\n",
    "DEL in a value": POST + b"X: a\x7fb\r\n\r\n",
    "name empty": POST + b": a\r\n\r\n",
    "name with high byte": POST + b"X\xe9: a\r\n\r\n",
    "name with parenthesis": POST + b"X(a): a\r\n\r\n",
    "line without colon": POST + b"X\r\n\r\n",
    "host missing": b"GET / HTTP/1.1\r\nX: a\r\n\r\n",
    "host twice": b"GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
    "host with space": b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
    "host with path": b"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
    "host with user": b"GET / HTTP/1.1\r\nHost: u@a\r\n\r\n",
    "host list": b"GET / HTTP/1.1\r\nHost: a, b\r\n\r\n",
    "host empty": b"GET / HTTP/1.1\r\nHost:\r\n\r\n",
    "authorization twice": POST + b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n\r\n",
    "x-api-key twice": POST + b"x-api-key: a\r\nX-API-Key: b\r\n\r\n",
    "chunk size hex prefix": CHUNKED + b"0x2\r\nhi\r\n0\r\n\r\n",
    "chunk size negative": CHUNKED + b"-2\r\nhi\r\n0\r\n\r\n",
    "chunk size signed": CHUNKED + b"+2\r\nhi\r\n0\r\n\r\n",
    "chunk size empty": CHUNKED + b"\r\nhi\r\n0\r\n\r\n",
    "chunk size overflow": CHUNKED + b"10000000000000002\r\nhi\r\n0\r\n\r\n",
    "chunk size with space": CHUNKED + b"2 \r\nhi\r\n0\r\n\r\n",
    "chunk size bare LF": CHUNKED + b"2\nhi\r\n0\r\n\r\n",
    "chunk data too long": CHUNKED + b"2\r\nhi!\r\n0\r\n\r\n",
    "chunk data without CRLF": CHUNKED + b"2\r\nhi0\r\n\r\n",
    "chunk extension with LF": CHUNKED + b"2;a\nb\r\nhi\r\n0\r\n\r\n",
    "chunk extension with high byte": CHUNKED + b"2;\xff\r\nhi\r\n0\r\n\r\n",
    "trailer content-length": CHUNKED + b"0\r\nContent-Length: 3\r\n\r\n",
    "trailer transfer-encoding": CHUNKED + b"0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "trailer authorization": CHUNKED + b"0\r\nAuthorization: Bearer b\r\n\r\n",
    "trailer host": CHUNKED + b"0\r\nHost: b\r\n\r\n",
    "trailer connection": CHUNKED + b"0\r\nConnection: close\r\n\r\n",
    "trailer folded": CHUNKED + b"0\r\nX: a\r\n b\r\n\r\n",
    "method lower case": b"get / HTTP/1.1\r\nHost: a\r\n\r\n",
    "space before the method": b" GET / HTTP/1.1\r\nHost: a\r\n\r\n",
    "tab in the request line": b"GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "space in the target": b"GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
    "high byte in the target": b"GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n",
    "fragment in the target": b"GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
    "target without slash": b"GET a HTTP/1.1\r\nHost: a\r\n\r\n",
    "target of another scheme": b"GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
    "asterisk for GET": b"GET * HTTP/1.1\r\nHost: a\r\n\r\n",
    "NUL in the decoded path": b"GET /%00 HTTP/1.1\r\nHost: a\r\n\r\n",
    "newline in the decoded path": b"GET /%0a HTTP/1.1\r\nHost: a\r\n\r\n",
    "path not UTF-8": b"GET /%ff HTTP/1.1\r\nHost: a\r\n\r\n",
    "version with two digits": b"GET / HTTP/1.10\r\nHost: a\r\n\r\n",
    "version lower case": b"GET / http/1.1\r\nHost: a\r\n\r\n",
    "TLS on the plain port": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
}

OTHERWISE: dict[str, tuple[bytes, int, str]] = {
    "HTTP/2.0": (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505, "http_version_not_supported"),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "http_version_not_supported"),
    "HTTP/0.9": (b"GET /\r\n\r\n", 505, "http_version_not_supported"),
    "HTTP/1.2": (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505, "http_version_not_supported"),
    "CONNECT": (b"CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", 405, "method_not_allowed"),
    "other expectation": (POST + b"Expect: 200-ok\r\nContent-Length: 2\r\n\r\n", 417, "expectation_failed"),
    "expectation beside 100": (POST + b"Expect: 100-continue, x\r\nContent-Length: 2\r\n\r\n", 417, "expectation_failed"),
    "target too long": (b"GET /" + b"a" * 9_000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414, "uri_too_long"),
    "target without end": (b"GET /" + b"a" * 9_000, 414, "uri_too_long"),
    "one header too large": (POST + b"X: " + b"a" * 70_000 + b"\r\n\r\n", 431, "headers_too_large"),
    "header name without end": (POST + b"x" * 90_000, 431, "headers_too_large"),
    "headers too many": (POST + b"".join(b"x-%d: a\r\n" % i for i in range(200)) + b"\r\n", 431, "headers_too_large"),
    "same header too often": (POST + b"x: a\r\n" * 200 + b"\r\n", 431, "headers_too_large"),
    "body announced too large": (POST + b"Content-Length: 10000001\r\n\r\n", 413, "body_too_large"),
    "empty lines without end": (b"\r\n" * 40_000, 431, "headers_too_large"),
    "extensions without end": (CHUNKED + b"2;" + b"a" * 200_000, 400, "malformed_http"),
    "trailers without end": (CHUNKED + b"0\r\n" + b"x: aaaaaaaaaaaaaaaaaaaaaaaaaaaaa\r\n" * 6_000, 400, "malformed_http"),
}


def check(raw: bytes, pieces: list[bytes], status: int, code: str) -> None:
    requests, transport = serve_bytes(pieces)
    assert requests == []
    head, _, body = transport.written.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 %d " % status), head
    assert b"connection: close" in head and transport.half_closed
    error = json.loads(body)["error"]
    assert error["code"] == code and error["message"].endswith((".", "?")) and error["type"] == "invalid_request_error"


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_400(name: str) -> None:
    raw = REFUSED[name]
    check(raw, [raw], 400, "malformed_http")
    check(raw, [raw[i : i + 1] for i in range(len(raw))], 400, "malformed_http")


@pytest.mark.parametrize("name", OTHERWISE)
def test_refused_with_its_own_code(name: str) -> None:
    raw, status, code = OTHERWISE[name]
    check(raw, [raw], status, code)
    check(raw, [raw[i : i + 1_000] for i in range(0, len(raw), 1_000)], status, code)


@pytest.mark.parametrize("name", REFUSED)
def test_refused_behind_a_valid_request_in_its_turn(name: str) -> None:
    requests, transport = serve_bytes([b"GET /first HTTP/1.1\r\nHost: a\r\n\r\n" + REFUSED[name]])
    assert [request.path for request in requests] == ["/first"]
    assert transport.written.startswith(b"HTTP/1.1 200 ") and b"HTTP/1.1 400 " in transport.written and transport.half_closed


def test_nothing_after_a_refusal_is_read() -> None:
    requests, transport = serve_bytes([REFUSED["length and chunked"], b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"])
    assert requests == [] and transport.written.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("announced", [b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"a" * 1_001, b"Content-Length: 1001\r\n\r\n"])
def test_bodies_too_large_are_refused_early(announced: bytes) -> None:
    requests, transport = serve_bytes([POST + announced], ServerLimits(body_bytes=1_000))
    assert requests == [] and transport.written.startswith(b"HTTP/1.1 413 ")


def test_a_refused_head_request_gets_no_body() -> None:
    _, transport = serve_bytes([b"HEAD / HTTP/1.1\r\n\r\n"])
    assert transport.written.startswith(b"HTTP/1.1 400 ") and transport.written.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("separator", [b"\r\n", b"\r\n\r\n"])
def test_empty_lines_before_a_request_are_skipped(separator: bytes) -> None:
    get = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
    requests, _ = serve_bytes([separator + get + separator + get])
    assert len(requests) == 2


def test_trailers_do_not_become_headers_of_this_or_the_next_request() -> None:
    requests, _ = serve_bytes([CHUNKED + b"2\r\nhi\r\n0\r\nX-Sum: 1\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"])
    assert [request.body for request in requests] == [b"hi", b""]
    assert all(b"x-sum" not in request.headers for request in requests)


@pytest.mark.parametrize(
    ("framing", "body"),
    [(b"", b""), (b"Content-Length: 2\r\n", b"hi"), (b"Transfer-Encoding: chunked\r\n", b"hi"), (b"Content-Length: 0\r\n", b"")],
)
@pytest.mark.parametrize("step", [1, 7, 1_000])
def test_an_offered_upgrade_is_ignored_and_the_body_is_read(framing: bytes, body: bytes, step: int) -> None:
    sent = b"2\r\nhi\r\n0\r\n\r\n" if b"chunked" in framing else body
    raw = POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\n" + framing + b"\r\n" + sent + b"GET /next HTTP/1.1\r\nHost: b\r\n\r\n"
    requests, _ = serve_bytes([raw[i : i + step] for i in range(0, len(raw), step)])
    assert [(r.method, r.path, r.body, r.headers[b"host"]) for r in requests] == [
        ("POST", "/v1/x", body, b"a"),
        ("GET", "/next", b"", b"b"),
    ]
