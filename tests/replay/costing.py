"""A stand-in for the proxy that tells costs as the proxy does: in a header on JSON answers, in the record for streams."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}


class CostingProxy:
    """Every answer costs ``nano``; a record is there only after it was asked for ``pending`` times."""

    def __init__(self, *, nano: int, pending: int) -> None:
        outer = self
        self._asked: dict[str, int] = {}
        self._count = 0

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, format: str, *args: Any) -> None:
                pass

            def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
                self.send_response(status)
                for name, value in {**headers, "content-length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def do_POST(self) -> None:
                request = json.loads(self.rfile.read(int(self.headers["content-length"])))
                outer._count += 1
                headers = {"x-bulkhead-request-id": f"r{outer._count}"}
                if request.get("stream"):
                    event = json.dumps({"choices": [], "usage": USAGE}, separators=(",", ":"))
                    self._send(200, f"data: {event}\n\ndata: [DONE]\n\n".encode(), headers)
                else:
                    self._send(200, json.dumps({"usage": USAGE}).encode(), {**headers, "x-bulkhead-cost-nano": str(nano)})

            def do_GET(self) -> None:
                asked = outer._asked[self.path] = outer._asked.get(self.path, 0) + 1
                assert self.path.startswith("/v1/requests/r")
                if asked <= pending:
                    self._send(404, b'{"error":{"code":"request_not_found"}}', {})
                else:
                    self._send(200, json.dumps({"cost_nano": nano}).encode(), {})

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    def __enter__(self) -> CostingProxy:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
