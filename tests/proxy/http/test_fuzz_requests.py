"""Any chunking of the bytes gives the same requests; and h11 as an oracle: what it refuses, we refuse, and what both accept
means the same to both (method, target, headers, body, and where the next request begins).
"""

from __future__ import annotations

import random
import re
from urllib.parse import unquote

import h11
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from apps.proxy.http.types import Request
from tests.proxy.http.memory import cut, serve_bytes
from tests.scale import examples

pytestmark = pytest.mark.slow

TOKEN = st.text("abcdefghijklmnopqrstuvwxyzABCDEFXYZ0123456789-_.!", min_size=1, max_size=12).map(str.encode)
VALUE = st.text("abc XYZ,;=/\"'()~\t\xe9\xff", max_size=20).map(lambda text: text.encode("latin-1").strip())
TARGET = st.sampled_from(
    [b"/", b"/v1/chat/completions", b"/v1/models?limit=2&x=%20", b"/%C3%A9/b", b"http://other.example/p?q", b"http://h:80", b"/a//b/../c?"]
)
METHOD = st.sampled_from([b"GET", b"POST", b"PUT", b"DELETE", b"HEAD", b"OPTIONS", b"PATCH"])
BODY = st.binary(max_size=60)
OURS = {b"host", b"content-length", b"transfer-encoding", b"connection", b"expect", b"upgrade", b"authorization"}


@st.composite
def requests(draw: st.DrawFn) -> bytes:
    """One valid request."""
    head = draw(METHOD) + b" " + draw(TARGET) + b" HTTP/1." + draw(st.sampled_from([b"1", b"1", b"1", b"0"])) + b"\r\n"
    old = head.endswith(b"1.0\r\n")
    fields = [b"Host: a.example:8080"]
    fields += [
        name + b":" + draw(st.sampled_from([b" ", b"", b"\t "])) + value + draw(st.sampled_from([b"", b" "]))
        for name, value in draw(st.lists(st.tuples(TOKEN, VALUE), max_size=4))
        if name.lower() not in OURS
    ]
    fields += draw(
        st.sampled_from(
            [[], [], [], [b"Connection: keep-alive"], [b"connection: close"], [b"Expect: 100-continue"], [b"authorization: Bearer x"]]
        )
    )
    framing = draw(st.sampled_from(["none", "length", "length", "chunked", "chunked"]))
    body = b""
    if framing == "length":
        body = draw(BODY)
        fields.append(b"Content-Length: %d" % len(body))
    elif framing == "chunked" and not old:
        fields.append(b"Transfer-Encoding: " + draw(st.sampled_from([b"chunked", b"Chunked"])))
        for piece in draw(st.lists(st.binary(min_size=1, max_size=20), max_size=4)):
            body += b"%x%b\r\n%b\r\n" % (len(piece), draw(st.sampled_from([b"", b"", b";a=b"])), piece)
        body += b"0\r\n" + draw(st.sampled_from([b"", b"", b"x-sum: 1\r\n"])) + b"\r\n"
    return head + b"\r\n".join(draw(st.permutations(fields))) + b"\r\n\r\n" + body


STREAM = st.lists(requests(), min_size=1, max_size=3).map(b"".join)
PLACES = st.lists(st.integers(0, 2_000), max_size=12)


def meaning(request: Request) -> tuple[object, ...]:
    return request.method, request.path, request.query, request.headers, request.body, request.http_10


@settings(max_examples=examples(40), deadline=None)
@given(STREAM, PLACES)
def test_any_chunking_gives_the_same_requests(stream: bytes, places: list[int]) -> None:
    whole, first = serve_bytes([stream])
    pieces, second = serve_bytes(cut(stream, places))
    single, third = serve_bytes([stream[i : i + 1] for i in range(len(stream))])
    assert [meaning(r) for r in whole] == [meaning(r) for r in pieces] == [meaning(r) for r in single]
    assert first.closed == second.closed == third.closed
    assert whole, "a valid stream has at least one request"


