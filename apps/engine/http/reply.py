"""One request's answer over ASGI: whole, or as a stream of events."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import msgspec

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]
encode = msgspec.json.Encoder().encode
EVENTS: Headers = ((b"content-type", b"text/event-stream; charset=utf-8"), (b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))
DONE = b"data: [DONE]\n\n"


class Reply:
    """started: whether anything was sent: then no status can be told any more."""

    __slots__ = ("_send", "started")

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False

    async def json(self, document: object, status: int = 200, headers: Headers = ()) -> None:
        await self.whole(encode(document), b"application/json", status, headers)

    async def whole(self, body: bytes, kind: bytes, status: int = 200, headers: Headers = ()) -> None:
        self.started = True
        length = str(len(body)).encode()
        await self._send(
            {"type": "http.response.start", "status": status, "headers": [(b"content-type", kind), (b"content-length", length), *headers]}
        )
        await self._send({"type": "http.response.body", "body": body})

    async def events(self, data: bytes) -> None:
        """Send events, whole ones; the head first. Waits where the client reads slowly."""
        if not self.started:
            self.started = True
            await self._send({"type": "http.response.start", "status": 200, "headers": list(EVENTS)})
        await self._send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        await self._send({"type": "http.response.body", "body": data})
