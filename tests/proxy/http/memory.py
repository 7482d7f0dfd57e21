"""The protocol objects without sockets: what fuzzing drives."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from apps.proxy.http.client import Connection, Origin, Pool
from apps.proxy.http.limits import ServerLimits
from apps.proxy.http.server import make_protocol
from apps.proxy.http.types import Request


class Loop:
    """Time stands still and timers never fire."""

    def time(self) -> float:
        return 1_000.0

    def call_later(self, delay: float, callback: Any, *args: Any) -> Any:
        return SimpleNamespace(cancel=lambda: None)

    def call_soon(self, callback: Any) -> None:
        callback()


class Transport:
    def __init__(self) -> None:
        self.written = b""
        self.closed = False
        self.half_closed = False

    def write(self, data: bytes) -> None:
        assert not self.closed
        self.written += data

    def get_extra_info(self, name: str) -> Any:
        return ("203.0.113.7", 4711) if name == "peername" else None

    def get_write_buffer_size(self) -> int:
        return 0

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        self.half_closed = True

    def close(self) -> None:
        self.closed = True

    abort = close

    def is_closing(self) -> bool:
        return self.closed

    def pause_reading(self) -> None:
        pass

    def resume_reading(self) -> None:
        pass


_LOOP: Any = Loop()


def serve_bytes(pieces: list[bytes], limits: ServerLimits | None = None) -> tuple[list[Request], Transport]:
    """Feeds a server connection whose app answers at once. Returns the requests that the app saw, and the transport."""
    requests: list[Request] = []

    def app(request: Request, reply: Any) -> None:
        requests.append(request)
        reply.send(200, b"", b"")

    protocol: Any = make_protocol(app, limits)
    state = SimpleNamespace(connections=set(), total_requests=0)
    connection = protocol(config=None, server_state=state, app_state={}, _loop=_LOOP)
    transport = Transport()
    connection.connection_made(transport)
    for piece in pieces:
        if transport.closed:
            break
        connection.data_received(piece)
    connection.connection_lost(None)
    return requests, transport


class Taken:
    """A sink's record: ``what`` is 'open', 'end' or the error's class name."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.body = b""
        self.what = "open"

    def head(self, status: int, headers: dict[bytes, bytes]) -> None:
        assert self.what == "open" and not self.status
        self.status, self.headers = status, headers

    def data(self, chunk: bytes) -> None:
        assert self.what == "open" and self.status and chunk
        self.body += chunk

    def flush(self) -> None:
        pass

    def end(self) -> None:
        assert self.what == "open"
        self.what = "end"

    def failed(self, error: Exception) -> None:
        assert self.what == "open"
        self.what = type(error).__name__


def take_answer(pieces: list[bytes], *, eof: bool) -> tuple[Taken, bool]:
    """Feeds a client connection's answer. Returns what the sink saw, and whether the connection would be used again."""
    pool = Pool(Origin("http", "127.0.0.1", 1, allow_private=True))
    pool._loop = _LOOP
    pool.open = 1
    connection = Connection(pool, _LOOP)
    transport: Any = Transport()
    connection.connection_made(transport)
    taken = Taken()
    connection.send(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", taken, replay_safe=False)
    for piece in pieces:
        if transport.closed or taken.what != "open":
            break
        connection.data_received(piece)
    kept = taken.what == "end" and not transport.closed
    if eof and not transport.closed:
        connection.eof_received()
    connection.connection_lost(None)
    assert pool.open == 0 and pool.idle == 0
    return taken, kept


def cut(data: bytes, places: list[int]) -> list[bytes]:
    """``data`` in pieces, cut at the given places (taken modulo its length)."""
    marks = sorted({place % len(data) for place in places} - {0}) if data else []
    return [data[a:b] for a, b in zip([0, *marks], [*marks, len(data)], strict=True) if a < b]
