"""A head that was read once is recognised by its bytes; what a client sends means the same with and without."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from apps.proxy.http import server as server_module
from apps.proxy.http.known import learn
from apps.proxy.http.types import Request
from tests.proxy.http.memory import serve_bytes

HEAD = b"POST /v1/chat/completions?x=%%20 HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\nX-One: 1\r\n\r\n"


def message(body: bytes, head: bytes = HEAD) -> bytes:
    return head % len(body) + body


def seen(requests: list[Request]) -> list[tuple[Any, ...]]:
    return [(r.method, r.path, r.query, r.headers, r.body, r.http_10) for r in requests]


def alone(pieces: list[bytes]) -> list[tuple[Any, ...]]:
    """Every piece on a connection of its own: nothing is known there."""
    return [entry for piece in pieces for entry in seen(serve_bytes([piece])[0])]


heads = st.sampled_from(
    [
        HEAD,
        HEAD.replace(b"X-One: 1", b"X-One: 2"),
        HEAD.replace(b"Content-Length", b"content-length"),
        HEAD.replace(b"\r\nX-One: 1", b""),
        HEAD.replace(b"Content-Length: %d\r\nX-One: 1", b"X-One: 1\r\nContent-Length: %d"),
        HEAD.replace(b"Content-Length: ", b"Content-Length:\t"),
        HEAD.replace(b"X-One: 1", b"Connection: keep-alive"),
        HEAD.replace(b"X-One: 1", b"X-Fake: content-length: 5"),
    ]
)


@given(st.lists(st.tuples(heads, st.binary(max_size=60)), min_size=1, max_size=6))
def test_requests_on_one_connection_mean_what_they_mean_alone(requests: list[tuple[bytes, bytes]]) -> None:
    pieces = [message(body, head) for head, body in requests]
    assert seen(serve_bytes(pieces)[0]) == alone(pieces)


@given(st.lists(st.binary(max_size=40), min_size=2, max_size=5), st.lists(st.integers(1, 600), max_size=6))
def test_cut_anywhere_they_mean_the_same(bodies: list[bytes], cuts: list[int]) -> None:
    pieces = [message(body) for body in bodies]
    whole = b"".join(pieces)
    first = len(pieces[0])
    places = sorted({first, *(cut for cut in cuts if first < cut < len(whole))})
    segments = [whole[a:b] for a, b in zip([0, *places], [*places, len(whole)], strict=True) if a < b]
    assert seen(serve_bytes(segments)[0]) == alone(pieces)


@pytest.mark.parametrize(
    "length",
    [b"+5", b"-5", b"5 ", b" 5", b"0x5", b"5,5", b"", b"5_0", b"\xd9\xa5", b"5;", b"000000005", b"99999999", b"4", b"6"],
)
def test_only_digits_that_fit_the_body_are_recognised(length: bytes) -> None:
    good = message(b"hello")
    odd = good.replace(b"Content-Length: 5", b"Content-Length: " + length)
    with_known, transport = serve_bytes([good, odd])
    without, lonely = serve_bytes([odd])
    assert seen(with_known)[1:] == seen(without)
    assert transport.closed == lonely.closed


@given(st.integers(0, 200), st.integers(0, 255))
def test_one_changed_byte_is_for_the_parser(at: int, byte: int) -> None:
    good = message(b"hello")
    at %= len(good)
    odd = good[:at] + bytes([byte]) + good[at + 1 :]
    with_known, transport = serve_bytes([good, odd])
    without, lonely = serve_bytes([odd])
    assert seen(with_known)[1:] == seen(without)
    assert transport.closed == lonely.closed


def test_the_body_limit_holds() -> None:
    limits = server_module.ServerLimits(body_bytes=10)
    requests, transport = serve_bytes([message(b"x" * 10), message(b"x" * 11)], limits)
    assert len(requests) == 1 and b"HTTP/1.1 413" in transport.written


def test_the_parser_rests_once_a_head_is_known(monkeypatch: pytest.MonkeyPatch) -> None:
    fed: list[int] = []
    feed = server_module.ServerConnection._feed

    def counting(self: Any, data: Any) -> None:
        fed.append(len(data))
        feed(self, data)

    monkeypatch.setattr(server_module.ServerConnection, "_feed", counting)
    requests, _ = serve_bytes([message(b"x" * n) for n in (5, 50, 0, 123)])
    assert [len(r.body) for r in requests] == [5, 50, 0, 123] and len(fed) == 1
    assert [r.headers[b"content-length"] for r in requests] == [b"5", b"50", b"0", b"123"]
    requests[1].headers[b"x-one"] = b"changed"
    assert requests[2].headers[b"x-one"] == b"1", "each request has headers of its own"


def test_what_is_optional_is_not_learned() -> None:
    for extra in (b"Connection: close", b"Connection: keep-alive, x", b"Expect: 100-continue", b"Upgrade: h2c", b"Trailer: x"):
        data = message(b"hello", HEAD.replace(b"X-One: 1", extra))
        requests, _ = serve_bytes([data])
        assert not requests or learn(data, requests[0]) is None