def oracle(stream: bytes) -> tuple[list[tuple[bytes, bytes, dict[bytes, bytes], bytes]], str]:
    """What h11 reads: requests, and how it ended: 'error: ...', 'more' (waits for bytes) or 'last' (no further request may come)."""
    connection = h11.Connection(h11.SERVER, max_incomplete_event_size=1 << 20)
    connection.receive_data(stream)
    seen: list[tuple[bytes, bytes, dict[bytes, bytes], bytes]] = []
    head: h11.Request | None = None
    body = b""
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            return seen, f"error: {error}"
        if event is h11.NEED_DATA:
            return seen, "more"
        if event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
            return seen, "last"
        if isinstance(event, h11.Request):
            head, body = event, b""
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            assert head is not None
            headers: dict[bytes, bytes] = {}
            for name, value in head.headers:
                headers[name] = headers[name] + b", " + value if name in headers else value
            seen.append((head.method, head.target, headers, body))
            connection.send(h11.Response(status_code=200, headers=[("content-length", "0")]))
            connection.send(h11.EndOfMessage())
            if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
                return seen, "last"
            connection.start_next_cycle()


def split(target: bytes) -> tuple[str, bytes]:
    """An independent reading of a target."""
    if not target.startswith(b"/") and target != b"*":
        rest = target.split(b"://", 1)[1]
        slash = min((rest.index(c) for c in (b"/", b"?") if c in rest), default=len(rest))
        target = rest[slash:] if rest[slash : slash + 1] == b"/" else b"/" + rest[slash:]
    path, _, query = target.partition(b"?")
    return unquote(path.decode("ascii")), query


BETWEEN = re.compile(rb"(?:^|(?<=[^\r\n]))(?:\r|\n)+(?=[A-Z]+ )")


def allowed(reason: str, stream: bytes) -> bool:
    """Where we read what h11 refuses, on purpose or without harm, because no framing and no meaning depends on it:

    * empty lines before a request line: RFC 9112 2.2 asks servers to skip them (llhttp also skips single CR and LF there);
    * more than one space between the parts of a request line: RFC 9112 3 lets recipients read by whitespace; what is read is the same;
    * ``RTSP/1.x`` in place of ``HTTP/1.x``: llhttp reads both protocols alike; nobody reads that request with other bounds;
    * more than twenty leading zeros in a chunk size: the value is the same, overflows are refused.
    """
    if "no request line received" in reason:
        return True
    if "illegal request line" in reason:
        return bool(re.search(rb"[A-Z]  +[/h*]|[^ ]  +HTTP/1", stream) or b" RTSP/1." in stream or BETWEEN.search(stream))
    if "illegal chunk header" in reason:
        return bool(re.search(rb"\r\n0{10,}", stream))
    return False


def compare(stream: bytes) -> None:
    ours, transport = serve_bytes([stream])
    theirs, end = oracle(stream)
    refused = b"HTTP/1.1 4" in transport.written or b"HTTP/1.1 505" in transport.written
    for mine, (method, target, headers, body) in zip(ours, theirs, strict=False):
        assert mine.method.encode() == method
        assert (mine.path, mine.query) == split(target)
        expected = dict(headers)
        if not target.startswith((b"/", b"*")):
            expected[b"host"] = mine.headers[b"host"]
            assert target.split(b"://", 1)[1].startswith(mine.headers[b"host"])
        if b"transfer-encoding" in expected:
            expected[b"transfer-encoding"] = mine.headers[b"transfer-encoding"]
        assert mine.headers == expected
        assert mine.body == body
    if len(ours) > len(theirs) and end == "last":
        # h11 never keeps an HTTP/1.0 connection; we do where the client asks (RFC 9112 C.2.2)
        final = ours[len(theirs) - 1]
        assert final.http_10 and b"keep-alive" in final.headers[b"connection"].lower()
    elif len(ours) > len(theirs):
        assert end.startswith("error") and allowed(end, stream), f"we accept what h11 refuses ({end})"
    elif not refused and len(ours) < len(theirs):
        raise AssertionError("h11 sees more requests than we do, and we did not refuse")
    elif not refused and end.startswith("error") and not transport.closed:
        # we may wait for more bytes of what h11 refuses early: nothing was accepted
        assert len(ours) == len(theirs)


