"""Counters of one process, rendered for Prometheus on the admin port. Everything finer is derived from the journal's records."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from apps.contracts import histogram
from apps.contracts.usage import UsageRecord
from apps.proxy.records import VARIANT

BUCKETS_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0)


Family = tuple[str, str, str, str, list[tuple[str, float]]]
"""name, kind, help, the label's name, and each value by its label."""


class Metrics:
    __slots__ = (
        "_credentials",
        "_first_token",
        "_pending",
        "_requests",
        "_total",
        "_unrecorded",
        "_variants",
        "cost_nano",
        "flags",
        "records",
        "running",
        "tokens_in",
        "tokens_out",
    )

    def __init__(self) -> None:
        self.running = 0
        self.records = 0
        self.tokens_in = 0
        self.tokens_out = 0
        self.cost_nano = 0
        self._requests: Counter[tuple[str, str, int]] = Counter()
        self._variants: Counter[tuple[str, str, str]] = Counter()
        self.flags: Counter[tuple[str, str]] = Counter()
        """(organisation, what a record names among its flags) -> finished requests."""
        self._unrecorded: Counter[str] = Counter()
        self._credentials: Counter[tuple[str, int]] = Counter()
        self._pending: list[UsageRecord] = []
        self._total: Counter[int] = Counter()
        self._first_token: Counter[int] = Counter()

    def count(self, record: UsageRecord) -> None:
        """Note a finished request; it is added up by ``drain``, many at a time, off the request's path."""
        self.running -= 1
        self._pending.append(record)

    def drain(self) -> None:
        pending, self._pending = self._pending, []
        self.records += len(pending)
        self._requests.update([(record.route, record.outcome, record.status) for record in pending])
        flagged = [(record, flag) for record in pending if record.flags for flag in record.flags]
        self.flags.update([(record.organisation, flag) for record, flag in flagged])
        self._variants.update(
            [(record.route, flag[len(VARIANT) :], record.outcome) for record, flag in flagged if flag.startswith(VARIANT)]
        )
        tokens = [record.tokens for record in pending]
        self.tokens_in += sum([each.input for each in tokens])
        self.tokens_out += sum([each.output for each in tokens])
        self.cost_nano += sum([record.cost_nano for record in pending])
        self._total.update(map(histogram.index_of_whole, [record.total_us for record in pending]))
        self._first_token.update(map(histogram.index_of_whole, [r.first_token_us for r in pending if r.first_token_us >= 0]))

    def unrecorded(self, code: str) -> None:
        self._unrecorded[code] += 1

    def credential_refused(self, target: str, status: int) -> None:
        self._credentials[(target, status)] += 1

    def render(self, gauges: Iterable[tuple[str, str, float]], labelled: Iterable[Family] = ()) -> bytes:
        """Prometheus text. gauges: (name, help, value)."""
        self.drain()
        lines: list[str] = []

        def head(name: str, kind: str, text: str) -> None:
            lines.append(f"# HELP {name} {text}")
            lines.append(f"# TYPE {name} {kind}")

        head("bulkhead_requests_total", "counter", "Finished requests by route, outcome and status.")
        for (route, outcome, status), count in sorted(self._requests.items()):
            lines.append(f'bulkhead_requests_total{{route="{_label(route)}",outcome="{outcome}",status="{status}"}} {count}')
        head("bulkhead_variant_requests_total", "counter", "Finished requests of a split by route, variant and outcome.")
        for (route, variant, outcome), count in sorted(self._variants.items()):
            lines.append(
                f'bulkhead_variant_requests_total{{route="{_label(route)}",variant="{_label(variant)}",outcome="{outcome}"}} {count}'
            )
        head("bulkhead_unauthenticated_total", "counter", "Requests refused before a key was known, by code.")
        for code, count in sorted(self._unrecorded.items()):
            lines.append(f'bulkhead_unauthenticated_total{{code="{code}"}} {count}')
        head("bulkhead_credential_refused_total", "counter", "Provider credentials refused, by target and status.")
        for (target, status), count in sorted(self._credentials.items()):
            lines.append(f'bulkhead_credential_refused_total{{target="{_label(target)}",status="{status}"}} {count}')
        head("bulkhead_tokens_total", "counter", "Tokens by direction.")
        lines.append(f'bulkhead_tokens_total{{direction="input"}} {self.tokens_in}')
        lines.append(f'bulkhead_tokens_total{{direction="output"}} {self.tokens_out}')
        head("bulkhead_cost_nano_dollars_total", "counter", "Cost in nano-dollars.")
        lines.append(f"bulkhead_cost_nano_dollars_total {self.cost_nano}")
        self._histogram(lines, head, "bulkhead_request_duration_seconds", "Whole requests.", self._total)
        self._histogram(lines, head, "bulkhead_time_to_first_token_seconds", "Streams: until real output showed.", self._first_token)
        for name, text, value in gauges:
            head(name, "gauge", text)
            lines.append(f"{name} {value:g}")
        for name, kind, text, label, rows in labelled:
            head(name, kind, text)
            lines += [f'{name}{{{label}="{_label(row)}"}} {value:g}' for row, value in rows]
        return ("\n".join(lines) + "\n").encode()

    @staticmethod
    def _histogram(lines: list[str], head: object, name: str, text: str, counts: dict[int, int]) -> None:
        head(name, "histogram", text)  # type: ignore[operator]
        edges = sorted(counts)
        seen, at = 0, 0
        for bucket in BUCKETS_SECONDS:
            while at < len(edges) and histogram.upper_bound(edges[at]) <= bucket * 1e6:
                seen += counts[edges[at]]
                at += 1
            lines.append(f'{name}_bucket{{le="{bucket:g}"}} {seen}')
        total = sum(counts.values())
        lines.append(f'{name}_bucket{{le="+Inf"}} {total}')
        lines.append(f"{name}_count {total}")
        lines.append(f"{name}_sum {sum(histogram.midpoint(i) * c for i, c in counts.items()) / 1e6:g}")


def _label(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
