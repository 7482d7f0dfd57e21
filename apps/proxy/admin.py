"""The admin port of one process, loopback by default: ``/readyz``, ``/metrics``, ``/states``, ``/healthz``. Never the public one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from apps.proxy.compiled import in_use

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
NOT_READY_FILL = 0.8
"""A journal fuller than this takes this proxy out of rotation before it must refuse."""


class AdminApp:
    def __init__(self, engine: Engine, store: Store | None, *, boot_id: str, name: str) -> None:
        self._engine = engine
        self._store = store
        self._boot_id = boot_id
        self._name = name
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
        if request.method not in ("GET", "HEAD"):
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
