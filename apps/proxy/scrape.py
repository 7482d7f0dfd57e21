"""What one proxy process says at ``/metrics``: its counters, and how it stands at this moment. Put together when somebody asks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from apps.contracts.exposition import FINE_SECONDS, Distribution, Family, Folding, Sample, folded_family, gauge, in_seconds
from apps.proxy.compiled import in_use

if TYPE_CHECKING:
    from apps.proxy.engine import Engine
    from apps.proxy.overrides import Overrides
    from apps.proxy.store import Store

MOST_BUDGETS = 100
MOST_LIMITS = 100
MIRRORED = (
    ("answers", "Answers of mirrors that were compared with those that apps were given."),
    ("failed", "Copies that no mirror answered."),
    ("similarity", "Sum over compared answers of the share of words in common, 0 to 1."),
    ("finish_differs", "Compared JSON answers that ended for another reason."),
)
"""Of ``apps.proxy.mirror.Compared``, by route."""
BREAKER_STATES = ("closed", "open", "half_open")


class Scrape:
    """Labels stay bounded for as long as the process lives (``apps.contracts.exposition.Folding``)."""

    def __init__(self, engine: Engine, store: Store | None, overrides: Overrides | None) -> None:
        self._engine = engine
        self._store = store
        self._overrides = overrides
        metrics = engine.metrics
        self._targets = metrics.targets
        self._routes = metrics.routes
        self._bulkheads = Folding("bulkhead", metrics.targets.most)
        self._budgets = Folding("budget", MOST_BUDGETS)
        self._limits = Folding("limit", MOST_LIMITS)

    def families(self, *, ready: bool) -> list[Family]:
        """ready: whether this process takes traffic."""
        foldings = (self._engine.metrics.codes, self._targets, self._routes, self._bulkheads, self._budgets, self._limits)
        found = [
            *self._engine.metrics.families(),
            *self._process(ready),
            *self._breakers(),
            *self._queues(),
            *self._money(),
            *self._mirrors(),
            *self._samples(),
            *self._shares(),
        ]
        return [*found, folded_family(foldings)]

    def _process(self, ready: bool) -> list[Family]:
        engine = self._engine
        journal = engine.journal
        connected = self._store is not None and self._store.connected
        return [
            gauge("bulkhead_requests_running", "Requests being answered.", engine.metrics.running),
            gauge("bulkhead_config_version", "Config version in force.", engine.holder.current.version),
            gauge("bulkhead_journal_fill_ratio", "Journal bytes on disk as a share of the bound.", journal.fill, "ratio"),
            gauge("bulkhead_journal_failing", "1 while the journal cannot take records.", int(bool(journal.failed))),
            Family("bulkhead_journal_frames", "counter", "Records written to the journal.", [Sample((), journal.records)]),
            gauge("bulkhead_compiled", "1 when the hot path runs compiled, 0 when it is interpreted.", int(in_use())),
            gauge("bulkhead_ready", "1 when this process takes traffic.", int(ready)),
            gauge("bulkhead_database_connected", "1 when Postgres answers.", int(connected)),
            gauge(
                "bulkhead_overrides",
                "Overrides of this host that are in force: flags switched without the control plane.",
                len(self._overrides.in_force()) if self._overrides is not None else 0,
            ),
            gauge("bulkhead_limits_shared", "1 while limits are shared with the other proxies through Redis.", int(not engine.limits.away)),
            gauge("bulkhead_limits_proxies", "Proxies among which limits are shared, as last known.", engine.limits.proxies),
        ]

    def _samples(self) -> list[Family]:
        """What became of requests that somebody wanted captured."""
        recorder = self._engine.recorder
        if recorder is None:
            return []
        counts = (("dropped", recorder.dropped), ("written", recorder.written))
        text = "Samples of requests that somebody asked for: written to the spool, or dropped because it or the queue was full."
        return [Family("bulkhead_captured_samples", "counter", text, [Sample((("result", name),), count) for name, count in counts])]

    def _breakers(self) -> list[Family]:
        rows = self._engine.states.breakers.view(self._engine.loop.time())
        by_state: dict[tuple[str, str], float] = {}
        for row in rows:
            target = self._targets.place(str(row["label"]))
            for state in BREAKER_STATES:
                by_state[target, state] = by_state.get((target, state), 0) + (row["state"] == state)
        return [
            Family(
                "bulkhead_breaker_state",
                "gauge",
                "1 for the state that a target's breaker is in: closed, open or half_open.",
                [Sample((("target", target), ("state", state)), value) for (target, state), value in sorted(by_state.items())],
            ),
            self._summed(
                "bulkhead_breaker_open",
                "gauge",
                "1 while a target's breaker lets nothing through or only a probe.",
                self._targets,
                ((str(row["label"]), float(row["state"] != "closed")) for row in rows),
            ),
            self._summed(
                "bulkhead_breaker_openings",
                "counter",
                "How often a target's breaker has opened.",
                self._targets,
                ((str(row["label"]), _float(row["openings"])) for row in rows),
            ),
        ]

    def _queues(self) -> list[Family]:
        bulkheads = self._engine.states.bulkheads
        rows = bulkheads.view()
        found, total = in_seconds(bulkheads.waits(), FINE_SECONDS)
        families = [
            self._summed(name, kind, text, self._bulkheads, ((str(row["name"]), _float(row[column])) for row in rows))
            for name, kind, text, column in (
                ("bulkhead_slots_limit", "gauge", "Requests that may run at once.", "limit"),
                ("bulkhead_slots_running", "gauge", "Requests that run.", "running"),
                ("bulkhead_slots_waiting", "gauge", "Requests that wait.", "waiting"),
                ("bulkhead_shed", "counter", "Requests turned away: no place to wait.", "shed"),
                ("bulkhead_queue_expired", "counter", "Requests that waited in vain.", "expired"),
            )
        ]
        waits = Family(
            "bulkhead_queue_wait_seconds",
            "histogram",
            "How long requests waited for a place, those that had to.",
            [Distribution((), found, total)],
            "seconds",
            FINE_SECONDS,
        )
        return [*families, waits]

    def _money(self) -> list[Family]:
        rows = [(budget, amounts) for budget, *amounts in self._engine.leases.held()]
        return [
            self._summed(name, "gauge", text, self._budgets, ((budget, amounts[at] / 1e9) for budget, amounts in rows), "dollars")
            for at, (name, text) in enumerate(
                (
                    ("bulkhead_lease_held_dollars", "Slice of a budget that this process holds and has not spent."),
                    ("bulkhead_lease_available_dollars", "Of that, what new requests may reserve."),
                    ("bulkhead_lease_reserved_dollars", "Of that, what running requests have reserved."),
                )
            )
        ]

    def _mirrors(self) -> list[Family]:
        compared: Mapping[str, Any] = self._engine.mirrors.compared
        return [
            self._summed(
                f"bulkhead_mirror_{name}",
                "counter",
                text,
                self._routes,
                ((route, float(getattr(row, name))) for route, row in compared.items()),
            )
            for name, text in MIRRORED
        ]

    def _shares(self) -> list[Family]:
        rows = self._engine.limits.view()
        return [
            self._summed(name, kind, text, self._limits, ((str(row["id"]), _float(row[column])) for row in rows))
            for name, kind, text, column in (
                ("bulkhead_limit_share", "gauge", "Permits that this process has.", "share"),
                ("bulkhead_limit_used", "gauge", "Of those, in use or resting.", "used"),
                ("bulkhead_limit_refused", "counter", "Refused by a limit.", "refused"),
            )
        ]

    @staticmethod
    def _summed(name: str, kind: Any, text: str, folding: Folding, rows: Iterable[tuple[str, float]], unit: str = "") -> Family:
        """One value for each place of the folding's label."""
        values: dict[str, float] = {}
        for value, amount in rows:
            place = folding.place(value)
            values[place] = values.get(place, 0.0) + amount
        return Family(name, kind, text, [Sample(((folding.label, place),), amount) for place, amount in sorted(values.items())], unit)


def _float(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0
