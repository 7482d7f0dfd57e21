"""The client's side over loopback: framing, endings, pools, replay, backpressure, TLS."""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

import pytest
import trustme

from apps.proxy.http import errors
from apps.proxy.http.client import ClientLimits, client_tls
from tests.proxy.http.conftest import PATIENCE, Answer, eventually, fetch, pool_of, soon
from tests.proxy.http.memory import take_answer

OK = b"HTTP/1.1 200 OK\r\n"
HI = OK + b"Content-Length: 2\r\n\r\nhi"
REQUEST = b"POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 2\r\n\r\nhi"

WHOLE: dict[str, tuple[bytes, bytes, bool]] = {  # bytes, body, connection kept
    "length": (HI, b"hi", True),
    "length 0": (OK + b"Content-Length: 0\r\n\r\n", b"", True),
    "chunked": (OK + b"Transfer-Encoding: chunked\r\n\r\n2;a=b\r\nhi\r\n1\r\n!\r\n0\r\nX-T: 1\r\n\r\n", b"hi!", True),
    "interim": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n" + HI, b"hi", True),
    "no reason": (b"HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nhi", b"hi", True),
    "no content": (b"HTTP/1.1 204 No Content\r\n\r\n", b"", True),
    "not modified with length": (b"HTTP/1.1 304 X\r\nContent-Length: 9\r\n\r\n", b"", True),
    "close": (OK + b"Connection: close\r\nContent-Length: 2\r\n\r\nhi", b"hi", False),
    "HTTP/1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", b"hi", False),
    "HTTP/1.0 kept": (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi", b"hi", True),
    "garbage behind": (HI + b"garbage", b"hi", False),
    "second answer behind": (HI + HI, b"hi", False),
    "half a line behind": (HI + b"HT", b"hi", False),
}

