"""Figures of frozen evidence: pure, from what a query answered to what plotly.js draws and a table says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from apps.postmortems.pattern_rules import BOUNDS_S, Distribution
from apps.ui.plots import Plot, at, theme
from apps.usage.plots import Mark, marked


def requests_plot(result: Mapping[str, Any], marks: Sequence[Mark] = ()) -> Plot | None:
    """Requests by the step, and those that failed; None without any."""
    points = result.get("points") or []
    if not any(point["requests"] for point in points):
        return None
    times = [_moment(point["at"]) for point in points]
    answered = [point["requests"] - point["failed"] for point in points]
    series = (("Others", answered, "var(--plot-1)"), ("Failed", [point["failed"] for point in points], "var(--bad)"))
    data = [
        {
            "type": "bar", "name": name, "x": [at(moment) for moment in times], "y": values, "marker": {"color": colour},
            "hovertemplate": "%{y:,}",
        }
        for name, values, colour in series
    ]  # fmt: skip
    end = times[-1] + timedelta(seconds=result.get("step_s", 60))
    layout = theme(unit="", start=times[0], end=end, barmode="stack", bargap=0.05)
    rows = [(at(moment), point["requests"], point["failed"], point["attempt_errors"]) for moment, point in zip(times, points, strict=True)]
    header = ("Time (UTC)", "Requests", "Failed", "Attempts failed")
    return Plot("requests", "Requests and failures", {"data": data, "layout": marked(layout, marks)}, header, rows)


def latency_plot(result: Mapping[str, Any], marks: Sequence[Mark] = ()) -> Plot | None:
    """Time to the whole answer; None where nothing was measured."""
    points = result.get("points") or []
    if all(point["p95_us"] is None for point in points):
        return None
    times = [_moment(point["at"]) for point in points]
    data = [
        {
            "type": "scatter", "mode": "lines+markers", "name": name, "x": [at(moment) for moment in times],
            "y": [None if point[key] is None else point[key] / 1e6 for point in points], "connectgaps": False,
            "line": {"color": colour, "width": 1.6}, "marker": {"size": 3, "color": colour}, "hovertemplate": "%{y:.3~f} s",
        }
        for name, key, colour in (("p95", "p95_us", "var(--plot-3)"), ("p50", "p50_us", "var(--plot-1)"))
    ]  # fmt: skip
    layout = theme(unit=" s", start=times[0], end=times[-1] + timedelta(minutes=1))
    rows = [(at(moment), _seconds(point["p50_us"]), _seconds(point["p95_us"])) for moment, point in zip(times, points, strict=True)]
    return Plot("latency", "Time to the whole answer", {"data": data, "layout": marked(layout, marks)}, ("Time (UTC)", "p50", "p95"), rows)


def incident_marks(times: Mapping[str, Any]) -> list[Mark]:
    """When it began, was noticed and was mitigated, as lines."""
    words = (("started_at", "began", "bad"), ("detected_at", "noticed", "warning"), ("mitigated_at", "mitigated", "good"))
    return [Mark(_moment(times[name]), label, label.capitalize(), tone) for name, label, tone in words if times.get(name)]


def columns_of(found: Distribution) -> list[tuple[str, int]]:
    """(up to, how many) of a distribution."""
    labels = [_bound(bound) for bound in BOUNDS_S]
    return list(zip([*(f"≤ {label}" for label in labels), f"> {labels[-1]}"], found.columns, strict=True))


def _bound(seconds: int) -> str:
    return f"{seconds // 60} min" if seconds < 3_600 else f"{seconds // 3_600} h"


def _moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def _seconds(value: float | None) -> str:
    return "" if value is None else f"{value / 1e6:.3f} s"
