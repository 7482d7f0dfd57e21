"""The client against h11: what h11 refuses or finds truncated is never an ``end``, and what both accept means the same."""

from __future__ import annotations

import random

import h11
import pytest

from tests.proxy.http.memory import cut, take_answer

pytestmark = pytest.mark.slow

SEEDS = (
    b"HTTP/1.1 200 OK\r\nContent-Type: a/b\r\nContent-Length: 5\r\n\r\nhello",
    b"HTTP/1.1 200 OK\r\nX-A: b \r\nx-a: c\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n3;a=b\r\nabc\r\n0\r\nX-T: 1\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201 Created\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\nhi",
    b"HTTP/1.0 200 OK\r\nX: y\r\n\r\nuntil the end",
    b"HTTP/1.1 204 No Content\r\nX: y\r\n\r\n",
    b"HTTP/1.1 500 Oops\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi",
)
ODDITIES = [b"\r", b"\n", b"\r\n", b"\x00", b" ", b"\t", b":", b";", b",", b"0", b"5", b"f", b"x", b"-", b"+", b"\x7f", b"\xff", b"1"]
ODDITIES += [b"Content-Length: 3\r\n", b"Transfer-Encoding: chunked\r\n", b" chunked", b"chunked, ", b"HTTP/1.0", b"Connection: close\r\n"]
ODDITIES += [
    b"HTTP/1.1 100 C\r\n\r\n",
    b"0\r\n\r\n",
    b"\r\n\r\n",
    b"Connection: upgrade\r\nUpgrade: x\r\n",
    b"101",
    b"204",
    b"304",
    b"\r\n fold",
]


def oracle(stream: bytes) -> tuple[str, int, dict[bytes, bytes], bytes]:
    """'end' or why not, status, headers, body; the upstream closes behind the stream."""
    connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=1 << 20)
    connection.send(h11.Request(method="GET", target="/", headers=[("host", "x")]))
    connection.send(h11.EndOfMessage())
    connection.receive_data(stream)
    connection.receive_data(b"")
    status, headers, body = 0, dict[bytes, bytes](), b""
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError as error:
            return f"error: {error}", status, headers, body
        if isinstance(event, h11.Response):
            status = event.status_code
            for name, value in event.headers:
                headers[name] = headers[name] + b", " + value if name in headers else value
        elif isinstance(event, h11.Data):
            body += bytes(event.data)
        elif isinstance(event, h11.EndOfMessage):
            return "end", status, headers, body
        elif event is h11.NEED_DATA or event is h11.PAUSED or isinstance(event, h11.ConnectionClosed):
            return "error: closed", status, headers, body


def allowed(reason: str, stream: bytes) -> bool:
    """Where we take what h11 refuses: framing and meaning are the same.

    * empty lines before the status line (llhttp skips them; nothing was asked for that they could answer);
    * control bytes in the reason phrase, which nobody reads, and ``RTSP``/``ICE`` as the protocol's name, likewise;
    * more than twenty leading zeros in a chunk size.
    """
    line = stream.lstrip(b"\r\n").split(b"\r\n\r\n")[-2 if stream.count(b"\r\n\r\n") > 1 else 0]
    return "illegal status line" in reason or "no response line" in reason or not line


def compare(stream: bytes, pieces: list[bytes]) -> None:
    taken, _ = take_answer(pieces, eof=True)
    what, status, headers, body = oracle(stream)
    if taken.what != "end":
        return
    assert what == "end" or allowed(what, stream), what
    if what == "end":
        assert (taken.status, taken.body) == (status, body)
        theirs = dict(headers)
        if b"transfer-encoding" in theirs:
            theirs[b"transfer-encoding"] = taken.headers[b"transfer-encoding"]
        assert taken.headers == theirs


@pytest.mark.parametrize("seed", SEEDS)
def test_any_chunking_gives_the_same_answer(seed: bytes) -> None:
    rng = random.Random(7)
    compare(seed, [seed])
    expected, _ = take_answer([seed], eof=True)
    assert expected.what == "end"
    for places in [list(range(len(seed)))] + [[rng.randrange(len(seed)) for _ in range(rng.randint(1, 6))] for _ in range(40)]:
        taken, _ = take_answer(cut(seed, places), eof=True)
        assert (taken.what, taken.status, taken.headers, taken.body) == ("end", expected.status, expected.headers, expected.body)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_cut_answer_is_never_an_end(seed: bytes) -> None:
    if seed.startswith(b"HTTP/1.0"):
        return
    for length in range(len(seed)):
        assert take_answer([seed[:length]], eof=True)[0].what in ("ConnectionReset", "Truncated")


def test_mutated_answers_mean_the_same_to_h11_or_fail() -> None:
    rng = random.Random(20_260_102)
    for _ in range(6_000):
        stream = bytearray(rng.choice(SEEDS))
        for _ in range(rng.randint(1, 2)):
            at = rng.randrange(len(stream))
            stream[at : at + rng.randint(0, 2)] = rng.choice(ODDITIES) if rng.random() < 0.8 else bytes([rng.randrange(256)])
        raw = bytes(stream)
        try:
            compare(raw, [raw])
            compare(raw, cut(raw, [rng.randrange(len(raw)) for _ in range(3)]))
        except Exception as error:
            raise AssertionError(f"{error!r}: {raw!r}") from error