FAILS: dict[str, tuple[bytes, str]] = {  # bytes, then the upstream closes
    "nothing": (b"", "ConnectionReset"),
    "only an interim answer": (b"HTTP/1.1 100 Continue\r\n\r\n", "ConnectionReset"),
    "half a head": (OK + b"Content-Le", "ConnectionReset"),
    "half a length": (OK + b"Content-Length: 3\r\n\r\nhi", "Truncated"),
    "half a chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhi", "Truncated"),
    "no last chunk": (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n", "Truncated"),
    "last chunk without end": (OK + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n", "Truncated"),
    "not HTTP": (b"SSH-2.0-x\r\n", "MalformedResponse"),
    "HTTP/2": (b"HTTP/2.0 200 OK\r\nContent-Length: 0\r\n\r\n", "MalformedResponse"),
    "both framings": (OK + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n", "MalformedResponse"),
    "length twice": (OK + b"Content-Length: 2\r\nContent-Length: 2\r\n\r\nhi", "MalformedResponse"),
    "coding gzip": (OK + b"Transfer-Encoding: gzip\r\n\r\nhi", "MalformedResponse"),
    "coding gzip, chunked": (OK + b"Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", "MalformedResponse"),
    "coding in HTTP/1.0": (b"HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "MalformedResponse"),
    "bad chunk size": (OK + b"Transfer-Encoding: chunked\r\n\r\nx\r\n", "MalformedResponse"),
    "status 99": (b"HTTP/1.1 099 X\r\nContent-Length: 0\r\n\r\n", "MalformedResponse"),
    "status 700": (b"HTTP/1.1 700 X\r\nContent-Length: 0\r\n\r\n", "MalformedResponse"),
    "switching protocols": (b"HTTP/1.1 101 X\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "MalformedResponse"),
    "folded header": (OK + b"X: a\r\n b\r\n\r\n", "MalformedResponse"),
    "interim flood": (b"HTTP/1.1 100 Continue\r\n\r\n" * 17 + HI, "MalformedResponse"),
    "head without end": (OK + b"X: " + b"a" * 70_000, "MalformedResponse"),
    "headers too many": (OK + b"x: y\r\n" * 201 + b"\r\n", "MalformedResponse"),
    "chunk extension without end": (OK + b"Transfer-Encoding: chunked\r\n\r\n2;" + b"a" * 70_000, "MalformedResponse"),
}


@pytest.mark.parametrize("name", WHOLE)
@pytest.mark.parametrize("step", [1, 1_000_000])
def test_whole_answers(name: str, step: int) -> None:
    raw, body, kept = WHOLE[name]
    taken, really = take_answer([raw[i : i + step] for i in range(0, len(raw), step)], eof=False)
    assert (taken.what, taken.body) == ("end", body)
    assert really == kept or step == 1, "garbage behind is only seen in time when it comes along"


@pytest.mark.parametrize("name", FAILS)
@pytest.mark.parametrize("step", [1, 1_000_000])
def test_failures_are_never_an_end(name: str, step: int) -> None:
    raw, what = FAILS[name]
    taken, _ = take_answer([raw[i : i + step] for i in range(0, len(raw), step)], eof=True)
    assert taken.what == what


@pytest.mark.parametrize("version", [b"1.0", b"1.1"])
def test_an_answer_delimited_by_close_ends_with_it(version: bytes) -> None:
    raw = b"HTTP/" + version + b" 200 OK\r\n\r\nhi"
    assert take_answer([raw], eof=True)[0].what == "end"
    assert take_answer([raw], eof=False)[0].what == "end"  # connection_lost(None): a clean end too


async def test_connections_are_reused_last_in_first_out_and_expire(upstream: Any) -> None:
    up = await upstream(HI)
    pool = pool_of(up.port)
    first, second = await pool.connect(PATIENCE), await pool.connect(PATIENCE)
    for connection in (first, second):
        answer = Answer()
        connection.send(REQUEST, answer, replay_safe=False)
        await soon(answer.done.wait())
    assert pool.idle == 2 and pool.take() is second and pool.take() is first and pool.take() is None
    assert first.reused and first.last_byte_at > 0
    first.abort()
    second.abort()
    await eventually(lambda: pool.open == 0)


async def test_an_idle_connection_expires(upstream: Any) -> None:
    up = await upstream(HI)
    pool = pool_of(up.port, limits=ClientLimits(idle_seconds=0.3))
    first, second = await pool.connect(PATIENCE), await pool.connect(PATIENCE)
    pool.give_back(first)
    await eventually(lambda: pool.idle == 0 and pool.open == 1 and up.lost == [0])
    second.abort()
    await eventually(lambda: pool.open == 0)


async def test_a_close_or_bytes_on_an_idle_connection_remove_it(upstream: Any) -> None:
    up = await upstream(HI)
    pool = pool_of(up.port)
    await fetch(pool)
    up.transports[0].close()
    await eventually(lambda: pool.idle == 0 and pool.open == 0)
    await fetch(pool)
    up.transports[1].write(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")
    await eventually(lambda: pool.idle == 0 and pool.open == 0 and pool.take() is None)


async def test_the_bound_holds_and_waiters_get_what_comes_free(upstream: Any) -> None:
    up = await upstream(HI)
    pool = pool_of(up.port, limits=ClientLimits(connections=1))
    held = await pool.connect(PATIENCE)
    with pytest.raises(errors.PoolExhausted):
        await pool.connect(0.05)
    waiting = asyncio.ensure_future(pool.connect(PATIENCE))
    await asyncio.sleep(0)
    answer = Answer()
    held.send(REQUEST, answer, replay_safe=False)
    assert await soon(waiting) is held
    waiting = asyncio.ensure_future(pool.connect(PATIENCE))
    await asyncio.sleep(0)
    held.abort()
    fresh = await soon(waiting)
    assert fresh is not held and pool.open == 1
    cancelled = asyncio.ensure_future(pool.connect(PATIENCE))
    await asyncio.sleep(0)
    cancelled.cancel()
    fresh.abort()
    await eventually(lambda: pool.open == 0)
    assert (await fetch(pool))[0].ended


async def test_a_stale_connection_is_replayed_once_when_that_is_safe(upstream: Any) -> None:
    requests: list[int] = []

    def script(number: int, data: bytes, transport: Any) -> None:
        requests.append(number)
        if number == 0 and requests.count(0) == 2:
            transport.close()
        else:
            transport.write(HI)

    up = await upstream(script)
    pool = pool_of(up.port)
    await fetch(pool)
    answer, connection = await fetch(pool, REQUEST, replay_safe=True)
    assert answer.ended and answer.body == b"hi" and connection.replayed and requests == [0, 0, 1]
    await eventually(lambda: pool.open == 1 and pool.idle == 1)


async def test_a_stale_connection_is_not_replayed_otherwise(upstream: Any) -> None:
    def once(number: int, data: bytes, transport: Any) -> None:
        if b"second" in data:
            transport.write(b"HTTP/1.1 100 Continue\r\n\r\n" if b"interim" in data else b"")
            transport.close()
        else:
            transport.write(HI)

    up = await upstream(once)
    pool = pool_of(up.port)
    second = b"GET /second HTTP/1.1\r\nhost: x\r\n\r\n"
    await fetch(pool)
    answer, connection = await fetch(pool, second, replay_safe=False)
    assert isinstance(answer.error, errors.ConnectionReset) and not connection.replayed
    await fetch(pool)
    answer, connection = await fetch(pool, second.replace(b"second", b"second-interim"), replay_safe=True)
    assert isinstance(answer.error, errors.ConnectionReset) and not connection.replayed
    answer, connection = await fetch(pool, second, replay_safe=True)  # a fresh connection is no stale one
    assert isinstance(answer.error, errors.ConnectionReset) and not connection.replayed
    await fetch(pool)
    answer, connection = await fetch(pool, second, replay_safe=True)  # fails again: not a third time
    assert isinstance(answer.error, errors.ConnectionReset) and connection.replayed
    await eventually(lambda: pool.open == 0)


async def test_a_connection_lost_between_taking_and_sending_is_dialled_again(upstream: Any) -> None:
    up = await upstream(HI)
    pool = pool_of(up.port)
    connection = await pool.connect(PATIENCE)
    await eventually(lambda: up.transports)
    up.transports[0].close()
    await eventually(lambda: pool.open == 0)
    answer = Answer()
    connection.send(REQUEST, answer, replay_safe=False)
    await soon(answer.done.wait())
    assert answer.body == b"hi" and connection.replayed and pool.open == 1
    up.server.close()


async def test_a_replay_that_cannot_connect_fails_as_such(upstream: Any) -> None:
    up = await upstream(HI)
    pool = pool_of(up.port)
    connection = await pool.connect(PATIENCE)
    await eventually(lambda: up.transports)
    up.transports[0].close()
    up.server.close()
    await eventually(lambda: pool.open == 0)
    answer = Answer()
    connection.send(REQUEST, answer, replay_safe=True)
    await soon(answer.done.wait())
    assert isinstance(answer.error, errors.ConnectFailed) and pool.open == 0


async def test_abort_tells_the_upstream_at_once_and_the_sink_nothing(upstream: Any) -> None:
    up = await upstream(OK + b"Content-Length: 100\r\n\r\nhi")
    pool = pool_of(up.port)
    connection = await pool.connect(PATIENCE)
    answer = Answer()
    connection.send(REQUEST, answer, replay_safe=True)
    await eventually(lambda: answer.chunks)
    connection.abort()
    connection.abort()
    await eventually(lambda: up.lost == [0] and pool.open == 0)
    assert not answer.done.is_set()


async def test_a_reset_in_the_middle_is_truncated(upstream: Any) -> None:
    up = await upstream(OK + b"\r\nhalf")
    pool = pool_of(up.port)
    connection = await pool.connect(PATIENCE)
    answer = Answer()
    connection.send(REQUEST, answer, replay_safe=True)
    await eventually(lambda: answer.chunks)
    up.transports[0].get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    up.transports[0].abort()
    await soon(answer.done.wait())
    assert isinstance(answer.error, errors.Truncated)


async def test_a_paused_reader_pauses_the_upstream_and_memory_stays_bounded(upstream: Any) -> None:
    total = 30_000_000

    def flood(number: int, data: bytes, transport: Any) -> None:
        transport.write(OK + b"Content-Length: %d\r\n\r\n" % total)
        transport.write(b"x" * total)

    up = await upstream(flood)
    pool = pool_of(up.port)
    connection = await pool.connect(PATIENCE)
    answer = Answer()
    answer_data = answer.data

    def data(chunk: bytes) -> None:
        answer_data(chunk)
        connection.pause()

    answer.data = data  # type: ignore[method-assign]
    connection.send(REQUEST, answer, replay_safe=False)
    await eventually(lambda: answer.chunks)
    left = -1
    while left != up.transports[0].get_write_buffer_size():  # until the kernel's buffers are full
        left = up.transports[0].get_write_buffer_size()
        await asyncio.sleep(0.05)
    assert left > 0 and len(answer.body) <= 262_144
    answer.data = answer_data  # type: ignore[method-assign]
    connection.resume()
    await soon(answer.done.wait())
    assert answer.ended and len(answer.body) == total and pool.idle == 1


async def test_refused_unresolved_and_slow_connects_are_told_apart() -> None:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        port = sock.getsockname()[1]
    with pytest.raises(errors.ConnectionRefused):
        await pool_of(port).connect(PATIENCE)
    with pytest.raises(errors.DnsFailed):
        await pool_of(port, host="nowhere.invalid").connect(PATIENCE)
    silent = socket.create_server(("127.0.0.1", 0))
    pool = pool_of(silent.getsockname()[1], client_tls())
    with silent, pytest.raises(errors.ConnectTimeout):
        await pool.connect(0.2)
    assert pool.open == 0


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def server_tls(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert(name).configure_cert(context)
    return context


async def test_tls_is_verified(upstream: Any, authority: trustme.CA, tmp_path: Any) -> None:
    up = await upstream(HI, ssl=server_tls(authority, "good.example"))
    pem = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(str(pem))
    trusted = client_tls(str(pem))
    good = pool_of(up.port, trusted, sni="good.example")
    for _ in range(2):
        assert (await fetch(good))[0].body == b"hi"
    assert good.open == 1
    for pool in (pool_of(up.port, trusted, sni="other.example"), pool_of(up.port, client_tls(), sni="good.example")):
        with pytest.raises(errors.TlsFailed):
            await pool.connect(PATIENCE)
        assert pool.open == 0
    plain = await upstream(b"plain\r\n")
    with pytest.raises((errors.TlsFailed, errors.ConnectTimeout, errors.ConnectFailed)):
        await pool_of(plain.port, trusted, sni="good.example").connect(1)
