"""What one shipper counted, for Prometheus: requests, tokens, cost and latency by organisation, route, provider and model, and how
settlement goes.

Each request is counted when it is settled, once, from the sums that go into the rollups: so these figures agree with the pages, and
those of all shippers add up to the installation's, whatever proxies served the requests. A shipper's own counters start at zero.

Names with ``gen_ai_`` are OpenTelemetry's for generative AI. ``simulated`` is a label because no total may mix the two.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from apps.contracts.exposition import (
    FINE_SECONDS,
    OTHER,
    SECONDS,
    Distribution,
    Exemplar,
    Family,
    Folding,
    Labels,
    Sample,
    counter,
    folded_family,
    gauge,
    in_seconds,
)
from apps.contracts.identifiers import uuid_text
from apps.contracts.usage import UsageRecord
from apps.settlement.services import Settled
from apps.settlement.tally import tally_merge
from apps.usage.documents import serving_attempt
from apps.usage.rollups import ATTEMPT_MARK, COUNTERS, Cell, Cells

MOST_SERIES = 200
"""Combinations of organisation, route, provider and model told apart; each is some fifty lines of text."""
MOST_CODES = 100
OUTCOMES = ("ok", "error", "cancelled", "refused", "unknown")
_AT = {name: place for place, name in enumerate(COUNTERS)}
_Key = tuple[str, bool, str, str, str]


class ShipperMetrics:
    """Counts in the shipper's thread, told in the scraper's. name_of: an organisation's short name by its id, asked while counting.
    most: combinations told apart."""

    def __init__(self, name_of: Callable[[str], str], *, most: int = MOST_SERIES) -> None:
        self._name_of = name_of
        self._lock = threading.Lock()
        self._sums: Cells = {}
        self._kinds: dict[tuple[str, str], str] = {}
        """(organisation, route) -> what its requests ask for; empty where both are asked of it."""
        self._further: Counter[tuple[str, bool, str, str, str]] = Counter()
        """(organisation, simulated, provider, role, outcome) of attempts beyond a request's first."""
        self._exemplars: dict[_Key, Exemplar] = {}
        self._names: dict[str, str] = {}
        self._series = Folding("series", most)
        self._codes = Folding("error_type", MOST_CODES)
        self.records = self.unknown = self.rejected = self.feedback = self.batches = 0

    def count(self, settled: Settled) -> None:
        """A batch that is committed."""
        several = [record for record in settled.stored if len(record.attempts) > 1]
        kinds = {(record.organisation, record.route, record.kind) for record in settled.stored}
        with self._lock:
            self.batches += 1
            self.records += settled.records
            self.unknown += settled.unknown
            self.rejected += settled.rejected
            self.feedback += settled.feedback
            for key, cell in settled.tally.items():
                tally_merge(self._sums, self._place(key), cell)
            for organisation, route, kind in kinds:
                at = (self._name(organisation), route)
                self._kinds[at] = kind if self._kinds.get(at, kind) == kind else ""
            for record in several:
                for attempt in record.attempts[1:]:
                    who = (self._name(record.organisation), record.simulated, attempt.provider)
                    self._further[*who, attempt.role, attempt.outcome] += 1
            if settled.stored:
                self._exemplify(settled.stored[-1])

    def _exemplify(self, record: UsageRecord) -> None:
        """One of a batch is enough for a plot to lead to a request."""
        serving = serving_attempt(record)
        if serving < 0 or record.outcome not in ("ok", "error"):
            return
        attempt = record.attempts[serving]
        key = self._place((record.organisation, record.simulated, record.route, attempt.provider, attempt.model))
        at = (record.started_us + max(0, record.total_us)) / 1e6
        self._exemplars[key] = Exemplar((("request_id", uuid_text(record.id)),), record.total_us / 1e6, at)

    def _place(self, key: tuple[Any, ...]) -> _Key:
        """Where a combination is counted: by itself, or with all others of its organisation, or of all organisations."""
        organisation, simulated, route, provider, model = key
        organisation = self._name(organisation)
        for place in (
            (organisation, simulated, route, provider, model),
            (organisation, simulated, OTHER, OTHER, OTHER),
        ):
            if place in self._sums or len(self._sums) < self._series.most:
                return place
            if len(self._series.folded) < self._series.most * 10:
                self._series.folded.add("\0".join(map(str, place)))
        return OTHER, simulated, OTHER, OTHER, OTHER

    def _name(self, organisation: str) -> str:
        found = self._names.get(organisation)
        if found is None:
            found = self._names[organisation] = self._name_of(organisation)
        return found

    # -- telling ----------------------------------------------------------------------------------------------------------

    def families(self, *, state: str, lag_ms: int, journals: int, opens: int, traces: Mapping[str, Any] | None = None) -> list[Family]:
        """state, lag_ms, journals, opens: of the shipper now. traces: what its export says of itself; None: there is none."""
        with self._lock:
            found = [*self._traffic(), *self._tokens(), *self._latency(), *self._failures()]
            own = [
                counter("bulkhead_shipper_records", "Requests settled.", self.records),
                counter("bulkhead_shipper_unknown", "Of those, settled at their reservation because their proxy died.", self.unknown),
                counter("bulkhead_shipper_rejected", "Records that Postgres could not store, kept whole.", self.rejected),
                counter("bulkhead_shipper_feedback", "Pieces of feedback settled.", self.feedback),
                counter("bulkhead_shipper_batches", "Settling transactions.", self.batches),
                gauge("bulkhead_shipper_lag_seconds", "How far settlement is behind the proxies.", lag_ms / 1000, "seconds"),
                gauge("bulkhead_shipper_journals", "Journals of this host that are not settled to their end.", journals),
                gauge("bulkhead_shipper_open_requests", "Requests that were begun and have no record yet.", opens),
                gauge("bulkhead_shipper_running", "1 while it settles, 0 while it waits for Postgres or fails.", int(state == "running")),
            ]
        if traces is not None:
            own += [
                counter("bulkhead_traces_exported", "Requests whose spans the collector took.", traces.get("exported", 0)),
                counter(
                    "bulkhead_traces_dropped",
                    "Requests whose spans were not exported: the collector is away or too slow.",
                    traces.get("dropped", 0),
                ),
                gauge("bulkhead_traces_queued", "Requests that wait to be exported.", traces.get("queued", 0)),
            ]
        return [*found, *own, folded_family([self._series, self._codes])]

    def _traffic(self) -> Iterable[Family]:
        rows = sorted(self._sums.items())
        yield Family(
            "bulkhead_settled_requests",
            "counter",
            "Requests by who answered them, or was tried last, and by outcome.",
            [
                Sample((*_labels(key), ("outcome", outcome)), cell[0][_AT[outcome]])
                for key, cell in rows
                for outcome in OUTCOMES
                if cell[0][_AT[outcome]]
            ],
        )
        yield self._summed("bulkhead_settled_attempts", "Calls of providers, by whom they went to.", "attempts")
        yield self._summed("bulkhead_settled_attempt_errors", "Of those, failed ones.", "attempt_errors")
        yield Family(
            "bulkhead_settled_further_attempts",
            "counter",
            "Calls beyond a request's first: role is retry, failover, hedge, rescue or mirror.",
            [
                Sample(
                    (
                        ("organisation", organisation),
                        ("simulated", _truth(simulated)),
                        ("provider", provider),
                        ("role", role),
                        ("outcome", outcome),
                    ),
                    count,
                )
                for (organisation, simulated, provider, role, outcome), count in sorted(self._further.items())
            ],
        )
        yield Family(
            "bulkhead_spend_dollars",
            "counter",
            "What requests cost, by who used it up.",
            [Sample(_labels(key), cell[0][_AT["cost_nano"]] / 1e9) for key, cell in rows],
            "dollars",
        )

    def _summed(self, name: str, text: str, column: str) -> Family:
        at = _AT[column]
        return Family(name, "counter", text, [Sample(_labels(key), cell[0][at]) for key, cell in sorted(self._sums.items())])

    def _tokens(self) -> Iterable[Family]:
        rows = sorted(self._sums.items())
        yield Family(
            "gen_ai_client_token_usage",
            "histogram",
            "Tokens by type: the sum is what counts, of single requests no size is told apart.",
            [
                Distribution((*self._gen_ai(key), ("gen_ai_token_type", kind)), {float("inf"): _answered(cell)}, cell[0][_AT[column]])
                for key, cell in rows
                for kind, column in (("input", "tokens_input"), ("output", "tokens_output"))
            ],
            "",
            (),
        )
        yield Family(
            "bulkhead_settled_tokens_of",
            "counter",
            "Of the tokens: input that a provider read from or wrote to its cache, output spent on reasoning.",
            [
                Sample((*_labels(key), ("kind", kind)), cell[0][_AT[f"tokens_{kind}"]])
                for key, cell in rows
                for kind in ("cache_read", "cache_write", "reasoning")
                if cell[0][_AT[f"tokens_{kind}"]]
            ],
        )

    def _latency(self) -> Iterable[Family]:
        for at, bounds, name, text in (
            (1, SECONDS, "gen_ai_server_request_duration_seconds", "Whole requests that were answered or failed."),
            (2, SECONDS, "gen_ai_server_time_to_first_token_seconds", "Streams: until real output showed."),
            (3, FINE_SECONDS, "gen_ai_server_time_per_output_token_seconds", "Finished streams: the mean gap between tokens."),
        ):
            samples = []
            for key, cell in sorted(self._sums.items()):
                counts: dict[int, int] = cell[at]  # type: ignore[assignment]
                if counts:
                    found, total = in_seconds(counts, bounds)
                    samples.append(Distribution(self._gen_ai(key), found, total, self._exemplars.get(_key(key)) if at == 1 else None))
            yield Family(name, "histogram", text, samples, "seconds", bounds)

    def _failures(self) -> Iterable[Family]:
        requests: Counter[Labels] = Counter()
        attempts: Counter[Labels] = Counter()
        for key, cell in self._sums.items():
            for name, count in cell[4].items():
                into, code = (attempts, name[len(ATTEMPT_MARK) :]) if name.startswith(ATTEMPT_MARK) else (requests, name)
                into[*_labels(key), ("error_type", self._codes.place(code))] += count
        yield Family(
            "bulkhead_settled_errors",
            "counter",
            "Requests that failed or were refused, by error code.",
            [Sample(labels, count) for labels, count in sorted(requests.items())],
        )
        yield Family(
            "bulkhead_settled_attempt_failures",
            "counter",
            "Calls of providers that failed, by error code.",
            [Sample(labels, count) for labels, count in sorted(attempts.items())],
        )

    def _gen_ai(self, key: tuple[Any, ...]) -> Labels:
        organisation, simulated, route, provider, model = key
        return (
            ("organisation", organisation),
            ("simulated", _truth(simulated)),
            ("route", route),
            ("gen_ai_operation_name", self._kinds.get((organisation, route), "")),
            ("gen_ai_provider_name", provider),
            ("gen_ai_request_model", model),
        )


def _labels(key: tuple[Any, ...]) -> Labels:
    organisation, simulated, route, provider, model = key
    return (("organisation", organisation), ("simulated", _truth(simulated)), ("route", route), ("provider", provider), ("model", model))


def _key(key: tuple[Any, ...]) -> _Key:
    organisation, simulated, route, provider, model = key
    return organisation, simulated, route, provider, model


def _truth(value: bool) -> str:
    return "true" if value else "false"


def _answered(cell: Cell) -> int:
    return cell[0][_AT["requests"]]
