"""What an engine tells of itself, under vLLM's names, so that whatever reads a vLLM reads this."""

from __future__ import annotations

from apps.contracts import exposition
from apps.contracts.exposition import Distribution, Family, Sample
from apps.engine.backend import Load

Labels = tuple[tuple[str, str], ...]


class Histogram:
    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts: dict[float, int] = {}
        self.total = 0.0

    def add(self, seconds: float, times: int = 1) -> None:
        bound = next((bound for bound in self.bounds if seconds <= bound), float("inf"))
        self.counts[bound] = self.counts.get(bound, 0) + times
        self.total += seconds * times


class Metrics:
    """Counted since the process started."""

    def __init__(self, model: str) -> None:
        self._labels: Labels = (("model_name", model),)
        self.prompt_tokens = 0
        self.generation_tokens = 0
        self.finished: dict[str, int] = {}
        self.refused = 0
        self.cancelled = 0
        self.ttft = Histogram(exposition.SECONDS)
        self.itl = Histogram(exposition.FINE_SECONDS)
        self.latency = Histogram(exposition.SECONDS)
        self.queue = Histogram(exposition.FINE_SECONDS)

    def finish(self, reason: str) -> None:
        self.finished[reason] = self.finished.get(reason, 0) + 1

    def rendered(self, running: int, waiting: int, load: Load) -> tuple[str, bytes]:
        """(content type, text). What the backend does not know is left out."""
        labels = self._labels
        gauges: dict[str, tuple[str, float]] = {
            "vllm:num_requests_running": ("Requests that are computed.", max(0, running - load.waiting)),
            "vllm:num_requests_waiting": ("Requests in line.", waiting + load.waiting),
        }
        if load.kv_used is not None:
            gauges["vllm:kv_cache_usage_perc"] = ("Share of the KV cache in use, 0 to 1.", load.kv_used)
        counters = {
            "vllm:prompt_tokens": ("Prompt tokens.", self.prompt_tokens if load.read is None else load.read),
            "vllm:generation_tokens": ("Output tokens.", self.generation_tokens),
            "bulkhead_engine:requests_refused": ("Requests refused because the line was full or the engine was ending.", self.refused),
            "bulkhead_engine:requests_cancelled": ("Requests whose callers hung up.", self.cancelled),
        }
        families = [Family(name, "gauge", text, [Sample(labels, value)]) for name, (text, value) in gauges.items()]
        families += [Family(name, "counter", text, [Sample(labels, value)]) for name, (text, value) in counters.items()]
        reasons = [Sample((*labels, ("finished_reason", reason)), count) for reason, count in sorted(self.finished.items())]
        families.append(
            Family(
                "vllm:request_success",
                "counter",
                "Requests that ended well.",
                reasons or [Sample((*labels, ("finished_reason", "stop")), 0)],
            )
        )
        for name, text, seen in (
            ("vllm:time_to_first_token_seconds", "From a request's arrival to its first token.", self.ttft),
            ("vllm:inter_token_latency_seconds", "Between tokens of one answer.", self.itl),
            ("vllm:e2e_request_latency_seconds", "From a request's arrival to its end.", self.latency),
            ("vllm:request_queue_time_seconds", "In line.", self.queue),
        ):
            families.append(Family(name, "histogram", text, [Distribution(labels, seen.counts, seen.total)], "seconds", seen.bounds))
        return exposition.rendered(families)
