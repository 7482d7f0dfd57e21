"""The admin port of one process, loopback by default: ``/readyz``, ``/metrics``, ``/states``, ``/healthz``. Never the public one."""

from __future__ import annotations

from hmac import compare_digest
from ipaddress import ip_address
from typing import TYPE_CHECKING

import msgspec

from apps.contracts.overrides import TOKEN_HEADER, OverrideAsk
from apps.proxy.compiled import in_use
from apps.proxy.overrides import OverrideRefused, Overrides

if TYPE_CHECKING:
    from apps.proxy.engine import Engine
    from apps.proxy.http.types import Reply, Request
    from apps.proxy.metrics import Family
    from apps.proxy.store import Store

MIRRORED = (
    ("answers", "Answers of mirrors that were compared with those that apps were given."),
    ("failed", "Copies that no mirror answered."),
    ("similarity", "Sum over compared answers of the share of words in common, 0 to 1."),
    ("finish_differs", "Compared JSON answers that ended for another reason."),
)
"""Of ``apps.proxy.mirror.Compared``, by route."""
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
            engine = self._engine
            gauges = [
                ("bulkhead_requests_running", "Requests being answered.", engine.metrics.running),
                ("bulkhead_config_version", "Config version in force.", engine.holder.current.version),
                ("bulkhead_journal_fill_ratio", "Journal bytes on disk as a share of the bound.", engine.journal.fill),
                ("bulkhead_compiled", "1 when the hot path runs compiled, 0 when it is interpreted.", int(in_use())),
                ("bulkhead_ready", "1 when this process takes traffic.", 0 if self.readiness() else 1),
                ("bulkhead_database_connected", "1 when Postgres answers.", 1 if self._store is not None and self._store.connected else 0),
                (
                    "bulkhead_overrides",
                    "Overrides of this host that are in force: flags switched without the control plane.",
                    len(self._overrides.in_force()) if self._overrides is not None else 0,
                ),
                ("bulkhead_limits_shared", "1 while limits are shared with the other proxies through Redis.", int(not engine.limits.away)),
                ("bulkhead_limits_proxies", "Proxies among which limits are shared, as last known.", engine.limits.proxies),
            ]
            reply.send(200, b"content-type: text/plain; version=0.0.4; charset=utf-8\r\n", engine.metrics.render(gauges, self._labelled()))
        elif request.path == "/states":
            states = self._engine.states
            reply.send(200, JSON, _encode({"targets": states.view(), "bulkheads": states.bulkheads.view(), **self._limits()}))
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

    def _labelled(self) -> list[Family]:
        """What /metrics says of each breaker, bulkhead and limit."""
        states = self._engine.states
        breakers = states.breakers.view(self._engine.loop.time())
        bulkheads = states.bulkheads.view()
        limits = self._engine.limits.view()

        mirrors = self._engine.mirrors.compared

        def family(name: str, kind: str, text: str, label: str, rows: list[tuple[object, object]]) -> Family:
            return name, kind, text, label, [(str(row), float(value)) for row, value in rows]  # type: ignore[arg-type]

        return [
            family(
                "bulkhead_breaker_open",
                "gauge",
                "1 while a target's breaker lets nothing through or only a probe.",
                "target",
                [(row["label"], row["state"] != "closed") for row in breakers],
            ),
            family(
                "bulkhead_breaker_openings_total",
                "counter",
                "How often a target's breaker has opened.",
                "target",
                [(row["label"], row["openings"]) for row in breakers],
            ),
            family(
                "bulkhead_slots_limit",
                "gauge",
                "Requests that may run at once.",
                "bulkhead",
                [(row["name"], row["limit"]) for row in bulkheads],
            ),
            family(
                "bulkhead_slots_running", "gauge", "Requests that run.", "bulkhead", [(row["name"], row["running"]) for row in bulkheads]
            ),
            family(
                "bulkhead_slots_waiting", "gauge", "Requests that wait.", "bulkhead", [(row["name"], row["waiting"]) for row in bulkheads]
            ),
            family(
                "bulkhead_shed_total",
                "counter",
                "Requests turned away: no place to wait.",
                "bulkhead",
                [(row["name"], row["shed"]) for row in bulkheads],
            ),
            family(
                "bulkhead_queue_expired_total",
                "counter",
                "Requests that waited in vain.",
                "bulkhead",
                [(row["name"], row["expired"]) for row in bulkheads],
            ),
            *(
                family(
                    f"bulkhead_mirror_{name}_total",
                    "counter",
                    text,
                    "route",
                    [(route, getattr(found, name)) for route, found in mirrors.items()],
                )
                for name, text in MIRRORED
            ),
            family(
                "bulkhead_limit_share", "gauge", "Permits that this process has.", "limit", [(row["id"], row["share"]) for row in limits]
            ),
            family("bulkhead_limit_used", "gauge", "Of those, in use or resting.", "limit", [(row["id"], row["used"]) for row in limits]),
            family(
                "bulkhead_limit_refused_total", "counter", "Refused by a limit.", "limit", [(row["id"], row["refused"]) for row in limits]
            ),
        ]
