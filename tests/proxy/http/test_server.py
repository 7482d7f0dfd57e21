"""The server's side over loopback: framing, order, endings, time, backpressure, clients that leave."""

from __future__ import annotations

import asyncio
import json
import socket
from typing import Any

import pytest

from apps.proxy.http.limits import ServerLimits
from apps.proxy.http.outbox import FULL
from tests.proxy.http.conftest import Held, Recorder, Serve, eventually, soon

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST /p HTTP/1.1\r\nHost: a\r\n"


async def test_keep_alive_carries_requests_one_after_another(serve: Serve) -> None:
    app = Recorder()
    served = await serve(app)
    wire = await served.wire()
    for number in range(3):
        wire.send(POST + b"Content-Length: 1\r\n\r\n%d" % number)
        status, headers, body = await wire.answer()
        assert (status, body) == (200, b"/p:%d" % number)
        assert b"connection" not in headers and headers[b"date"].endswith(b" GMT")
    assert app.requests[0].peer == "127.0.0.1" and app.requests[0].arrived > 0
    assert served.state.total_requests == 3 and len(served.state.connections) == 1
    wire.close()
    await eventually(lambda: not served.state.connections)


async def test_pipelined_requests_are_answered_in_order_one_at_a_time(serve: Serve) -> None:
    app = Held()
    served = await serve(app)
    wire = await served.wire()
    wire.send(b"".join(b"GET /%d HTTP/1.1\r\nHost: a\r\n\r\n" % n for n in range(5)))
    for number in range(5):
        reply = await app.reply(number)
        await asyncio.sleep(0)
        assert len(app.calls) == number + 1, "one at a time"
        assert app.calls[number][0].path == f"/{number}"
        reply.send(200, b"", b"%d" % number)
        assert (await wire.answer())[2] == b"%d" % number


async def test_a_client_that_pipelines_without_end_is_read_only_so_far(serve: Serve) -> None:
    app = Held()
    served = await serve(app, ServerLimits(pipeline_bytes=20_000))
    wire = await served.wire()
    count = 40_000
    wire.send(GET * count)
    await app.reply()
    (connection,) = served.state.connections
    await eventually(lambda: connection.reading_paused, "reading pauses")
    assert len(connection.backlog) <= 20_000 + 262_144 and len(connection.ready) <= 16_384 // len(GET) + 1

    def answer_all(request: Any, reply: Any) -> None:
        reply.send(204, b"", b"")

    connection.app = answer_all
    app.calls[0][1].send(204, b"", b"")
    for _ in range(count):
        assert (await wire.until(b"\r\n\r\n")).startswith(b"HTTP/1.1 204 ")


