"""The client's side of HTTP/1.1: pools of keep-alive connections, one request at a time on each, synchronous callbacks.

    connection = pool.take() or await pool.connect(timeout)
    connection.send(request_bytes, sink, replay_safe=False)

Deadlines are the caller's: it reads ``last_byte_at`` in a coarse sweep of its own and calls ``abort()``. What is answered is
checked: a body that ends before its framing says so is a failure (``Truncated``), never an ``end``.

**Replay.** A server may close a kept connection at the same moment as we send on it. The request is sent once more, on a fresh
connection, if and only if all of this holds: the connection had carried an answer before (it was reused); it was closed or
reset before one byte of an answer came; this request was not replayed already; and either ``replay_safe`` was given or nothing
of the request was handed to the socket (the connection was closing already when ``send`` was called; then it need not have
been reused). ``replayed`` tells.

HEAD requests are not for this client: their answers' framing depends on the request.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Callable
from typing import Any, cast

import httptools

from apps.proxy.http.dial import Origin, client_tls, dial
from apps.proxy.http.errors import (
    ConnectionReset,
    ConnectTimeout,
    MalformedResponse,
    PoolExhausted,
    Truncated,
    UpstreamError,
    connect_failed,
)
from apps.proxy.http.limits import ClientLimits
from apps.proxy.http.outbox import outbox_of
from apps.proxy.http.sweep import BEAT, Sweep, sweep_of
from apps.proxy.http.types import Sink

__all__ = ["ClientLimits", "Connection", "Origin", "Pool", "client_tls"]

logger = logging.getLogger(__name__)

_WAITING, _BODY, _DONE = 0, 1, 2


class Connection:
    """One connection to an upstream. ``last_byte_at``: the loop's time when bytes last came, or when the request was sent."""

    __slots__ = (
        "_chunked",
        "_close_delimited",
        "_closing",
        "_data",
        "_dial",
        "_dry",
        "_ending",
        "_headers",
        "_informational",
        "_interim",
        "_keep",
        "_loop",
        "_lost",
        "_outbox",
        "_parser",
        "_paused",
        "_phase",
        "_pool",
        "_repeated",
        "_replay_safe",
        "_reused",
        "_sink",
        "_spoiled",
        "_time",
        "_transport",
        "_unsent",
        "_whole",
        "counted",
        "idle_until",
        "last_byte_at",
        "raw",
        "raw_to",
        "replayed",
    )

    def __init__(self, pool: Pool, loop: asyncio.AbstractEventLoop) -> None:
        self._pool = pool
        self._loop = loop
        self._time = loop.time
        self._outbox = outbox_of(loop)
        self._transport: asyncio.Transport = cast(asyncio.Transport, None)
        self._parser: Any = None
        self._sink: Sink | None = None
        self._ending: Sink | None = None
        self._data = b""
        self._dial: asyncio.Task[None] | None = None
        self._closing = False
        self._lost = False
        self._unsent = False
        self.counted = True
        self._reused = False
        self._replay_safe = False
        self._paused = False
        self._phase = _WAITING
        self._headers: dict[bytes, bytes] = {}
        self._repeated = 0
        self._informational = 0
        self._interim = False
        self._keep = False
        self._chunked = False
        self._close_delimited = False
        self._spoiled = False
        self._dry = 0
        self.idle_until = 0.0
        self.last_byte_at = loop.time()
        self.replayed = False
        self._whole = False
        self.raw: Callable[[bytes, int], bool] | None = None
        """Set by a sink that can use chunks as they lie on the wire: asked about one whole chunk (size line, data, CRLF) and where its
        data starts; False gives it back to the parser. The parser stays right because it stands between two chunks then."""
        self.raw_to: Callable[[bytes], None]
        """Where the chunks go that ``raw`` takes; set with it."""

    # the caller's ----------------------------------------------------------------------------------------------------------

    def send(self, data: bytes, sink: Sink, *, replay_safe: bool) -> None:
        """Sends a whole rendered request; its answer goes to ``sink``. ``replay_safe``: see the module's docstring."""
        self._sink = sink
        self._phase = _WAITING
        self._informational = 0
        self._dry = 0
        self.replayed = False
        self._whole = False
        self.raw = None
        self.last_byte_at = self._time()
        if self._closing or self._transport.is_closing():
            self._send_later(data)
            return
        if self._reused:
            self._data = data
            self._replay_safe = replay_safe
        self._outbox.write(self._transport, data)

    def pause(self) -> None:
        """Stop reading: no more ``sink.data`` than what was read already."""
        if not self._paused:
            self._paused = True
            if self._dial is None and not self.closing:
                self._transport.pause_reading()

    def resume(self) -> None:
        if self._paused:
            self._paused = False
            if self._dial is None and not self.closing:
                self._transport.resume_reading()

    def abort(self) -> None:
        """Closes the socket at once, which tells the upstream to stop its work. The sink hears nothing more."""
        self._sink = None
        self.raw = None
        if self._dial is not None:
            self._dial.cancel()
        self._shut()

    @property
    def reused(self) -> bool:
        """Whether the connection had carried an answer before this one."""
        return self._reused

    @property
    def closing(self) -> bool:
        return self._closing or self._transport.is_closing()

    # asyncio -----------------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._parser = httptools.HttpResponseParser(self)

    def data_received(self, data: bytes) -> None:
        self.last_byte_at = self._time()
        if self._sink is None:
            self._shut()
            return
        raw = self.raw
        if raw is not None:
            if self._whole:
                start, end = _chunk(data, 0)
                if end == len(data):
                    if raw(data, start):
                        self.raw_to(data)
                        return
                elif start:
                    data = self._several(data, raw)
                    if not data:
                        return
            self._whole = False
        self._dry += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            if self._phase == _DONE:
                self._spoiled = True
            else:
                self._fail(self._malformed(error))
                return
        if data[-2:] != b"\r\n":
            self._whole = False  # a chunk's beginning was read behind the end of the one before
        if self._phase == _DONE:
            self._finish()
        elif self._sink is not None:
            self._sink.flush()
            if self._dry > self._pool.limits.head_bytes and self._sink is not None:
                self._fail(MalformedResponse(f"{self._pool.origin} sent more than {self._pool.limits.head_bytes} bytes that are no body."))

    def _several(self, data: bytes, raw: Callable[[bytes, int], bool]) -> bytes:
        """Several chunks in one read: passes on, in one write, as many from the first as are whole and taken; gives back the rest."""
        at = 0
        while at < len(data):
            start, end = _chunk(data, at)
            if not start or end > len(data) or not raw(data[at:end], start - at):
                break
            at = end
        if at:
            self.raw_to(data[:at])
        return data[at:]

    def eof_received(self) -> None:
        self._ended(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost = True
        if self._may_replay():
            self._replay()
        else:
            self._ended(exc)
            self._pool.lost(self)

    # the parser's callbacks ------------------------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._phase == _DONE:
            self._spoiled = True
        self._headers = {}
        self._repeated = 0

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        headers = self._headers
        if name in headers:
            self._repeated += 1
            if name == b"content-length" or name == b"transfer-encoding":
                raise MalformedResponse(f"{self._pool.origin} sent {name.decode()} twice.")
            headers[name] += b", " + value.rstrip()
        else:
            headers[name] = value.rstrip()

    def on_headers_complete(self) -> None:
        if self._phase == _DONE:
            return
        parser = self._parser
        status = parser.get_status_code()
        headers = self._headers
        limits = self._pool.limits
        if len(headers) + self._repeated > limits.headers:
            raise MalformedResponse(f"{self._pool.origin} sent more than {limits.headers} headers.")
        keep = parser.should_keep_alive()
        http_10 = False
        if not keep or b"connection" in headers:
            version = parser.get_http_version()
            if version == "1.0":
                http_10 = True
            elif version != "1.1":
                raise MalformedResponse(f"{self._pool.origin} answered in HTTP/{version}.")
        if status < 200:
            self._informational += 1
            if status == 101 or status < 100 or self._informational > limits.informational:
                raise MalformedResponse(f"{self._pool.origin} answered {status}, {self._informational} times before a final answer.")
            self._interim = True
            return
        if status > 599:
            raise MalformedResponse(f"{self._pool.origin} answered with status {status}.")
        self._keep = keep
        self._chunked = False
        self._close_delimited = False
        if b"transfer-encoding" in headers:
            if headers[b"transfer-encoding"].lower() != b"chunked" or http_10:
                raise MalformedResponse(f"{self._pool.origin} used a transfer-encoding that is not exactly 'chunked'.")
            self._chunked = True
        elif b"content-length" not in headers:
            self._close_delimited = status != 204 and status != 304
        self._phase = _BODY
        self._headers = {}
        if self._sink is not None:
            self._sink.head(status, headers)

    def on_body(self, data: bytes) -> None:
        self._dry = 0
        if self._sink is not None:
            self._sink.data(data)

    def on_chunk_header(self) -> None:
        self._whole = False

    def on_chunk_complete(self) -> None:
        self._whole = True

    def on_message_complete(self) -> None:
        if self._interim:
            self._interim = False
        elif self._phase == _BODY:
            self._phase = _DONE
            self._ending = self._sink
            self._sink = None  # whatever follows in the same bytes is not for this sink

    # endings ---------------------------------------------------------------------------------------------------------------

    def _finish(self) -> None:
        """The answer is whole: back to the pool first, so that the sink may use the connection again."""
        sink = self._ending or self._sink
        self._sink = self._ending = None
        self.raw = None
        self._data = b""
        if not self._keep or self._spoiled or self._closing:
            self._shut()
        else:
            if self._paused:
                self.resume()
            self._reused = True
            self._pool.give_back(self)
        if sink is not None:
            sink.end()

    def _fail(self, error: UpstreamError) -> None:
        sink = self._sink
        self._sink = None
        self.raw = None
        self._shut()
        if sink is not None:
            sink.failed(error)

    def _ended(self, exc: Exception | None) -> None:
        """The upstream closed, or the connection broke (``exc``)."""
        if self._sink is None:
            if not self._closing and self._pool.on_hang_up is not None:
                self._pool.on_hang_up()
            self._shut()
        elif self._phase == _BODY:
            if self._close_delimited and exc is None:
                self._keep = False
                self._finish()
            else:
                self._fail(Truncated(f"{self._pool.origin} closed the connection in the middle of its answer."))
        elif not self._may_replay():
            self._fail(ConnectionReset(f"{self._pool.origin} closed the connection before it answered."))

    def _may_replay(self) -> bool:
        if self._sink is None or self._closing or self.replayed or self._phase != _WAITING:
            return False
        return self._unsent or (self._reused and self._replay_safe and not self._dry)

    def _send_later(self, data: bytes) -> None:
        """The connection was closing when the request came: it goes out on a fresh one, once the old one is lost."""
        self._data = data
        self._unsent = True
        self._closing = False
        if self._lost:
            self._pool.count(self)
            self._replay()

    def _replay(self) -> None:
        self.replayed = True
        self._reused = self._unsent = self._lost = False
        self._dial = self._loop.create_task(self._redial())
        self._dial.add_done_callback(self._redialled)

    async def _redial(self) -> None:
        pool = self._pool
        await dial(self._loop, pool.origin, pool.tls, lambda: self, pool.limits.connect_seconds)

    def _redialled(self, task: asyncio.Task[None]) -> None:
        self._dial = None
        error = ConnectTimeout("Given up.") if task.cancelled() else task.exception()
        if error is not None:
            self._fail(connect_failed(error, str(self._pool.origin)))
            self._pool.lost(self)
        elif self._sink is None:
            self._closing = False
            self._shut()
        elif not self._lost:
            if self._paused:
                self._transport.pause_reading()
            self.last_byte_at = self._time()
            self._transport.write(self._data)

    def _shut(self) -> None:
        if not self._closing:
            self._closing = True
            self._pool.forget(self)
            if self._dial is None:
                self._transport.abort()

    def _malformed(self, error: Exception) -> UpstreamError:
        cause = error.__context__
        if isinstance(cause, UpstreamError):
            return cause
        if isinstance(error, httptools.HttpParserCallbackError) and cause is not None:
            logger.error("A sink failed", exc_info=cause)
            return MalformedResponse(f"The answer of {self._pool.origin} could not be taken: {type(cause).__name__}.")
        return MalformedResponse(f"{self._pool.origin} did not answer in valid HTTP/1.1: {error}.")


def _chunk(data: bytes, at: int) -> tuple[int, int]:
    """(where the data of the chunk begins whose size line is at ``at``, where the chunk ends). (0, 0) where no such line is, or not all of
    it: one to six hexadecimal digits and nothing else. Written for a compiler: numbers only, no object is made."""
    size, start, most = 0, at, min(len(data) - 1, at + 7)
    while start < most:
        digit = data[start]
        if 48 <= digit <= 57:
            size = size * 16 + digit - 48
        elif 97 <= digit <= 102:
            size = size * 16 + digit - 87
        elif 65 <= digit <= 70:
            size = size * 16 + digit - 55
        elif digit == 13 and data[start + 1] == 10 and size:
            return start + 2, start + 4 + size
        else:
            break
        start += 1
    return 0, 0


class Pool:
    """Keep-alive connections to one origin, the most recently used first; bounded."""

    def __init__(self, origin: Origin, tls: ssl.SSLContext | None = None, limits: ClientLimits | None = None) -> None:
        """``tls``: for ``https`` (default: ``client_tls()``); ignored for ``http``."""
        self.origin = origin
        self.tls = (tls or client_tls()) if origin.scheme == "https" else None
        self.limits = limits or ClientLimits()
        self.open = 0
        """Connections that exist or are being made."""
        self.closed = False
        self.on_hang_up: Callable[[], None] | None = None
        """Told when the other side closes a connection that nobody used."""
        self._idle: dict[Connection, None] = {}
        self._waiting: deque[asyncio.Future[Connection | None]] = deque()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sweeper: Sweep | None = None
        """Joined from the first idle connection until none is open."""

    @property
    def idle(self) -> int:
        return len(self._idle)

    def take(self) -> Connection | None:
        """An idle connection, the last one used; None when there is none."""
        idle = self._idle
        while idle:
            connection = idle.popitem()[0]
            if not connection.closing:
                return connection
        return None

    async def connect(self, timeout: float) -> Connection:
        """A fresh connection, or one that comes free while the pool is full. Raises ``ConnectFailed``. ``timeout`` in seconds covers
        waiting for room, name resolution, TCP and TLS."""
        loop = self._loop
        if loop is None:
            loop = self._loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        if self.open >= self.limits.connections:
            waited = await self._wait(loop, timeout)
            if waited is not None:
                return waited
        else:
            self.open += 1
        connection = Connection(self, loop)
        try:
            left = deadline - loop.time()
            if left <= 0:
                raise ConnectTimeout(f"No connection to {self.origin} in time.")
            await dial(loop, self.origin, self.tls, lambda: connection, left)
        except BaseException:
            self.lost(connection)
            raise
        return connection

    def close(self) -> None:
        """Closes idle connections now, and others when their answers end."""
        self.closed = True
        for connection in tuple(self._idle):
            connection.abort()

    # for connections ---------------------------------------------------------------------------------------------------------

    def give_back(self, connection: Connection) -> None:
        if self.closed:
            connection.abort()
            return
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(connection)
                return
        sweeper = self._sweeper
        if sweeper is None:
            sweeper = self._sweeper = sweep_of(connection._loop)
            sweeper.join(self)
        connection.idle_until = sweeper.now + self.limits.idle_seconds + BEAT
        self._idle[connection] = None

    def forget(self, connection: Connection) -> None:
        self._idle.pop(connection, None)

    def lost(self, connection: Connection) -> None:
        """A connection is gone (or was never made): its room is free. Counts once."""
        self._idle.pop(connection, None)
        if connection.counted:
            connection.counted = False
            self._free()

    def count(self, connection: Connection) -> None:
        """A lost connection dials again. May go beyond the bound by the few that were lost between being taken and used."""
        if not connection.counted:
            connection.counted = True
            self.open += 1

    def sweep(self, now: float) -> None:
        """The oldest idle connections come first; the first that may stay ends it."""
        for connection in tuple(self._idle):
            if now <= connection.idle_until:
                break
            connection.abort()
        if not self.open and self._sweeper is not None:
            self._sweeper.leave(self)
            self._sweeper = None

    def _free(self) -> None:
        """A connection ended: its room goes to who waits longest."""
        while self._waiting:
            future = self._waiting.popleft()
            if not future.done():
                future.set_result(None)
                return
        self.open -= 1

    async def _wait(self, loop: asyncio.AbstractEventLoop, seconds: float) -> Connection | None:
        """An idle connection, or None: room for a new one, which is counted already."""
        future: asyncio.Future[Connection | None] = loop.create_future()
        self._waiting.append(future)
        try:
            async with asyncio.timeout(seconds):
                return await future
        except BaseException as error:
            # given and given up in the same turn of the loop: it goes to the next
            if future.done() and not future.cancelled():
                given = future.result()
                if given is not None:
                    self.give_back(given)
                else:
                    self._free()
            if isinstance(error, TimeoutError):
                message = f"All {self.limits.connections} connections to {self.origin} are in use and none came free in time."
                raise PoolExhausted(message) from None
            raise
