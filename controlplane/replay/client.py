"""A light HTTP/1.1 client for load: httptools on asyncio transports, one keep-alive connection per request in flight.

It shares the machine with what it measures: no task per request, no copy of a stream's body, nothing parsed
that the summary does not need.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections import deque
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import httptools
import msgspec

_TAIL_BYTES = 8192
"""Of a stream, its end is kept: the usage and ``[DONE]``."""


class Call:
    """One request and what became of it. Times: seconds of ``time.perf_counter``; -1 where it never came to that.

    failure: empty for a whole good answer, else the error's code (``http_503`` where the answer has none).
    """

    __slots__ = (
        "cost_nano", "deadline", "ended", "failure", "first_token", "input_tokens", "output_tokens",
        "payload", "request_id", "scheduled", "sent", "simulated", "status", "stream",
    )  # fmt: skip

    def __init__(self, payload: bytes, *, stream: bool, scheduled: float) -> None:
        self.payload = payload
        self.stream = stream
        self.scheduled = scheduled
        self.sent = -1.0
        self.first_token = -1.0
        self.ended = -1.0
        self.deadline = 0.0
        self.status = 0
        self.failure = ""
        self.input_tokens = 0
        self.output_tokens = 0
        self.cost_nano: int | None = None
        self.request_id = ""
        self.simulated = False


class Client:
    """A pool of connections to one origin. ``on_end(call)`` is called once for each call that was submitted.

    connections: most that may be open; further calls wait in order. timeout: seconds for a whole answer.
    """

    def __init__(self, url: str, headers: dict[str, str], *, connections: int, timeout: float, on_end: Callable[[Call], None]) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"{url!r} is no address: write it as http://127.0.0.1:8080")
        self._host = parts.hostname
        self._port = parts.port or (443 if parts.scheme == "https" else 80)
        self._tls = ssl.create_default_context() if parts.scheme == "https" else None
        self._prefix = parts.path.rstrip("/").removesuffix("/v1")
        self._head = f"host: {parts.netloc.rpartition('@')[2]}\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        self._connections = connections
        self._timeout = timeout
        self._on_end = on_end
        self._idle: list[_Connection] = []
        self._busy: set[_Connection] = set()
        self._opening: set[asyncio.Task[None]] = set()
        self._waiting: deque[Call] = deque()
        self._sweeper: asyncio.TimerHandle | None = None

    @property
    def in_flight(self) -> int:
        return len(self._busy) + len(self._opening) + len(self._waiting)

    def request(self, method: str, path: str, body: bytes = b"") -> bytes:
        """The bytes of a request."""
        head = f"{method} {self._prefix}{path} HTTP/1.1\r\n{self._head}"
        if body:
            head += f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
        return f"{head}\r\n".encode() + body

    def submit(self, call: Call) -> None:
        """Send now if a connection is free, else as soon as one is."""
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(0.25, self._sweep)
        while self._idle:
            connection = self._idle.pop()
            if connection.usable:
                self._busy.add(connection)
                connection.send(call)
                return
        if len(self._busy) + len(self._opening) < self._connections:
            task = asyncio.get_running_loop().create_task(self._open(call))
            self._opening.add(task)
            task.add_done_callback(self._opening.discard)
        else:
            self._waiting.append(call)

    async def _open(self, call: Call) -> None:
        loop = asyncio.get_running_loop()
        call.sent = time.perf_counter()
        try:
            async with asyncio.timeout(min(self._timeout, 10)):
                _, connection = await loop.create_connection(lambda: _Connection(self), self._host, self._port, ssl=self._tls)
        except TimeoutError:
            self._fail(call, "connect_timeout")
        except ssl.SSLError:
            self._fail(call, "tls_error")
        except OSError:
            self._fail(call, "connection_refused")
        else:
            self._busy.add(connection)
            connection.send(call)

    def _fail(self, call: Call, code: str) -> None:
        call.failure = code
        call.ended = time.perf_counter()
        self._on_end(call)
        asyncio.get_running_loop().call_soon(self._next)

    def _next(self) -> None:
        if self._waiting:
            self.submit(self._waiting.popleft())

    def finished(self, connection: _Connection, call: Call, *, reusable: bool) -> None:
        """A connection's call is over."""
        self._busy.discard(connection)
        if reusable:
            self._idle.append(connection)
        self._on_end(call)
        self._next()

    def read_answer(self, call: Call, body: bytes) -> None:
        """Fill in what a whole answer that is no stream says."""
        read_json(call, body)

    def _sweep(self) -> None:
        now = time.perf_counter()
        for connection in [busy for busy in self._busy if busy.call is not None and busy.call.deadline < now]:
            connection.give_up("timeout")
        self._sweeper = asyncio.get_running_loop().call_later(0.25, self._sweep)

    async def close(self) -> None:
        """Drop everything; calls in flight get no ``on_end``."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            self._sweeper = None
        self._waiting.clear()
        for task in list(self._opening):
            task.cancel()
        for connection in [*self._idle, *self._busy]:
            connection.drop()
        self._idle.clear()
        self._busy.clear()
        await asyncio.sleep(0)

    @property
    def timeout(self) -> float:
        return self._timeout


class _Connection(asyncio.Protocol):
    """One connection; carries one call at a time."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._parser: Any = None
        self._transport: asyncio.Transport | None = None
        self.call: Call | None = None
        self._body: list[bytes] = []
        self._tail = b""

    @property
    def usable(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def send(self, call: Call) -> None:
        self.call = call
        self._parser = httptools.HttpResponseParser(self)
        self._body = []
        self._tail = b""
        call.sent = time.perf_counter()
        call.deadline = call.sent + self._client.timeout
        if not self.usable:
            self.give_up("connection_reset")
            return
        assert self._transport is not None
        self._transport.write(call.payload)
        call.payload = b""

    def data_received(self, data: bytes) -> None:
        if self.call is None:
            self.drop()  # an answer that nobody asked for
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.give_up("malformed_http")

    def connection_lost(self, exc: Exception | None) -> None:
        call = self.call
        if call is None:
            return
        code = "answer_cut_off" if call.status else "connection_reset"
        if call.stream and call.status == 200:
            read_stream_end(call, self._tail)  # a proxy that must break off says why in its last event
            code = call.failure if call.failure not in ("", "stream_truncated", "usage_missing") else code
        self.give_up(code)

    # httptools

    def on_header(self, name: bytes, value: bytes) -> None:
        call = self.call
        if call is None:
            return
        name = name.lower()
        if not name.startswith(b"x-"):
            return
        if name == b"x-bulkhead-cost-nano":
            call.cost_nano = int(value) if value.isdigit() else None
        elif name == b"x-bulkhead-request-id":
            call.request_id = value.decode("latin-1")
        elif name == b"x-bulkhead-simulated":
            call.simulated = True

    def on_headers_complete(self) -> None:
        if self.call is not None:
            self.call.status = self._parser.get_status_code()

    def on_body(self, body: bytes) -> None:
        call = self.call
        if call is None:
            return
        if not call.stream or call.status != 200:
            self._body.append(body)
            return
        if call.first_token < 0 and _has_content(body):
            call.first_token = time.perf_counter()
        self._tail = (self._tail + body)[-_TAIL_BYTES:]

    def on_message_complete(self) -> None:
        call = self.call
        if call is None or call.status < 200:
            return  # 1xx: the answer itself is still to come
        self.call = None
        call.ended = time.perf_counter()
        if call.stream and call.status == 200:
            read_stream_end(call, self._tail)
        else:
            self._client.read_answer(call, b"".join(self._body))
        reusable = self._parser.should_keep_alive() and self.usable
        if not reusable:
            self.drop()
        self._client.finished(self, call, reusable=reusable)

    def give_up(self, code: str) -> None:
        """The call fails, and the connection goes."""
        call, self.call = self.call, None
        self.drop()
        if call is not None:
            call.failure = code
            call.ended = time.perf_counter()
            self._client.finished(self, call, reusable=False)

    def drop(self) -> None:
        self.call = None
        if self._transport is not None:
            self._transport.abort()


_CONTENT = b'"content":"'


def _has_content(data: bytes) -> bool:
    """Whether a piece of a stream carries a token: a content that is not empty."""
    at = data.find(_CONTENT)
    while at >= 0:
        following = data[at + len(_CONTENT) : at + len(_CONTENT) + 1]
        if following not in (b"", b'"'):
            return True
        at = data.find(_CONTENT, at + 1)
    return b'"tool_calls"' in data


def _error_code(document: Any, status: int) -> str:
    error = document.get("error") if isinstance(document, dict) else None
    code = (error.get("code") or error.get("type")) if isinstance(error, dict) else None
    return code if isinstance(code, str) else f"http_{status}"


def _read_usage(call: Call, document: Any) -> bool:
    usage = document.get("usage") if isinstance(document, dict) else None
    if not isinstance(usage, dict):
        return False
    tokens_in, tokens_out = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if not isinstance(tokens_in, int) or not isinstance(tokens_out, int):
        return False
    call.input_tokens, call.output_tokens = tokens_in, tokens_out
    return True


def read_json(call: Call, body: bytes) -> None:
    """Usage or failure from a JSON answer."""
    try:
        document = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError):
        document = None
    if call.status != 200:
        call.failure = _error_code(document, call.status)
    elif not isinstance(document, dict):
        call.failure = "answer_not_json"
    elif not _read_usage(call, document):
        call.failure = "usage_missing"


def read_stream_end(call: Call, tail: bytes) -> None:
    """Usage or failure from the last events of a stream. A stream without ``[DONE]`` is a broken one."""
    done = False
    usage = False
    for event in tail.split(b"\n\n"):
        data = event.strip().removeprefix(b"data:").strip()
        if data == b"[DONE]":
            done = True
        elif b'"error"' in data or b'"usage":{' in data:
            try:
                document = msgspec.json.decode(data)
            except (msgspec.DecodeError, UnicodeDecodeError):
                continue
            if isinstance(document, dict) and document.get("error"):
                call.failure = _error_code(document, call.status)
                return
            usage = _read_usage(call, document) or usage
    if not done:
        call.failure = "stream_truncated"
    elif not usage:
        call.failure = "usage_missing"