@settings(max_examples=examples(40), deadline=None)
@given(STREAM)
def test_valid_requests_mean_the_same_to_h11(stream: bytes) -> None:
    compare(stream)
    _, transport = serve_bytes([stream])
    assert b"HTTP/1.1 4" not in transport.written


ODDITIES = [
    b"\r",
    b"\n",
    b"\r\n",
    b"\x00",
    b" ",
    b"\t",
    b":",
    b";",
    b",",
    b"0",
    b"5",
    b"f",
    b"x",
    b"-",
    b"+",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\x0b",
    b"#",
    b"%",
    b"%2",
    b"/",
    b"Content-Length: 3\r\n",
    b"Transfer-Encoding: chunked\r\n",
    b"Host: b\r\n",
    b" chunked",
    b"chunked, ",
    b"HTTP/1.0",
    b"Connection: close\r\n",
    b"Connection: upgrade\r\nUpgrade: h2c\r\n",
    b"0\r\n\r\n",
    b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: z\r\n\r\n",
    b"Expect: 1\r\n",
    b"\r\n folded",
    b"CONNECT",
]
ODD = st.sampled_from(ODDITIES)
SEEDS = (
    b"POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nX-A: b\r\n\r\nhello",
    b"POST /v1/x?q HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;a=b\r\nabc\r\n0\r\nX-T: 1\r\n\r\n",
    b"GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\nGET /b HTTP/1.1\r\nHost: b\r\n\r\n",
    b"PUT http://h:1/p HTTP/1.0\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhiGET / HTTP/1.1\r\nHost: b\r\n\r\n",
)


def test_many_small_mutations_mean_the_same_to_h11_or_are_refused() -> None:
    """The same as below without a search for small examples, so that there can be thousands: a fixed sequence."""
    rng = random.Random(20_260_101)
    for _ in range(6_000):
        stream = bytearray(rng.choice(SEEDS))
        for _ in range(rng.randint(1, 2)):
            at = rng.randrange(len(stream))
            stream[at : at + rng.randint(0, 2)] = rng.choice(ODDITIES) if rng.random() < 0.8 else bytes([rng.randrange(256)])
        try:
            compare(bytes(stream))
        except Exception as error:
            raise AssertionError(f"{error}: {bytes(stream)!r}") from error


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    stream = bytearray(draw(STREAM))
    for _ in range(draw(st.integers(1, 3))):
        # heads are small and bodies short, so most places matter
        at = draw(st.integers(0, max(0, len(stream) - 1)))
        kind = draw(st.sampled_from(["insert", "replace", "delete", "line", "truncate", "repeat"]))
        if kind == "insert":
            stream[at:at] = draw(ODD)
        elif kind == "replace":
            stream[at : at + 1] = draw(st.one_of(ODD, st.binary(min_size=1, max_size=1)))
        elif kind == "delete":
            del stream[at : at + draw(st.integers(1, 3))]
        elif kind == "line":
            end = stream.find(b"\r\n", at)
            if end >= 0:
                stream[end + 2 : end + 2] = draw(ODD)
        elif kind == "repeat":
            start = stream.rfind(b"\r\n", 0, at) + 2
            end = stream.find(b"\r\n", at)
            if start > 1 and end >= 0:
                stream[start:start] = stream[start : end + 2]
        else:
            del stream[at:]
    return bytes(stream)


@settings(max_examples=examples(100), deadline=None)
@given(mutated())
@example(b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n")
@example(b"\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
@example(b"GET / RTSP/1.0\r\nHost: a\r\n\r\n")
def test_mutated_requests_mean_the_same_to_h11_or_are_refused(stream: bytes) -> None:
    compare(stream)


@settings(max_examples=examples(40), deadline=None)
@given(mutated(), PLACES)
def test_chunking_never_changes_what_is_accepted_or_refused(stream: bytes, places: list[int]) -> None:
    whole, first = serve_bytes([stream])
    pieces, second = serve_bytes(cut(stream, places))
    assert [meaning(r) for r in whole] == [meaning(r) for r in pieces]
    assert first.closed == second.closed