async def test_chunked_bodies_both_ways(serve: Serve) -> None:
    app = Held()
    wire = await (await serve(app)).wire()
    wire.send(POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
    await asyncio.sleep(0.02)
    wire.send(b"10;x=y\r\n0123456789abcdef\r\n0\r\n\r\n")
    reply = await app.reply()
    assert app.calls[0][0].body == b"abc0123456789abcdef"
    reply.start(200, b"x: y\r\n")
    reply.write(b"one")
    reply.write(b"two" * 40_000)
    reply.finish()
    status, headers, body = await wire.answer()
    assert status == 200 and body == b"one" + b"two" * 40_000
    assert headers[b"transfer-encoding"] == b"chunked" and b"content-length" not in headers


async def test_large_bodies_arrive_whole(serve: Serve) -> None:
    app = Recorder()
    wire = await (await serve(app)).wire()
    body = bytes(range(256)) * 20_000
    wire.send(POST + b"Content-Length: %d\r\n\r\n" % len(body) + body)
    assert (await wire.answer())[2] == b"/p:" + body


async def test_continue_is_said_only_when_the_body_is_wanted(serve: Serve) -> None:
    app = Recorder()
    served = await serve(app)
    wire = await served.wire()
    wire.send(POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    assert await wire.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
    wire.send(b"hi")
    assert (await wire.answer())[2] == b"/p:hi"
    wire.send(POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\nhi")  # did not wait
    assert (await wire.answer())[0] == 200
    wire.send(POST + b"Expect: 100-Continue\r\n\r\n")  # nothing to wait for
    assert (await wire.answer())[0] == 200
    refused = await served.one(POST + b"Expect: 100-continue\r\nContent-Length: 99999999\r\n\r\n")
    assert refused.startswith(b"HTTP/1.1 413 ") and b"100 Continue" not in refused


async def test_continue_waits_for_the_answer_before(serve: Serve) -> None:
    app = Held()
    wire = await (await serve(app)).wire()
    wire.send(GET + POST + b"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n")
    reply = await app.reply()
    reply.send(200, b"", b"first")
    assert (await wire.answer())[2] == b"first"
    assert b"100 Continue" in await wire.until(b"\r\n\r\n")
    wire.send(b"hi")
    (await app.reply(1)).send(200, b"", b"second")
    assert (await wire.answer())[2] == b"second"


async def test_http_10_closes_unless_asked_and_streams_are_delimited_by_close(serve: Serve) -> None:
    app = Recorder()
    served = await serve(app)
    closed = await served.one(b"GET / HTTP/1.0\r\n\r\n")
    assert b"connection: close\r\n" in closed and app.requests[0].http_10
    wire = await served.wire()
    wire.send(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" * 2)
    for _ in range(2):
        assert (await wire.answer())[1][b"connection"] == b"keep-alive"

    def stream(request: Any, reply: Any) -> None:
        reply.start(200, b"")
        reply.write(b"to the end")
        reply.finish()

    answer = await (await serve(stream)).one(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert answer.endswith(b"\r\n\r\nto the end") and b"chunked" not in answer and b"connection: close" in answer


async def test_connection_close_and_head(serve: Serve) -> None:
    app = Recorder()
    served = await serve(app)
    answer = await served.one(b"HEAD /h HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" + GET)
    assert answer.endswith(b"content-length: 3\r\n\r\n") and b"connection: close" in answer
    assert len(app.requests) == 1


async def test_an_app_that_fails_is_a_500_or_a_broken_stream_never_silence(serve: Serve, caplog: pytest.LogCaptureFixture) -> None:
    def app(request: Any, reply: Any) -> None:
        if request.path == "/stream":
            reply.start(200, b"")
            reply.write(b"half")
        raise ValueError("on purpose")

    served = await serve(app)
    wire = await served.wire()
    wire.send(GET)
    status, _, body = await wire.answer()
    assert status == 500 and json.loads(body)["error"]["code"] == "internal_error" and b"on purpose" not in body
    wire.send(b"GET /stream HTTP/1.1\r\nHost: a\r\n\r\n")
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await wire.answer()
    assert "on purpose" in caplog.text


async def test_an_aborted_answer_does_not_look_whole_even_to_http_10(serve: Serve) -> None:
    app = Held()
    served = await serve(app)
    wire = await served.wire()
    wire.send(b"GET / HTTP/1.0\r\n\r\n")
    reply = await app.reply()
    reply.start(200, b"")
    reply.write(b"half")
    await wire.until(b"half")
    reply.abort()
    with pytest.raises(ConnectionResetError):
        await wire.rest()


async def test_a_second_answer_is_a_programming_error(serve: Serve) -> None:
    app = Held()
    wire = await (await serve(app)).wire()
    wire.send(GET)
    reply = await app.reply()
    reply.send(200, b"", b"")
    for again in (lambda: reply.send(200, b"", b""), lambda: reply.write(b"x"), reply.finish, reply.abort):
        with pytest.raises(RuntimeError):
            again()


@pytest.mark.parametrize("window", ["before headers", "mid-stream", "half-closed"])
async def test_a_client_that_leaves_is_told_to_the_app(serve: Serve, window: str) -> None:
    app = Held()
    served = await serve(app)
    wire = await served.wire()
    wire.send(GET)
    reply = await app.reply()
    if window == "mid-stream":
        reply.start(200, b"")
        reply.write(b"x")
        await wire.until(b"x\r\n")
    if window == "half-closed":
        wire.writer.write_eof()
    else:
        wire.close()
    await eventually(lambda: app.gone)
    assert app.gone == 1 and reply.gone
    reply.send(200, b"", b"late") if window != "mid-stream" else reply.write(b"late")
    await eventually(lambda: not served.state.connections)
    assert app.gone == 1


async def test_leaving_between_requests_disturbs_nobody(serve: Serve) -> None:
    app = Held()
    served = await serve(app)
    wire = await served.wire()
    wire.send(GET)
    (await app.reply()).send(200, b"", b"")
    await wire.answer()
    wire.close()
    await eventually(lambda: not served.state.connections)
    assert app.gone == 0


class Producer:
    """Writes as fast as it may."""

    def __init__(self) -> None:
        self.paused = False
        self.pauses = 0
        self.reply: Any = None
        self.peak = 0
        self.transport: Any = None
        self.left = 0

    def pause(self) -> None:
        self.paused = True
        self.pauses += 1

    def resume(self) -> None:
        self.paused = False
        self.produce()

    def produce(self) -> None:
        while not self.paused and self.left:
            self.left -= 1
            self.reply.write(b"x" * 8_192)
            self.peak = max(self.peak, self.transport.get_write_buffer_size())
        if not self.left and self.reply is not None:
            reply, self.reply = self.reply, None
            reply.finish()


async def test_a_slow_reader_pauses_a_fast_producer_and_memory_stays_bounded(serve: Serve) -> None:
    app = Held()
    served = await serve(app)
    wire = await served.wire(limit=65_536)
    wire.send(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
    producer = Producer()
    producer.reply = await app.reply()
    (connection,) = served.state.connections
    producer.transport = connection.transport
    producer.left = 2_000  # 16 MB
    producer.reply.start(200, b"")
    producer.reply.set_flow(producer)
    producer.produce()
    await eventually(lambda: producer.paused and producer.left)
    answer = await wire.rest()
    assert answer.count(b"x" * 8_192) == 2_000 and answer.endswith(b"\r\n0\r\n\r\n")
    assert producer.pauses >= 1 and producer.peak < 65_536 + FULL + 2 * 8_300


async def test_answers_nobody_reads_stop_further_pipelined_requests(serve: Serve) -> None:
    def app(request: Any, reply: Any) -> None:
        reply.send(200, b"", b"x" * 50_000)

    served = await serve(app)
    wire = await served.wire(limit=1_024)
    wire.send(GET * 2_000)  # 100 MB of answers
    await eventually(lambda: served.state.connections and next(iter(served.state.connections)).write_paused)
    (connection,) = served.state.connections
    assert connection.transport.get_write_buffer_size() < 200_000
    for _ in range(2_000):
        assert len((await wire.answer())[2]) == 50_000


async def test_a_client_that_takes_nothing_is_aborted(serve: Serve) -> None:
    app = Held()
    served = await serve(app, ServerLimits(write_seconds=0.3))
    wire = await served.wire(limit=1_024)
    wire.send(GET)
    reply = await app.reply()
    reply.start(200, b"")
    for _ in range(2_000):
        reply.write(b"x" * 8_192)
    await eventually(lambda: app.gone == 1 and not served.state.connections)


@pytest.mark.parametrize(
    ("sent", "status"),
    [(b"GE", 408), (b"GET / HTTP/1.1\r\nHost:", 408), (POST + b"Content-Length: 10\r\n\r\nabc", 408), (b"", 0)],
)
async def test_slow_clients_get_a_timeout_and_idle_ones_are_closed(serve: Serve, sent: bytes, status: int) -> None:
    served = await serve(Recorder(), ServerLimits(head_seconds=0.2, body_seconds=0.2, idle_seconds=0.2, linger_seconds=0.2))
    answer = await served.one(sent)
    assert answer.startswith(b"HTTP/1.1 %d " % status) if status else answer == b""
    assert not status or b"request_timeout" in answer


@pytest.mark.parametrize("start", [b"GET / HTTP/1.1\r\nX: ", POST + b"Content-Length: 1000000\r\n\r\n"])
async def test_slow_loris_does_not_live_by_single_bytes(serve: Serve, start: bytes) -> None:
    served = await serve(Recorder(), ServerLimits(head_seconds=0.5, body_seconds=0.5, linger_seconds=0.2))
    wire = await served.wire()
    wire.send(start)
    answer = asyncio.ensure_future(wire.rest())
    while not answer.done():
        wire.send(b"x")
        await asyncio.sleep(0.02)
    assert answer.exception() is not None or (await answer).startswith(b"HTTP/1.1 408 ")


async def test_an_upload_that_comes_fast_enough_still_has_an_end(serve: Serve) -> None:
    limits = ServerLimits(body_seconds=0.1, body_rate=1, body_whole_seconds=0.3, linger_seconds=0.2)
    served = await serve(Recorder(), limits)
    wire = await served.wire()
    wire.send(POST + b"Content-Length: 1000000\r\n\r\n")
    answer = asyncio.ensure_future(wire.rest())
    while not answer.done():
        wire.send(b"x" * 500)
        await asyncio.sleep(0.02)
    assert answer.exception() is not None or b"not complete within 0.3 seconds" in await answer


@pytest.mark.parametrize("chunked", [False, True])
async def test_files_may_be_larger_where_files_go(serve: Serve, chunked: bool) -> None:
    limits = ServerLimits(body_bytes=1_000, uploads=frozenset((b"/files",)), upload_bytes=5_000, linger_seconds=0.2)
    served = await serve(Recorder(), limits)

    def sent(path: bytes, size: int) -> bytes:
        head = b"POST %b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" % path
        if chunked:
            return head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (size, b"x" * size)
        return head + b"Content-Length: %d\r\n\r\n%b" % (size, b"x" * size)

    for path, size, status in ((b"/files", 5_000, 200), (b"/files?x=1", 5_000, 200), (b"/files", 5_001, 413), (b"/other", 1_001, 413)):
        answer = await served.one(sent(path, size))
        assert answer.startswith(b"HTTP/1.1 %d " % status), (path, size, answer[:200])
        assert status == 200 or b"larger than %d bytes" % (5_000 if b"files" in path else 1_000) in answer


async def test_a_refused_upload_can_be_read_while_the_client_still_sends(serve: Serve) -> None:
    served = await serve(Recorder(), ServerLimits(body_bytes=1_000))
    wire = await served.wire()
    wire.send(POST + b"Content-Length: 5000000\r\n\r\n" + b"x" * 5_000_000)
    assert (await wire.rest()).startswith(b"HTTP/1.1 413 ")


async def test_a_refused_client_that_goes_on_sending_is_closed(serve: Serve) -> None:
    served = await serve(Recorder(), ServerLimits(body_bytes=1_000, linger_bytes=100_000))
    sock = socket.create_connection(("127.0.0.1", served.port))
    sock.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, POST + b"Content-Length: 50000000\r\n\r\n")

    async def flood() -> None:
        while True:
            await loop.sock_sendall(sock, b"x" * 65_536)

    with pytest.raises(ConnectionError):
        await soon(flood())
    sock.close()
