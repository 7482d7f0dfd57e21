"""Static files, answered before Django is asked: a page is painted once its stylesheet is there, and Django's way to it leads through a
thread and the middleware of every page. Which files there are, and their headers, is WhiteNoise's; whatever it does not know goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from controlplane.bodies import Application, Receive, Send

CHUNK = 256 * 1024
ASKED = {
    b"accept-encoding": "HTTP_ACCEPT_ENCODING",
    b"if-none-match": "HTTP_IF_NONE_MATCH",
    b"if-modified-since": "HTTP_IF_MODIFIED_SINCE",
    b"range": "HTTP_RANGE",
}
"""What WhiteNoise reads of a request, as it names it."""
ADDED = [(b"x-content-type-options", b"nosniff"), (b"cross-origin-opener-policy", b"same-origin"), (b"referrer-policy", b"same-origin")]
"""As Django's security middleware has it."""


class StaticFirst:
    """An ASGI application behind its static files. files: path -> ``whitenoise.responders.StaticFile``, as they are when it starts."""

    def __init__(self, application: Application, files: Mapping[str, Any]) -> None:
        self._application = application
        self._files = files

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        found = self._files.get(scope["path"]) if scope["type"] == "http" and scope["method"] in ("GET", "HEAD") else None
        if found is None:
            await self._application(scope, receive, send)
            return
        asked = {ASKED[name]: value.decode("latin-1") for name, value in scope["headers"] if name in ASKED}
        answer = found.get_response(scope["method"], asked)
        headers = [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in answer.headers]
        await send({"type": "http.response.start", "status": int(answer.status), "headers": [*headers, *ADDED]})
        if answer.file is not None:
            with answer.file as file:
                while part := file.read(CHUNK):
                    await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": b"", "more_body": False})
