"""A hub for tests, on loopback: the few calls that the agent makes, with weights that lie elsewhere, as the real one keeps them."""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """repositories: id -> files of its one commit. gated: ids that the token ``hf_right`` opens. cut: a file's name -> after so many bytes
    the connection ends, once. asked: (path, range, authorization) of each call. stored: the authority to which weights are redirected."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.gated: set[str] = set()
        self.cut: dict[str, int] = {}
        self.wrong: set[str] = set()
        self.fails = 0
        self.asked: list[tuple[str, str, str]] = []
        self.url = self.stored = ""

    def said(self, what: str) -> list[tuple[str, str, str]]:
        return [one for one in self.asked if what in one[0]]


@contextmanager
def hub_server() -> Iterator[Hub]:
    hub = Hub()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            range_, key = self.headers.get("range", ""), self.headers.get("authorization", "")
            hub.asked.append((parts.path, range_, key))
            if hub.fails:
                hub.fails -= 1
                return self.answer(503, b"busy")
            if parts.path.startswith("/stored/"):
                return self.file(*parse_qs(parts.query)["of"][0].split("|"), range_)
            name = parts.path.removeprefix("/api/models/").split("/revision/")[0] if "/api/" in parts.path else ""
            if not name:
                name, _, rest = parts.path[1:].partition("/resolve/")
            files = hub.repositories.get(name)
            if files is None:
                return self.answer(401, b"", "RepoNotFound")
            if name in hub.gated and key != "Bearer hf_right":
                return self.answer(403, b"", "GatedRepo")
            if "/api/" in parts.path:
                if parts.path.rpartition("/")[2] not in ("main", COMMIT):
                    return self.answer(404, b"", "RevisionNotFound")
                return self.answer(200, json.dumps({"sha": COMMIT, "siblings": [self.sibling(*one) for one in files.items()]}).encode())
            commit, _, file = rest.partition("/")
            assert commit == COMMIT, "never a branch, which may move meanwhile"
            if file.endswith((".safetensors", ".bin")):
                self.send_response(302)
                self.send_header("location", f"{hub.stored}/stored/x?of={name}|{file}")
                self.send_header("content-length", "0")
                self.end_headers()
                return None
            return self.file(name, file, range_)

        @staticmethod
        def sibling(name: str, data: bytes) -> dict[str, object]:
            lfs = {"lfs": {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}} if name.endswith(".safetensors") else {}
            return {"rfilename": name, "size": len(data), **lfs}

        def file(self, name: str, file: str, range_: str) -> None:
            data = hub.repositories[name][file]
            if file in hub.wrong:
                hub.wrong.discard(file)
                data = bytes(len(data))
            begin = int(range_.removeprefix("bytes=").rstrip("-")) if range_ else 0
            self.send_response(206 if range_ else 200)
            self.send_header("content-length", str(len(data) - begin))
            self.end_headers()
            end = hub.cut.pop(file, None)
            self.wfile.write(data[begin:] if end is None else data[begin:end])
            if end is not None:
                self.close_connection = True

        def answer(self, status: int, body: bytes, code: str = "") -> None:
            self.send_response(status)
            if code:
                self.send_header("x-error-code", code)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None:
            pass

    servers = [ThreadingHTTPServer(("127.0.0.1", 0), Handler) for _ in range(2)]
    hub.url, hub.stored = (f"http://127.0.0.1:{server.server_address[1]}" for server in servers)
    threads = [threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True) for server in servers]
    for thread in threads:
        thread.start()
    try:
        yield hub
    finally:
        for server in servers:
            server.shutdown()
            server.server_close()
