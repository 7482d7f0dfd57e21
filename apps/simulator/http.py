"""The HTTP/1.1 server under the simulator: httptools and asyncio transports, no framework.

Keep-alive, pipelining in order, chunked both ways, HTTP/1.0, ``Expect: 100-continue``, backpressure. An answer is an
iterator of *steps*; ill-behaved answers are just other steps, so that this file stays well-behaved.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Generator, Iterator
from http import HTTPStatus
from typing import Any, Final, Literal

import httptools

MAX_BODY_BYTES = 64 * 1024 * 1024
MAX_WAITING = 32
"""Pipelined requests of one connection that wait; the socket is not read beyond."""

Ending = Literal["close", "reset", "hang"]
Step = bytes | float | Ending
"""bytes: write them. float: go on at that time of the loop's clock. close, reset: end the connection here.
hang: say nothing more until the client leaves."""

_REASONS = {status.value: status.phrase.encode() for status in HTTPStatus}
LAST_CHUNK: Final = b"0\r\n\r\n"


def chunk(data: bytes) -> bytes:
    """One HTTP chunk."""
    return b"%x\r\n%b\r\n" % (len(data), data)


def abort_by_reset(transport: asyncio.BaseTransport) -> None:
    """Close so that the peer sees a TCP reset."""
    sock = transport.get_extra_info("socket")
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    if isinstance(transport, asyncio.WriteTransport):
        transport.abort()
    else:  # uvloop's transports share no base class with asyncio's
        transport.abort()  # type: ignore[attr-defined]


class Exchange:
    """One request and the answer to it.

    ``on_end(whole)`` is called exactly once: when the last step was written, or when the client left before.
    """

    __slots__ = (
        "_blocked",
        "_connection",
        "_on_end",
        "_steps",
        "_timer",
        "body",
        "chunks",
        "headers",
        "keep_alive",
        "method",
        "path",
        "query",
    )

    def __init__(
        self, connection: Connection, method: str, target: bytes, headers: dict[bytes, bytes], keep_alive: bool, http_10: bool
    ) -> None:
        self._connection = connection
        self.method = method
        path, _, query = target.partition(b"?")
        self.path = path.decode("latin-1")
        self.query = query.decode("latin-1")
        self.headers = headers
        self.keep_alive = keep_alive and not http_10
        self.chunks = not http_10
        self.body = b""
        self._steps: Iterator[Step] = iter(())
        self._on_end: Callable[[bool], None] | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._blocked = False

    @property
    def peer(self) -> str:
        """The client's address, without the port."""
        name = self._connection.transport.get_extra_info("peername")
        return str(name[0]) if isinstance(name, tuple) else ""

    @property
    def left(self) -> bool:
        """Whether the client is gone."""
        return self._connection.transport.is_closing()

    def head(self, status: int, headers: bytes, length: int | None) -> bytes:
        """Status line and header block; length None: chunked (HTTP/1.0: until close)."""
        if length is not None:
            framing = b"content-length: %d\r\n" % length
        elif self.chunks:
            framing = b"transfer-encoding: chunked\r\n"
        else:
            framing = b""
        if not self.keep_alive:
            framing += b"connection: close\r\n"
        return b"HTTP/1.1 %d %b\r\n%b%b\r\n" % (status, _REASONS.get(status, b"Unknown"), headers, framing)

    def send(self, status: int, headers: bytes, body: bytes) -> None:
        """Answer at once."""
        data = self.head(status, headers, len(body))
        self.run(iter((data if self.method == "HEAD" else data + body,)))

    def run(self, steps: Iterator[Step], on_end: Callable[[bool], None] | None = None) -> None:
        """Answer by steps."""
        self._steps = steps
        self._on_end = on_end
        self._advance()

    def _advance(self) -> None:
        self._timer = None
        connection = self._connection
        for step in self._steps:
            if isinstance(step, bytes):
                connection.transport.write(step)
                if connection.writing_paused:
                    self._blocked = True
                    return
            elif isinstance(step, float):
                self._timer = connection.loop.call_at(step, self._advance)
                return
            elif step == "hang":
                return
            else:
                self.keep_alive = False
                self._end(False)
                if step == "reset":
                    abort_by_reset(connection.transport)
                else:
                    connection.transport.close()
                return
        self._end(True)
        connection.next_exchange(self)

    def unblock(self) -> None:
        """The client reads again."""
        if self._blocked:
            self._blocked = False
            self._advance()

    def gone(self) -> None:
        """The connection is lost."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._blocked = False
        self._end(False)

    def _end(self, whole: bool) -> None:
        on_end, self._on_end = self._on_end, None
        steps, self._steps = self._steps, iter(())
        if not whole and isinstance(steps, Generator):
            steps.close()  # first: it may still have to count what it had produced by now
        if on_end is not None:
            on_end(whole)


class Connection(asyncio.Protocol):
    """One client connection."""

    __slots__ = (
        "_app",
        "_body",
        "_connections",
        "_current",
        "_headers",
        "_size",
        "_target",
        "_waiting",
        "loop",
        "parser",
        "transport",
        "writing_paused",
    )

    def __init__(self, app: App, connections: set[Connection], loop: asyncio.AbstractEventLoop) -> None:
        self._app = app
        self._connections = connections
        self.loop = loop
        self.parser: Any = httptools.HttpRequestParser(self)
        self.transport: asyncio.Transport
        self.writing_paused = False
        self._current: Exchange | None = None
        self._waiting: deque[Exchange] = deque()
        self._target = b""
        self._headers: dict[bytes, bytes] = {}
        self._body: list[bytes] = []
        self._size = 0

    # asyncio's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]
        if self._app.refuses_connection():
            abort_by_reset(transport)
            return
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        self._waiting.clear()
        if self._current is not None:
            exchange, self._current = self._current, None
            exchange.gone()

    def eof_received(self) -> bool:
        # A client that half-closes while it waits for an answer has left, as far as OpenAI's servers go.
        return False

    def pause_writing(self) -> None:
        self.writing_paused = True

    def resume_writing(self) -> None:
        self.writing_paused = False
        if self._current is not None:
            self._current.unblock()

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._refuse(400, b"upgrades are not supported")
        except httptools.HttpParserError:
            self._refuse(400, b"this is no HTTP/1.1 request")

    # httptools' side

    def on_message_begin(self) -> None:
        self._target = b""
        self._headers = {}
        self._body = []
        self._size = 0

    def on_url(self, url: bytes) -> None:
        self._target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers[name.lower()] = value

    def on_headers_complete(self) -> None:
        if self._headers.get(b"expect", b"").lower() == b"100-continue" and self._current is None:
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._size += len(body)
        if self._size > MAX_BODY_BYTES:
            self._body = []
            self._refuse(413, b"the body is larger than the simulator takes")
            return
        self._body.append(body)

    def on_message_complete(self) -> None:
        parser = self.parser
        exchange = Exchange(
            self, parser.get_method().decode(), self._target, self._headers, parser.should_keep_alive(), parser.get_http_version() == "1.0"
        )
        exchange.body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        if self.transport.is_closing():
            return
        if self._current is not None:
            self._waiting.append(exchange)
            if len(self._waiting) >= MAX_WAITING:
                self.transport.pause_reading()
            return
        self._current = exchange
        self._app.handle(exchange)

    def next_exchange(self, finished: Exchange) -> None:
        """The answer is whole: close, or take the next pipelined request."""
        if self._current is not finished:
            return
        self._current = None
        if not finished.keep_alive:
            self.transport.close()
        elif self._waiting:
            if len(self._waiting) == MAX_WAITING:
                self.transport.resume_reading()
            # not at once: a thousand pipelined requests would recurse as deep
            self.loop.call_soon(self._take_waiting)

    def _take_waiting(self) -> None:
        if self._current is None and self._waiting and not self.transport.is_closing():
            self._current = self._waiting.popleft()
            self._app.handle(self._current)

    def _refuse(self, status: int, message: bytes) -> None:
        if not self.transport.is_closing():
            body = b'{"error":{"message":"%b","type":"invalid_request_error","param":null,"code":null},"bulkhead_simulated":true}' % message
            head = b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
            self.transport.write(head % (status, _REASONS[status], len(body)) + body)
            self.transport.close()

    def shut(self) -> None:
        """Close now, whatever runs."""
        self.transport.abort()


class App(ABC):
    """What a server does with connections and requests."""

    @abstractmethod
    def refuses_connection(self) -> bool:
        """True: reset this connection as soon as it is made."""

    @abstractmethod
    def handle(self, exchange: Exchange) -> None:
        """Answer the request, now or later, by ``exchange.send`` or ``exchange.run``."""


class Server:
    """A listening socket and its connections."""

    def __init__(self, app: App) -> None:
        self._app = app
        self._connections: set[Connection] = set()
        self._server: asyncio.Server | None = None
        self.port = 0

    async def start(self, host: str, port: int) -> None:
        """Listen; ``port`` 0 lets the system choose. Raises OSError."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Connection(self._app, self._connections, loop), host, port, backlog=2048)
        self.port = int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Stop listening and drop all connections."""
        if self._server is not None:
            self._server.close()
            for connection in list(self._connections):
                connection.shut()
            self._server = None
            await asyncio.sleep(0)
