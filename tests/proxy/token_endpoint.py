"""A token endpoint on this machine, as Google's and Entra's: checks what it is asked, and gives the token that it was told to give."""

from __future__ import annotations

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any
from urllib.parse import parse_qs

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from google.auth import jwt

_PRIVATE = rsa.generate_private_key(public_exponent=65537, key_size=2048)
_PEM = _PRIVATE.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
_PUBLIC = _PRIVATE.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
SECRET = "entra-secret~42"


class TokenEndpoint:
    """token, lasts: what is given from now on. Asked at /disabled it refuses. asked: how often it was."""

    def __init__(self, token: str, lasts: int = 3600) -> None:
        self.token = token
        self.lasts = lasts
        self.asked = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)

    @property
    def google(self) -> str:
        """A service account's key file that leads here."""
        account = {"type": "service_account", "client_email": "bulkhead@acme.example", "private_key_id": "key-1", "private_key": _PEM}
        return json.dumps({**account, "token_uri": f"{self.url}/google", "project_id": "acme"})

    @property
    def entra(self) -> str:
        """An application whose authority is here."""
        return json.dumps({"type": "entra", "tenant_id": "t-1", "client_id": "c-1", "client_secret": SECRET, "authority": self.url})

    def __enter__(self) -> TokenEndpoint:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _judge(self, path: str, form: dict[str, list[str]]) -> tuple[int, dict[str, Any]]:
        self.asked += 1
        if path == "/disabled":
            return 403, {"error": "access_denied", "error_description": "the account was disabled"}
        if path == "/google":
            claims = jwt.decode(form["assertion"][0], certs=_PUBLIC, audience=f"{self.url}/google")
            good = claims["iss"] == "bulkhead@acme.example" and "cloud-platform" in claims["scope"]
        else:
            good = path == "/t-1/oauth2/v2.0/token" and form["client_secret"] == [SECRET] and form["grant_type"] == ["client_credentials"]
        if not good:
            return 400, {"error": "invalid_request"}
        return 200, {"access_token": self.token, "expires_in": self.lasts, "token_type": "Bearer"}

    def _handler(endpoint) -> type[BaseHTTPRequestHandler]:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["content-length"])).decode())
                status, said = endpoint._judge(self.path, form)
                body = json.dumps(said).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        return Handler
