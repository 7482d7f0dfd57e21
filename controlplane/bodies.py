"""What is sent to the control plane has a largest size, kept before anything of it is stored.

Django's ASGI handler writes a request's whole body to a temporary file before any of its own code runs, so a limit in a form or view comes
too late for the disk. Here a body that says that it is larger, or turns out to be, is read to its end and thrown away, at most
``PATIENCE`` times the limit of it, so that a browser hears the answer instead of a broken connection.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

Message = dict[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Application = Callable[[dict[str, Any], Receive, Send], Awaitable[None]]

MOST_BYTES = 11 * 2**20
"""Of a body: the largest file that any form takes (10 MB), and what a form adds to it."""
PATIENCE = 8
"""So many times the limit is read to be thrown away; then the connection ends."""
_TEXT = (
    b"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'><title>Too large</title>"
    b"<h1>This is too large</h1><p>At most 10 MB can be sent at once, and nothing of this was stored. Go back and send less: "
    b"of an export, a shorter time, or days instead of minutes.</p>"
)


class BodyLimit:
    """An ASGI application behind a limit on its requests' bodies."""

    def __init__(self, application: Application, *, most_bytes: int = MOST_BYTES) -> None:
        self._application = application
        self._most = most_bytes

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._application(scope, receive, send)
            return
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        if length.isdigit() and int(length) > self._most:
            await self._refuse(receive, send, 0, ended=False)
            return
        if length:
            await self._application(scope, receive, send)  # the server holds it to what it says
            return
        await self._counted(scope, receive, send)

    async def _counted(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """A body of a length that nobody said: passed on while it is short enough."""
        seen = 0
        refused = ended = False

        async def counted() -> Message:
            nonlocal seen, refused, ended
            message = await receive()
            if message["type"] == "http.request":
                seen += len(message.get("body", b""))
                if seen > self._most:
                    refused, ended = True, not message.get("more_body", False)
                    return {"type": "http.disconnect"}  # what came so far is dropped, and nothing is answered by whoever asked
            return message

        async def quiet(message: Message) -> None:
            if not refused:
                await send(message)

        await self._application(scope, counted, quiet)
        if refused:
            await self._refuse(receive, send, seen, ended=ended)

    async def _refuse(self, receive: Receive, send: Send, seen: int, *, ended: bool) -> None:
        while not ended and seen <= self._most * PATIENCE:
            message = await receive()
            if message["type"] != "http.request":
                return
            seen += len(message.get("body", b""))
            ended = not message.get("more_body", False)
        headers = [(b"content-type", b"text/html; charset=utf-8"), (b"content-length", str(len(_TEXT)).encode()), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 413, "headers": headers})
        await send({"type": "http.response.body", "body": _TEXT})
