"""Counters of one process, for Prometheus on its admin port. What it takes an organisation, provider or model to tell apart is the
shipper's to count, from the journal's records (``apps.settlement.metrics``): here nothing is added up while a request waits for it."""

from __future__ import annotations

import time
from collections import Counter

from apps.contracts import histogram
from apps.contracts.exposition import SECONDS, Distribution, Exemplar, Family, Folding, Sample, counter, in_seconds
from apps.contracts.identifiers import uuid_text
from apps.contracts.usage import UsageRecord
from apps.proxy.records import VARIANT

MOST_ROUTES = 200
"""Routes told apart; later ones are ``other``."""
MOST_CODES = 100
MOST_TARGETS = 200


class Metrics:
    __slots__ = (
        "_attempts",
        "_credentials",
        "_errors",
        "_exemplar",
        "_first_token",
        "_further",
        "_pending",
        "_requests",
        "_total",
        "_unrecorded",
        "_variants",
        "codes",
        "cost_nano",
        "feedback",
        "flags",
        "records",
        "routes",
        "running",
        "targets",
        "tokens_cache_read",
        "tokens_cache_write",
        "tokens_in",
        "tokens_out",
        "tokens_reasoning",
    )

    def __init__(self) -> None:
        self.running = 0
        self.records = 0
        self.tokens_in = 0
        self.tokens_out = 0
        self.tokens_cache_read = 0
        self.tokens_cache_write = 0
        self.tokens_reasoning = 0
        self.cost_nano = 0
        self.feedback = 0
        """Pieces of feedback taken."""
        self._attempts = 0
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._errors: Counter[tuple[str, str]] = Counter()
        self._further: Counter[tuple[str, str]] = Counter()
        """(role, outcome) of attempts beyond a request's first."""
        self._variants: Counter[tuple[str, str, str]] = Counter()
        self.flags: Counter[tuple[str, str]] = Counter()
        """(organisation, what a record names among its flags) -> finished requests."""
        self._unrecorded: Counter[str] = Counter()
        self._credentials: Counter[tuple[str, int]] = Counter()
        self._pending: list[UsageRecord] = []
        self._total: Counter[int] = Counter()
        self._first_token: Counter[int] = Counter()
        self._exemplar: tuple[bytes, int, float] | None = None
        """Id, microseconds and second of the request that was added up last."""
        self.routes = Folding("route", MOST_ROUTES)
        self.codes = Folding("error_type", MOST_CODES)
        self.targets = Folding("target", MOST_TARGETS)

    def count(self, record: UsageRecord) -> None:
        """Note a finished request; it is added up by ``drain``, many at a time, off the request's path."""
        self.running -= 1
        self._pending.append(record)

    def drain(self) -> None:
        pending, self._pending = self._pending, []
        if not pending:
            return
        self.records += len(pending)
        self._requests.update([(record.route, record.outcome, record.status) for record in pending])
        failed = [(record.route, record.error_code) for record in pending if record.error_code]
        if failed:
            self._errors.update(failed)
        self._attempts += sum([len(record.attempts) for record in pending])
        several = [record.attempts for record in pending if len(record.attempts) > 1]
        if several:
            self._further.update([(attempt.role, attempt.outcome) for attempts in several for attempt in attempts[1:]])
        flagged = [(record, flag) for record in pending if record.flags for flag in record.flags]
        self.flags.update([(record.organisation, flag) for record, flag in flagged])
        self._variants.update(
            [(record.route, flag[len(VARIANT) :], record.outcome) for record, flag in flagged if flag.startswith(VARIANT)]
        )
        tokens = [record.tokens for record in pending]
        self.tokens_in += sum([each.input for each in tokens])
        self.tokens_out += sum([each.output for each in tokens])
        self.tokens_cache_read += sum([each.cache_read for each in tokens])
        self.tokens_cache_write += sum([each.cache_write for each in tokens])
        self.tokens_reasoning += sum([each.reasoning for each in tokens])
        self.cost_nano += sum([record.cost_nano for record in pending])
        self._total.update(map(histogram.index_of_whole, [record.total_us for record in pending]))
        self._first_token.update(map(histogram.index_of_whole, [r.first_token_us for r in pending if r.first_token_us >= 0]))
        last = pending[-1]
        self._exemplar = (last.id, last.total_us, time.time())

    def unrecorded(self, code: str) -> None:
        self._unrecorded[code] += 1

    def credential_refused(self, target: str, status: int) -> None:
        self._credentials[(target, status)] += 1

    def families(self) -> list[Family]:
        """Everything counted so far, bounded."""
        self.drain()
        requests: Counter[tuple[str, str, int]] = Counter()
        for (route, outcome, status), count in self._requests.items():
            requests[(self.routes.place(route), outcome, status)] += count
        errors: Counter[tuple[str, str]] = Counter()
        for (route, code), count in self._errors.items():
            errors[(self.routes.place(route), self.codes.place(code))] += count
        variants: Counter[tuple[str, str, str]] = Counter()
        for (route, variant, outcome), count in self._variants.items():
            variants[(self.routes.place(route), variant, outcome)] += count
        credentials: Counter[tuple[str, int]] = Counter()
        for (target, status), count in self._credentials.items():
            credentials[(self.targets.place(target), status)] += count
        exemplar = None
        if self._exemplar is not None:
            id, micros, at = self._exemplar
            exemplar = Exemplar((("request_id", uuid_text(id)),), micros / 1e6, at)
        return [
            Family(
                "bulkhead_requests",
                "counter",
                "Finished requests by route, outcome and status.",
                [
                    Sample((("route", route), ("outcome", outcome), ("status", str(status))), count)
                    for (route, outcome, status), count in sorted(requests.items())
                ],
            ),
            Family(
                "bulkhead_errors",
                "counter",
                "Finished requests that were refused, failed or were given up, by route and error code.",
                [Sample((("route", route), ("error_type", code)), count) for (route, code), count in sorted(errors.items())],
            ),
            Family(
                "bulkhead_variant_requests",
                "counter",
                "Finished requests of a split by route, variant and outcome.",
                [
                    Sample((("route", route), ("variant", variant), ("outcome", outcome)), count)
                    for (route, variant, outcome), count in sorted(variants.items())
                ],
            ),
            Family(
                "bulkhead_unauthenticated",
                "counter",
                "Requests refused before a key was known, by code.",
                [Sample((("code", code),), count) for code, count in sorted(self._unrecorded.items())],
            ),
            counter("bulkhead_attempts", "Calls of providers by finished requests, retries and failovers included.", self._attempts),
            Family(
                "bulkhead_further_attempts",
                "counter",
                "Of those, what was tried beyond a request's first: role is retry, failover, hedge, rescue or mirror.",
                [Sample((("role", role), ("outcome", outcome)), count) for (role, outcome), count in sorted(self._further.items())],
            ),
            Family(
                "bulkhead_credential_refused",
                "counter",
                "Provider credentials refused, by target and status.",
                [Sample((("target", target), ("status", str(status))), count) for (target, status), count in sorted(credentials.items())],
            ),
            Family(
                "bulkhead_tokens",
                "counter",
                "Tokens by direction.",
                [Sample((("direction", "input"),), self.tokens_in), Sample((("direction", "output"),), self.tokens_out)],
            ),
            Family(
                "bulkhead_tokens_of",
                "counter",
                "Of the tokens: input that a provider read from or wrote to its cache, output spent on reasoning.",
                [
                    Sample((("kind", "cache_read"),), self.tokens_cache_read),
                    Sample((("kind", "cache_write"),), self.tokens_cache_write),
                    Sample((("kind", "reasoning"),), self.tokens_reasoning),
                ],
            ),
            counter("bulkhead_feedback", "Pieces of feedback taken from apps.", self.feedback),
            counter("bulkhead_cost_dollars", "What finished requests cost.", self.cost_nano / 1e9, "dollars"),
            _durations("bulkhead_request_duration_seconds", "Whole requests.", self._total, exemplar),
            _durations("bulkhead_time_to_first_token_seconds", "Streams: until real output showed.", self._first_token, None),
        ]


def _durations(name: str, text: str, counts: dict[int, int], exemplar: Exemplar | None) -> Family:
    found, total = in_seconds(counts, SECONDS)
    return Family(name, "histogram", text, [Distribution((), found, total, exemplar)], "seconds", SECONDS)
