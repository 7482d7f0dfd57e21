"""The shipper's own small port for Prometheus, in a thread of its own: ``/metrics`` and ``/healthz``. Loopback by default; who may read
follows from where it listens, as with a proxy's admin port. It holds no secret and takes nothing."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from apps.contracts.exposition import Family, rendered

log = logging.getLogger("bulkhead.shipper")

READ_SECONDS = 10.0
POLL_SECONDS = 0.1
"""How soon it notices that it is to stop."""


class ScrapePort:
    """Serves what ``families`` gives. Raises OSError where the address cannot be had."""

    def __init__(self, host: str, port: int, families: Callable[[], list[Family]]) -> None:
        self._server = _Server((host, port), _handler(families))
        self._thread = threading.Thread(target=self._server.serve_forever, args=(POLL_SECONDS,), name="metrics", daemon=True)

    @property
    def url(self) -> str:
        host, port = self._server.server_address[:2]
        host = host.decode() if isinstance(host, bytes) else host
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        log.debug("a scrape broke off", exc_info=True)


def _handler(families: Callable[[], list[Family]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = READ_SECONDS
        server_version = "bulkhead-shipper"
        sys_version = ""

        def do_GET(self) -> None:
            path = self.path.partition("?")[0]
            if path == "/metrics":
                kind, body = rendered(families(), self.headers.get("accept", ""))
                self._answer(200, kind, body)
            elif path == "/healthz":
                self._answer(200, "application/json", b'{"status":"ok"}')
            else:
                self._answer(404, "application/json", b'{"error":"this port serves /metrics and /healthz"}')

        do_HEAD = do_GET

        def _answer(self, status: int, kind: str, body: bytes) -> None:
            self.send_response(status)
            self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            return

    return Handler
