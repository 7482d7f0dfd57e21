"""The server's side of HTTP/1.1: one protocol object per client connection, synchronous from bytes to app to bytes.

Requests of one connection are answered in order, one at a time in the app. While an answer is being made, further bytes wait
unparsed (bounded, then reading pauses). What this layer refuses, it answers itself in the OpenAI error shape, and closes after
reading on for a bounded while, so that a reset does not overtake the answer.

A client that closes its sending side (FIN) while its request is being answered counts as gone: a FIN cannot be told from a
client that left, and an answer nobody waits for costs money. Reading goes on while the app works, so that it is noticed at
once; only a client that has more than ``pipeline_bytes`` waiting is noticed at the next write.

Messages of llhttp are never shown to clients as they are; ``_REASONS`` has ours.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import struct
from collections import deque
from time import perf_counter_ns
from typing import TYPE_CHECKING, Any, cast

import httptools

from apps.contracts.errors import CODES, error_body
from apps.proxy.http.errors import Refused
from apps.proxy.http.heads import METHODS, check_host, check_trailers, merge_repeated, read_target
from apps.proxy.http.known import PATIENCE, KnownHead, learn
from apps.proxy.http.limits import ServerLimits
from apps.proxy.http.outbox import outbox_of
from apps.proxy.http.reply import CLOSE, KEEP, KEEP_10, ServerReply
from apps.proxy.http.sweep import BEAT, Sweep, sweep_of
from apps.proxy.http.types import App, Request

if TYPE_CHECKING:
    from uvicorn.config import Config
    from uvicorn.server import ServerState

logger = logging.getLogger(__name__)

_IDLE, _HEAD, _BODY, _LINGER = 0, 1, 2, 3

_SLICE = 16_384
"""Heads are parsed this many bytes at a time, which bounds how many requests one read can queue."""
_BODY_SLICE = 65_536
_OVERHEAD = 131_072
"""Bytes of chunk framing, extensions and trailers that a body may have beyond eight times its own size."""

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_JSON = b"content-type: application/json\r\n"
_RESET = struct.pack("ii", 1, 0)

_REASONS = (
    ("Invalid HTTP version", "http_version_not_supported", "This server speaks HTTP/1.1 and HTTP/1.0."),
    ("Pause on PRI", "http_version_not_supported", "This server speaks HTTP/1.1 and HTTP/1.0, not HTTP/2."),
    ("Content-Length overflow", "malformed_http", "The content-length is too large to be one."),
)


def make_protocol(app: App, limits: ServerLimits | None = None) -> Any:
    """What ``uvicorn.Config(http=...)`` makes its protocol objects with; each gives every request to ``app``."""
    bounds = limits or ServerLimits()
    if bounds.head_bytes < _SLICE:
        raise ValueError(f"head_bytes must be at least {_SLICE}.")

    def connect(
        config: Config, server_state: ServerState, app_state: dict[str, Any], _loop: asyncio.AbstractEventLoop | None = None
    ) -> ServerConnection:
        return ServerConnection(app, bounds, server_state, _loop or asyncio.get_running_loop())

    return connect


class ServerConnection:
    """An asyncio protocol by its methods, not by its base: compiled classes have no base outside (docs/compiled.md)."""

    __slots__ = (
        "app",
        "arrived",
        "backlog",
        "behind",
        "body",
        "body_until",
        "broken",
        "chunked",
        "closed",
        "continue_owed",
        "deadline",
        "drained",
        "draining",
        "fed",
        "head",
        "headers",
        "http_10",
        "keep",
        "known",
        "last",
        "limits",
        "loop",
        "measured",
        "most",
        "outbox",
        "parser",
        "peer",
        "phase",
        "reading_paused",
        "ready",
        "refusal",
        "repeated",
        "reply",
        "serving",
        "stalled_at",
        "state",
        "strangers",
        "sweeper",
        "target",
        "transport",
        "upgrade",
        "write_paused",
        "written",
    )

    def __init__(self, app: App, limits: ServerLimits, state: ServerState, loop: asyncio.AbstractEventLoop) -> None:
        self.app = app
        self.limits = limits
        self.state = state
        self.loop = loop
        self.sweeper: Sweep = sweep_of(loop)
        self.outbox = outbox_of(loop)
        self.transport: asyncio.Transport = cast(asyncio.Transport, None)
        self.parser: Any = httptools.HttpRequestParser(self)
        self.peer = ""
        # the connection
        self.closed = False  # nothing more is read or answered
        self.draining = False  # asked to shut down: this answer is the last
        self.broken = False  # the parser refused; nothing more is parsed
        self.last = False  # the last request that may come has come (connection: close)
        self.serving = False
        self.ready: deque[tuple[Request, ServerReply]] = deque()
        self.reply: ServerReply | None = None
        self.refusal: Refused | None = None
        self.backlog = b""
        self.reading_paused = False
        self.deadline = 0.0
        # what was written, and how much of it the client took
        self.write_paused = False
        self.written = 0
        self.drained = 0
        self.behind = False
        self.stalled_at = 0.0
        # the message being read
        self.phase = _IDLE
        self.fed = 0
        self.measured = 0
        self.most = limits.body_bytes
        self.body_until = 0.0
        self.arrived = 0
        self.target = b""
        self.headers: dict[bytes, bytes] = {}
        self.head: dict[bytes, bytes] = self.headers
        self.repeated = 0
        self.body: bytes | bytearray = b""
        self.chunked = False
        self.keep = KEEP
        self.http_10 = False
        self.continue_owed = False
        self.upgrade = False
        # the head that this client repeats
        self.known: KnownHead | None = None
        self.strangers = 0

    # asyncio -------------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self.state.connections.add(self)  # type: ignore[arg-type]
        self.sweeper.join(self)
        peer = transport.get_extra_info("peername")
        self.peer = peer[0] if isinstance(peer, tuple) else str(peer or "")
        self._wait_idle()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self.state.connections.discard(self)
        self.sweeper.leave(self)
        self._client_gone()
        self.parser = None
        self.backlog = b""

    def eof_received(self) -> None:
        self.closed = True
        self._client_gone()
        self.outbox.flush()
        # returning None closes the transport once what was written is flushed

    def pause_writing(self) -> None:
        self.write_paused = True
        if self.reply is not None and self.reply.flow is not None:
            self.reply.flow.pause()

    def resume_writing(self) -> None:
        self.write_paused = False
        if self.reply is not None:
            if self.reply.flow is not None:
                self.reply.flow.resume()
        elif not self.closed:
            self._serve()

    def data_received(self, data: bytes) -> None:
        if self.reply is not None or self.write_paused or self.broken or self.last or self.closed:
            self._early(data)
            return
        known = self.known
        if known is not None and self.phase == _IDLE and not self.fed:
            start = known.body_start(data, self.limits.body_bytes)
            if start >= 0:
                headers = known.headers.copy()
                body = data[start:]
                headers[b"content-length"] = b"%d" % len(body)
                request = Request(known.method, known.path, known.query, headers, body, perf_counter_ns(), self.peer, False, known.plain)
                self.ready.append((request, ServerReply(self, KEEP, False, False)))
                self.strangers = 0
                self._serve()
                return
        if len(data) > _SLICE:
            self._feed_slices(data)
        else:
            fresh = self.phase == _IDLE and not self.fed
            self._feed(data)
            if fresh and self.strangers < PATIENCE and len(self.ready) == 1:
                self.strangers += 1
                whole = self.phase == _IDLE and self.keep == KEEP and not self.broken
                self.known = learn(data, self.ready[0][0]) if whole else None
        self._serve()

    def shutdown(self) -> None:
        """uvicorn asks: an idle connection closes at once, a busy one after its answer."""
        self.draining = True
        if self.reply is None and not self.ready and not self.backlog and (self.phase == _IDLE or self.phase == _LINGER):
            self._close()

    # reading -------------------------------------------------------------------------------------------------------------

    def _feed(self, data: bytes | memoryview) -> None:
        if self.phase == _IDLE and not self.fed:
            self.arrived = perf_counter_ns()
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as pause:
            self._feed_ignoring_upgrade(bytes(data[pause.args[0] :]))
        except httptools.HttpParserError as error:
            if not self.last:
                self.broken = True
                self.refusal = self._refusal_of(error)
        if not self.ready and not self.broken:
            self._count_partial(len(data))

    def _feed_slices(self, data: bytes) -> None:
        """Feeds until a request is ready; the rest waits in ``backlog``."""
        view = memoryview(data)
        position = 0
        while position < len(data) and not (self.ready or self.broken or self.last):
            step = _BODY_SLICE if self.phase == _BODY else _SLICE
            self._feed(view[position : position + step])
            position += step
        if position < len(data) and not (self.broken or self.last):
            self.backlog = data[position:]

    def _early(self, data: bytes) -> None:
        """Bytes that come while an answer is being made, or after the last one."""
        if self.phase == _LINGER:
            self.measured += len(data)
            if self.measured > self.limits.linger_bytes:
                self._close()
        elif not (self.broken or self.last or self.closed):
            self.backlog += data
            if len(self.backlog) > self.limits.pipeline_bytes and not self.reading_paused:
                self.reading_paused = True
                self.transport.pause_reading()

    def _count_partial(self, size: int) -> None:
        """After bytes that completed no request: bounds and deadlines of what is half read."""
        now = self.sweeper.now
        if self.phase == _BODY:
            if self.fed >= 0:
                self.fed = -1
                self.measured = 0
                self.deadline = now + self.limits.body_seconds + BEAT
                self.body_until = now + self.limits.body_whole_seconds + BEAT
            if self.chunked:
                self.repeated += size
                if self.repeated - len(self.body) > _OVERHEAD + 8 * len(self.body):
                    self._refuse_now("malformed_http", "Chunk sizes, extensions and trailers outweigh the body by far. Send larger chunks.")
            return
        if self.fed <= 0:
            self.fed = 0
            self.deadline = now + self.limits.head_seconds + BEAT
        self.fed += size
        if self.fed > self.limits.head_bytes:
            self._refuse_now("headers_too_large", f"The head is larger than {self.limits.head_bytes} bytes.")

    def _feed_ignoring_upgrade(self, rest: bytes) -> None:
        """A request that offers an upgrade is served as if it did not (RFC 9110 7.8), but llhttp stops reading HTTP at its head.

        So a new parser takes over, brought into the same state by a head with the same framing.
        """
        method = self.parser.get_method()
        self.parser = httptools.HttpRequestParser(self)
        length = self.head.get(b"content-length", b"0")
        target, head = self.target, self.head
        whole = not self.chunked and not int(length)
        framing = b"" if whole else b"transfer-encoding: chunked\r\n" if self.chunked else b"content-length: %b\r\n" % length
        self.parser.feed_data(b"%b / HTTP/1.1\r\n%b\r\n" % (method, framing))
        self.target, self.head, self.headers = target, head, {}
        self.phase = _BODY
        self.upgrade = False
        if whole:
            try:
                self.on_message_complete()
            except Refused as refusal:
                self.broken = True
                self.refusal = refusal
                return
        if rest and not self.last:
            self._feed(rest)

    def _refusal_of(self, error: httptools.HttpParserError) -> Refused:
        cause = error.__context__
        if isinstance(cause, Refused):
            return cause
        if isinstance(error, httptools.HttpParserCallbackError):
            logger.error("A parser callback failed", exc_info=cause)
            return Refused("internal_error", "The request could not be read because of an error on this side.")
        text = str(error)
        for needle, code, message in _REASONS:
            if needle in text:
                return Refused(code, message)
        return Refused("malformed_http", f"The request is not valid HTTP/1.1: {text[:1].lower()}{text[1:]}.")

    # the parser's callbacks, in this order -------------------------------------------------------------------------------

    def on_url(self, url: bytes) -> None:
        self.phase = _HEAD
        self.target += url
        if len(self.target) > self.limits.target_bytes:
            raise Refused("uri_too_long", f"The request target is longer than {self.limits.target_bytes} bytes.")

    def on_header(self, name: bytes, value: bytes) -> None:
        name = name.lower()
        headers = self.headers
        if name in headers:
            self.repeated += 1
            merge_repeated(headers, name, value.rstrip())
        else:
            headers[name] = value.rstrip()

    def on_headers_complete(self) -> None:
        if self.upgrade:
            return
        headers = self.headers
        limits = self.limits
        if len(headers) + self.repeated > limits.headers:
            raise Refused("headers_too_large", f"More than {limits.headers} headers.")
        if self.fed:
            self._measure_head()
        self.head = headers
        self.headers = {}
        self.repeated = 0
        self.phase = _BODY
        self.http_10 = False
        if self.parser.should_keep_alive():
            self.keep = KEEP
            if b"connection" in headers:
                self._check_version()
        else:
            self.keep = CLOSE
            self._check_version()
        host = headers.get(b"host")
        if host is not None:
            check_host(host)
        elif not self.http_10:
            raise Refused("malformed_http", "The Host header is missing.")
        self.chunked = False
        self.most = limits.upload_bytes if limits.uploads and self.target.partition(b"?")[0] in limits.uploads else limits.body_bytes
        length = headers.get(b"content-length")
        if length is not None:
            if len(length) > 20:
                raise Refused("malformed_http", "The content-length has more than 20 digits.")
            if int(length) > self.most:
                raise Refused("body_too_large", f"The body is larger than {self.most} bytes.")
        elif b"transfer-encoding" in headers:
            if headers[b"transfer-encoding"].lower() != b"chunked" or self.http_10:
                raise Refused("malformed_http", "The only transfer-encoding understood is exactly 'chunked', in HTTP/1.1.")
            self.chunked = True
        if b"expect" in headers:
            if headers[b"expect"].lower() != b"100-continue":
                raise Refused("expectation_failed", "The only expectation understood is '100-continue'.")
            self.continue_owed = not self.http_10 and (self.chunked or (length is not None and int(length) > 0))
        if b"upgrade" in headers and self.parser.should_upgrade():
            self.upgrade = self.parser.get_method() != b"CONNECT"

    def on_body(self, data: bytes) -> None:
        body = self.body
        if not body:
            self.body = data
        elif type(body) is bytes:
            self.body = bytearray(body)
            self.body += data
        else:
            body += data
        if len(self.body) > self.most:
            raise Refused("body_too_large", f"The body is larger than {self.most} bytes.")

    def on_message_complete(self) -> None:
        if self.upgrade:
            return
        head = self.head
        if self.headers:
            check_trailers(self.headers)
            self.headers = {}
            self.repeated = 0
        code = self.parser.get_method()
        method = METHODS.get(code)
        if method is None:
            if code == b"CONNECT":
                raise Refused("method_not_allowed", "CONNECT is not served here: this is not a forward proxy.")
            method = code.decode()
        path, query = read_target(method, self.target, head)
        body = self.body
        request = Request(method, path, query, head, body if type(body) is bytes else bytes(body), self.arrived, self.peer, self.http_10)
        self.ready.append((request, ServerReply(self, self.keep, self.http_10, method == "HEAD")))
        self.phase = _IDLE
        self.fed = 0
        self.target = b""
        self.body = b""
        self.repeated = 0
        self.continue_owed = False
        if not self.keep:
            self.last = True

    def _check_version(self) -> None:
        version = self.parser.get_http_version()
        if version == "1.0":
            self.http_10 = True
            if self.keep:
                self.keep = KEEP_10
        elif version != "1.1":
            raise Refused("http_version_not_supported", f"This server speaks HTTP/1.1 and HTTP/1.0, not {version}.")

    def _measure_head(self) -> None:
        """The exact size of a head that came in pieces."""
        self.fed = 0
        size = len(self.target) + sum(len(name) + len(value) + 4 for name, value in self.headers.items())
        if size > self.limits.head_bytes:
            raise Refused("headers_too_large", f"The head is larger than {self.limits.head_bytes} bytes.")

    # answering -----------------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        """Gives ready requests to the app until one waits; then parses what waited."""
        if self.serving:
            return
        self.serving = True
        try:
            ready = self.ready
            while self.reply is None and not self.write_paused and not self.closed:
                if ready:
                    request, reply = ready.popleft()
                    self.reply = reply
                    self.state.total_requests += 1
                    try:
                        self.app(request, reply)
                    except Exception:
                        self._app_failed(reply)
                elif self.backlog:
                    data, self.backlog = self.backlog, b""
                    self._feed_slices(data)
                    if self.reading_paused and not self.backlog:
                        self.reading_paused = False
                        self.transport.resume_reading()
                else:
                    if self.broken and self.refusal is not None:
                        self._refuse(self.refusal)
                    elif self.continue_owed and self.phase == _BODY:
                        self.continue_owed = False
                        if not self.body:
                            self.write(_CONTINUE)
                    break
        finally:
            self.serving = False

    def write(self, data: bytes) -> None:
        self.written += len(data)
        self.outbox.write(self.transport, data)

    def answered(self, keep: int) -> None:
        """Called by the reply when its answer is wholly written."""
        self.reply = None
        if not keep or self.draining:
            self._close()
        else:
            self._wait_idle()
            if not self.serving and (self.ready or self.backlog or self.phase != _IDLE or self.broken):
                self._serve()

    def break_off(self, *, flush: bool) -> None:
        """Ends the connection in the middle of an answer.

        flush: what was written still arrives (an error event in a stream), without the last chunk, so that the answer
        cannot look whole. Otherwise the connection is reset: an answer delimited by close must not look whole either.
        """
        self.reply = None
        if flush:
            self._close()
            return
        self.closed = True
        sock = self.transport.get_extra_info("socket")
        if sock is not None:
            try:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            except OSError:  # the socket is gone already
                pass
        self.transport.abort()

    def _app_failed(self, reply: ServerReply) -> None:
        logger.exception("The app failed on a request")
        if self.reply is not reply:
            return
        if reply.started:
            reply.abort()
        else:
            reply.send(500, _JSON, error_body("internal_error", "Something went wrong on this side. The same call may succeed later."))

    def _refuse_now(self, code: str, message: str) -> None:
        self.broken = True
        self.refusal = Refused(code, message)

    def _refuse(self, refusal: Refused) -> None:
        """This layer's own answer, the last one on this connection."""
        body = error_body(refusal.code, refusal.message)
        status = CODES[refusal.code].status
        head = self.sweeper.heads.get(status) or self.sweeper.head(status)
        bodiless = self.phase != _IDLE and self.target and self.parser.get_method() == b"HEAD"
        self.write(b"%b%bcontent-length: %d\r\nconnection: close\r\n\r\n%b" % (head, _JSON, len(body), b"" if bodiless else body))
        self.phase = _LINGER
        self.measured = 0
        self.deadline = self.sweeper.now + self.limits.linger_seconds + BEAT
        self.outbox.flush()
        if self.transport.can_write_eof():
            self.transport.write_eof()

    def _client_gone(self) -> None:
        reply = self.reply
        self.reply = None
        self.ready.clear()
        if reply is not None:
            reply.leave()

    def _close(self) -> None:
        self.closed = True
        self.ready.clear()
        self.outbox.flush()
        self.transport.close()

    # time ----------------------------------------------------------------------------------------------------------------

    def _wait_idle(self) -> None:
        """Nothing is being answered: the clock of whatever comes next starts."""
        limits = self.limits
        phase = self.phase
        seconds = (
            limits.idle_seconds if phase == _IDLE and self.fed <= 0 else limits.body_seconds if phase == _BODY else limits.head_seconds
        )
        self.deadline = self.sweeper.now + seconds + BEAT

    def sweep(self, now: float) -> None:
        if self.written != self.drained:
            self._check_taken(now)
        if now > self.deadline and self.reply is None and not self.closed:
            self._expired(now)

    def _check_taken(self, now: float) -> None:
        """Aborts a client that takes nothing for ``write_seconds`` while there is something for it to take."""
        drained = self.written - self.transport.get_write_buffer_size()
        if drained != self.drained or not self.behind:
            self.drained = drained
            self.behind = drained != self.written
            self.stalled_at = now
        elif now - self.stalled_at > self.limits.write_seconds:
            self.break_off_stalled()

    def break_off_stalled(self) -> None:
        reply = self.reply
        self.break_off(flush=False)
        if reply is not None:
            reply.leave()

    def _expired(self, now: float) -> None:
        limits = self.limits
        if self.phase == _LINGER or (self.phase == _IDLE and self.fed <= 0):
            self._close()
        elif self.phase == _BODY:
            if now > self.body_until:
                self._refuse_now("request_timeout", f"The body was not complete within {limits.body_whole_seconds:g} seconds.")
                self._serve()
            elif len(self.body) - self.measured >= limits.body_rate * limits.body_seconds:
                self.measured = len(self.body)
                self.deadline = now + limits.body_seconds
            else:
                self._refuse_now("request_timeout", f"The body came slower than {limits.body_rate} bytes a second.")
                self._serve()
        else:
            self._refuse_now("request_timeout", f"The head was not complete within {limits.head_seconds:g} seconds.")
            self._serve()
