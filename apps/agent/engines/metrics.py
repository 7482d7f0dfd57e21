"""What engines tell about themselves, in one vocabulary. Names differ between engines and between versions of one; what a version does not
tell is None, never 0."""

from __future__ import annotations

import math
import re
from collections import deque
from collections.abc import Mapping
from typing import NamedTuple

from apps.contracts.fleet_facts import EngineMetrics

WINDOW_SECONDS = 60.0
"""Over which percentiles are taken."""
MAX_TEXT = 4 * 1024 * 1024
_SAMPLE = re.compile(r"([a-zA-Z_:][\w:]*)(?:\{(.*)\})?\s+(\S+)(?:\s+-?\d+)?\s*(?:#.*)?\Z")
_LE = re.compile(r'(?:^|,)\s*le="([^"]*)"')
_VERSION = re.compile(r"v?(\d+)\.(\d+)(?:\.(\d+))?")

Version = tuple[int, int, int]


class Names(NamedTuple):
    """Where each figure is found: names of samples and of histograms; "" where the engine has none. since: the first version that has
    them all."""

    source: str
    since: Version
    running: str
    waiting: str
    kv_used: str
    prompt_tokens: str
    output_tokens: str
    preemptions: str
    finished: str
    ttft: str
    itl: str


_VLLM = Names(
    "vllm>=0.11", (0, 11, 0), "vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc",
    "vllm:prompt_tokens_total", "vllm:generation_tokens_total", "vllm:num_preemptions_total", "vllm:request_success_total",
    "vllm:time_to_first_token_seconds", "vllm:inter_token_latency_seconds",
)  # fmt: skip
NAMES: Mapping[str, tuple[Names, ...]] = {
    "vllm": (
        _VLLM,
        _VLLM._replace(source="vllm>=0.9.2", since=(0, 9, 2), itl="vllm:time_per_output_token_seconds"),
        _VLLM._replace(source="vllm<0.9.2", since=(0, 0, 0), itl="vllm:time_per_output_token_seconds", kv_used="vllm:gpu_cache_usage_perc"),
    ),
    "built-in": (_VLLM._replace(source="built-in", since=(0, 0, 0)),),
    "sglang": (
        Names(
            "sglang", (0, 0, 0), "sglang:num_running_reqs", "sglang:num_queue_reqs", "sglang:token_usage", "sglang:prompt_tokens_total",
            "sglang:generation_tokens_total", "", "sglang:num_requests_total", "sglang:time_to_first_token_seconds",
            "sglang:inter_token_latency_seconds",
        ),
    ),
    "llama-server": (
        Names(
            "llama-server", (0, 0, 0), "llamacpp:requests_processing", "llamacpp:requests_deferred", "", "llamacpp:prompt_tokens_total",
            "llamacpp:tokens_predicted_total", "", "", "", "",
        ),
    ),
}  # fmt: skip
"""Vocabulary -> its versions, the newest first."""


class Scraped(NamedTuple):
    """values: name -> the samples of each set of labels. buckets: histogram -> upper bound -> how many were at or below it."""

    values: Mapping[str, list[float]]
    buckets: Mapping[str, Mapping[float, float]]


def version_of(text: str | None) -> Version | None:
    """(major, minor, patch) of a version's text, whatever follows; None where it is none."""
    found = _VERSION.match(text or "")
    return (int(found[1]), int(found[2]), int(found[3] or 0)) if found else None


def names_of(vocabulary: str, version: str | None, scraped: Scraped) -> Names | None:
    """The names that this version uses. Where the version is not known: the newest whose KV figure is there. None: no such vocabulary."""
    tables = NAMES.get(vocabulary, ())
    known = version_of(version)
    if known is not None:
        return next((names for names in tables if known >= names.since), None)
    return next((names for names in tables if not names.kv_used or names.kv_used in scraped.values), tables[0] if tables else None)


def scraped(text: str) -> Scraped:
    """Prometheus text read; lines that are none are left out."""
    values: dict[str, list[float]] = {}
    buckets: dict[str, dict[float, float]] = {}
    for line in text[:MAX_TEXT].splitlines():
        if not line or line[0] == "#":
            continue
        found = _SAMPLE.match(line)
        if found is None:
            continue
        name, labels = found[1], found[2] or ""
        try:
            value = float(found[3])
        except ValueError:
            continue
        if name.endswith("_bucket") and (bound := _LE.search(labels)):
            try:
                edge = float(bound[1])
            except ValueError:
                continue
            counts = buckets.setdefault(name.removesuffix("_bucket"), {})
            counts[edge] = counts.get(edge, 0.0) + value
        elif math.isfinite(value):
            values.setdefault(name, []).append(value)
    return Scraped(values, buckets)


class Reading:
    """Reads one engine again and again: percentiles are of what came in the last minute."""

    def __init__(self, vocabulary: str) -> None:
        self.vocabulary = vocabulary
        self._past: deque[tuple[float, Mapping[str, Mapping[float, float]]]] = deque()

    def read(self, text: str, version: str | None, *, at_ms: int) -> EngineMetrics | None:
        """None where nothing in the text is of this vocabulary: then the engine tells nothing."""
        found = scraped(text)
        names = names_of(self.vocabulary, version, found)
        if names is None:
            return None
        figures = {
            field: _sum(found, getattr(names, field))
            for field in ("running", "waiting", "prompt_tokens", "output_tokens", "preemptions", "finished")
        }
        kv = found.values.get(names.kv_used)
        if kv is None and all(figure is None for figure in figures.values()):
            return None
        now = at_ms / 1000
        while self._past and now - self._past[0][0] > WINDOW_SECONDS:
            self._past.popleft()
        earlier = self._past[0][1] if self._past else {}
        kept = {name: found.buckets[name] for name in (names.ttft, names.itl) if name in found.buckets}
        self._past.append((now, kept))
        ttft, itl = (_since(kept.get(name), earlier.get(name)) for name in (names.ttft, names.itl))
        return EngineMetrics(
            at_ms=at_ms,
            kv_used=None if not kv else min(1.0, max(0.0, max(kv))),
            ttft_p50=percentile(ttft, 0.5),
            ttft_p95=percentile(ttft, 0.95),
            itl_p50=percentile(itl, 0.5),
            itl_p95=percentile(itl, 0.95),
            source=names.source,
            **figures,
        )


def percentile(buckets: Mapping[float, float] | None, share: float) -> float | None:
    """The upper bound of the bucket in which this share lies; None without values, or where it lies above the last bound."""
    if not buckets:
        return None
    total = max(buckets.values())
    if total <= 0:
        return None
    edge = next((bound for bound in sorted(buckets) if buckets[bound] >= share * total), math.inf)
    return None if math.isinf(edge) else edge


def _since(now: Mapping[float, float] | None, earlier: Mapping[float, float] | None) -> Mapping[float, float] | None:
    """What came in between; all of it where the engine has begun anew."""
    if now is None or earlier is None:
        return now
    fresh = {bound: count - earlier.get(bound, 0.0) for bound, count in now.items()}
    return now if any(count < 0 for count in fresh.values()) else fresh


def _sum(found: Scraped, name: str) -> int | None:
    values = found.values.get(name) if name else None
    return None if values is None else max(0, round(sum(values)))
