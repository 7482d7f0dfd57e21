"""Performance budgets in words: what is measured, over which window, and what a verdict says."""

from __future__ import annotations

from datetime import timedelta
from typing import Literal, NamedTuple

from apps.ui.status import Status

Unit = Literal["duration", "share", "dollars", "hours"]


class Metric(NamedTuple):
    """unit: how its bound is written (``performance_rules.bound_read``). samples: what is counted of a route, ``calls`` of a model.
    example: a bound. how, how_model: how it is measured of a route and of a model, as the evidence says it."""

    label: str
    unit: Unit
    samples: str
    calls: str
    example: str
    how: str
    how_model: str


_TTFT = (
    "from the histograms of the rollups, whose error is at most 1.1 %; as apps see it, with the time of attempts that failed before",
    "requests with a first token",
)
_GAPS = (
    "of each finished stream the mean gap between its tokens after the first, from histograms whose error is at most 1.1 %; streams of "
    "fewer than two tokens and estimated counts are left out",
    "finished streams",
)
_LET_THROUGH, _CALLS = "requests that were let through", "calls of the model"

METRICS: dict[str, Metric] = {
    "ttft_p95": Metric("Time to first token, p95", "duration", _TTFT[1], _TTFT[1], "1.5s", _TTFT[0], _TTFT[0]),
    "inter_token_p95": Metric("Inter-token latency, p95", "duration", _GAPS[1], _GAPS[1], "60ms", _GAPS[0], _GAPS[0]),
    "error_rate": Metric(
        "Error rate",
        "share",
        "requests that ended",
        _CALLS,
        "1%",
        "requests that failed or whose end is unknown, by those that ended; cancelled and refused ones are left out",
        "calls of the model that failed, also where another target then answered, by all its calls",
    ),
    "cost_per_1k_tokens": Metric(
        "Cost per 1,000 tokens",
        "dollars",
        _LET_THROUGH,
        _CALLS,
        "0.004",
        "all that was booked, failed attempts included, by input and output tokens",
        "all that was booked for the model's calls, failed ones included, by their input and output tokens",
    ),
    "cost_per_request": Metric(
        "Cost per request",
        "dollars",
        _LET_THROUGH,
        _CALLS,
        "0.02",
        "all that was booked, failed attempts included, by requests that were let through",
        "all that was booked for the model's calls, by their number",
    ),
    "gpu_hours": Metric(
        "GPU hours",
        "hours",
        "workers that report",
        "workers that report",
        "120",
        "hours of GPUs of your own workers that serve the route",
        "hours of GPUs of your own workers that serve the model",
    ),
}

SCOPES: dict[str, str] = {"route": "Route", "model": "Model"}


class Window(NamedTuple):
    """every: how often a verdict over it is looked at; three times as old, it is unknown. shown: where its plot begins."""

    label: str
    length: timedelta
    every: timedelta
    shown: str


WINDOWS: dict[str, Window] = {
    "hour": Window("the last hour", timedelta(hours=1), timedelta(minutes=1), "now-1h"),
    "6h": Window("the last 6 hours", timedelta(hours=6), timedelta(minutes=1), "now-6h"),
    "day": Window("the last 24 hours", timedelta(days=1), timedelta(minutes=5), "now-24h"),
    "week": Window("the last 7 days", timedelta(days=7), timedelta(minutes=15), "now-7d"),
    "28d": Window("the last 28 days", timedelta(days=28), timedelta(minutes=15), "now-30d"),
}

VERDICTS: dict[str, Status] = {
    status.value: status
    for status in (
        Status("ok", "OK", "good"),
        Status("warning", "Warning", "warn"),
        Status("breached", "Breached", "bad"),
        Status("unknown", "Unknown", "unknown", hint="Too little was measured to judge."),
    )
}
BREACHED, RECOVERED = "breached", "recovered"
"""What an owner is told of."""
EVENTS = {state: f"performance.{state}" for state in VERDICTS}
"""Kind of the event that a verdict changed to this."""

DEFAULT_WINDOW = "day"
DEFAULT_WARN = 80
"""Percent of the bound from which on a verdict is a warning."""
DEFAULT_SAMPLES, LEAST_SAMPLES, MOST_SAMPLES = 100, 20, 1_000_000
"""How many measurements a verdict takes. Below twenty a p95 is the largest single one."""
KEPT = timedelta(days=400)
"""How long verdicts that are over stay readable."""
NO_GPUS = "no GPUs measured: no worker reports any"
