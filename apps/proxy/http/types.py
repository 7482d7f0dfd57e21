"""The border between sockets and everything above: what a request, a reply and an upstream answer look like.

Both sides are callback-driven and synchronous where no waiting is needed: a keep-alive request whose upstream
connection is idle runs from ``data_received`` to ``transport.write`` without a task switch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol


class Flow(Protocol):
    """Something that can be told to stop and go on producing (backpressure)."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Request:
    """One parsed request with its whole body.

    method: ``"POST"``. path: decoded from the target, without the query. query: raw, without ``?``.
    headers: lower-case names to values; repeated fields joined with ``b", "`` (RFC 9110 5.2), those that
    must not repeat were refused before. arrived: ``time.perf_counter_ns()`` at the first byte of the head.
    peer: the client's address. http_10: the client speaks HTTP/1.0.
    """

    __slots__ = ("arrived", "body", "headers", "http_10", "method", "path", "peer", "plain", "query")

    def __init__(
        self,
        method: str,
        path: str,
        query: bytes,
        headers: dict[bytes, bytes],
        body: bytes,
        arrived: int,
        peer: str,
        http_10: bool,
        plain: bool = False,
    ) -> None:
        self.method = method
        self.path = path
        self.query = query
        self.headers = headers
        self.body = body
        self.arrived = arrived
        self.peer = peer
        self.http_10 = http_10
        self.plain = plain
        """Known to carry no header that steps look for besides the key: a JSON body as it is, nothing of ``x-bulkhead-*``, no
        idempotency, no trace."""


class Gone(Protocol):
    def __call__(self) -> None: ...


class Reply(Protocol):
    """Where the answer to one request goes. Exactly one of ``send`` or ``start``..``finish``/``abort`` is used.

    ``headers`` is a rendered block, ``b"name: value\\r\\n..."``, without content-length, transfer-encoding,
    connection and date: those are this layer's. Calls after the client has gone do nothing.
    """

    on_gone: Gone | None
    """Called once, when the client leaves before the answer is finished."""
    gone: bool

    def set_flow(self, flow: Flow | None) -> None:
        """Who produces the body: paused while the client reads slower than we write."""

    def send(self, status: int, headers: bytes, body: bytes) -> None:
        """The whole answer in one write."""

    def start(self, status: int, headers: bytes, data: bytes = b"") -> None:
        """Begin an answer of unknown length (chunked; delimited by close for HTTP/1.0). data: the body's beginning, in the same write."""

    def write(self, data: bytes) -> None:
        """A piece of the body; never empty."""

    def raw_writer(self) -> Callable[[bytes], None] | None:
        """After ``start``: what takes whole chunks as they lie on the wire; None where this answer is not chunked."""

    def finish(self, data: bytes = b"") -> None:
        """The body is whole. data: its last piece, in the same write."""

    def abort(self) -> None:
        """Break the connection without a clean end: a truncated answer must not look whole."""


class App(Protocol):
    """What the server calls with each request, in order per connection, one at a time per connection."""

    def __call__(self, request: Request, reply: Reply) -> None: ...


class Sink(Protocol):
    """Receives one upstream answer. After ``end`` or ``failed`` nothing more is called."""

    def head(self, status: int, headers: dict[bytes, bytes]) -> None:
        """The final status (1xx are swallowed by the layer) and lower-case headers."""

    def data(self, chunk: bytes) -> None:
        """A piece of the body with the transfer coding removed."""

    def flush(self) -> None:
        """All pieces that came in one read were given: what they amount to may go on in one write. Not called after ``end``."""

    def end(self) -> None:
        """The body is whole, as its framing proves."""

    def failed(self, error: Exception) -> None:
        """An ``UpstreamError`` (``apps.proxy.http.errors``): reset, truncated, malformed, timed out."""
