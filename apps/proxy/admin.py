"""The admin port of one process, loopback by default: ``/readyz``, ``/metrics``, ``/states``, ``/healthz``. Never the public one."""

from __future__ import annotations

from hmac import compare_digest
from ipaddress import ip_address
from typing import TYPE_CHECKING

import msgspec

from apps.contracts.exposition import rendered
from apps.contracts.overrides import TOKEN_HEADER, OverrideAsk
from apps.proxy.compiled import in_use
from apps.proxy.overrides import OverrideRefused, Overrides
from apps.proxy.scrape import Scrape

if TYPE_CHECKING:
    from apps.proxy.engine import Engine
    from apps.proxy.http.types import Reply, Request
    from apps.proxy.store import Store

JSON = b"content-type: application/json\r\n"
_encode = msgspec.json.Encoder().encode
_ask = msgspec.json.Decoder(OverrideAsk).decode
NOT_READY_FILL = 0.8
"""A journal fuller than this takes this proxy out of rotation before it must refuse."""


def _loopback(peer: str) -> bool:
    try:
        return ip_address(peer).is_loopback
    except ValueError:
        return False


class AdminApp:
    def __init__(
        self, engine: Engine, store: Store | None, *, boot_id: str, name: str, overrides: Overrides | None = None, token: str = ""
    ) -> None:
        """overrides: None: this process takes none. token: what whoever asks for one must know."""
        self._engine = engine
        self._store = store
        self._boot_id = boot_id
        self._name = name
        self._overrides = overrides
        self._token = token
        self._scrape = Scrape(engine, store, overrides)
        self.draining = False

    def readiness(self) -> list[str]:
        """Why this process should get no traffic; empty when it is ready."""
        reasons = []
        if self._engine.holder.current.version == 0:
            reasons.append("no config yet")
        if self._engine.journal.failed:
            reasons.append(f"journal: {self._engine.journal.failed}")
        elif self._engine.journal.fill >= NOT_READY_FILL:
            reasons.append(f"journal is {self._engine.journal.fill:.0%} full: is the shipper running?")
        if self.draining:
            reasons.append("draining")
        return reasons

    def __call__(self, request: Request, reply: Reply) -> None:
        if request.path == "/overrides" or request.path.startswith("/overrides/"):
            status, told = self._override(request)
            reply.send(status, JSON, _encode(told))
        elif request.method not in ("GET", "HEAD"):
            reply.send(405, JSON + b"allow: GET\r\n", b'{"error":"use GET"}')
        elif request.path == "/readyz":
            reasons = self.readiness()
            body = _encode(
                {
                    "ready": not reasons,
                    "reasons": reasons,
                    "name": self._name,
                    "boot_id": self._boot_id,
                    "config_version": self._engine.holder.current.version,
                    "database": self._store is not None and self._store.connected,
                    "running": self._engine.metrics.running,
                    "compiled": in_use(),
                    "overrides": [override.words() for override in self._overrides.in_force()] if self._overrides is not None else [],
                }
            )
            reply.send(503 if reasons else 200, JSON, body)
        elif request.path == "/metrics":
            accept = request.headers.get(b"accept", b"").decode("latin-1")
            kind, text = rendered(self._scrape.families(ready=not self.readiness()), accept)
            reply.send(200, f"content-type: {kind}\r\n".encode(), text)
        elif request.path == "/states":
            states = self._engine.states
            known = {"targets": states.view(), "bulkheads": states.bulkheads.view(), "fleet": self._engine.fleet.view()}
            reply.send(200, JSON, _encode({**known, **self._limits()}))
        elif request.path == "/healthz":
            reply.send(200, JSON, b'{"status":"ok"}')
        else:
            reply.send(404, JSON, b'{"error":"the admin port serves /readyz, /metrics, /states and /healthz"}')

    def _override(self, request: Request) -> tuple[int, object]:
        """(status, what is said). Asked by ``manage.py override`` on this host, by nobody else: not from another host, not by a page
        that a browser here has open, not by a user of this host who may not read the proxy's directory."""
        overrides = self._overrides
        if overrides is None:
            return 404, {"error": "this proxy takes no overrides"}
        if not _loopback(request.peer) or b"origin" in request.headers:
            return 403, {"error": "overrides are taken from this host's own command line only: run manage.py override there"}
        if not compare_digest(request.headers.get(TOKEN_HEADER.encode(), b""), self._token.encode()):
            return 403, {"error": f"the header {TOKEN_HEADER} does not say what this proxy's admin.json says"}
        try:
            if request.method == "GET" and request.path == "/overrides":
                return 200, {"overrides": overrides.told()}
            if request.method == "POST" and request.path == "/overrides":
                return 200, overrides.add(_ask(request.body))
            if request.method == "DELETE" and request.path != "/overrides":
                return 200, overrides.end(request.path.removeprefix("/overrides/"))
        except (OverrideRefused, msgspec.MsgspecError, UnicodeDecodeError) as refused:
            return 400, {"error": str(refused)}
        except OSError as error:
            return 503, {"error": f"the override cannot be kept, so it is not in force: {error}"}
        return 405, {"error": "use GET or POST on /overrides, DELETE on /overrides/<id>"}

    def _limits(self) -> dict[str, object]:
        limits, keeper = self._engine.limits, self._engine.shares
        state = keeper.state if keeper is not None else "none"
        return {"limits": {"state": state, "proxies": limits.proxies, "windows": limits.view()}}
