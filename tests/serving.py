"""A real HTTP server on loopback for the time of a test, in a thread of its own."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TypeVar

Served = TypeVar("Served", bound=ThreadingHTTPServer)


class QuietHandler(BaseHTTPRequestHandler):
    """Says nothing of requests on the terminal."""

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def serving(server: Served, tls: ssl.SSLContext | None = None) -> Iterator[Served]:
    """``server`` answers inside the block; with ``tls`` behind it."""
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
