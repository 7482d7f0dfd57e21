"""Figures of a route by target: pure functions, as in ``apps.usage.plots``. A target keeps its colour in every plot of a page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from apps.ui.plots import Plot, theme
from apps.ui.plots import at as moment_text
from apps.usage.measures import Point
from apps.usage.targets import TargetTraffic

COLOURS = ("var(--plot-1)", "var(--plot-2)", "var(--plot-3)", "var(--plot-4)", "var(--plot-5)")
MOST = 8
"""Targets drawn; the busiest first, the rest stand in the table."""
LONGEST_NAME = 40


def requests_by_target(targets: Sequence[TargetTraffic], *, start: datetime, end: datetime) -> Plot:
    """Answered requests a second, stacked by the target that answered."""
    data = [
        {
            "type": "bar",
            "name": _name(target),
            "x": [moment_text(point.at) for point in target.points],
            "y": [round(point.totals.requests / point.seconds, 4) for point in target.points],
            "marker": {"color": _colour(at, target), "line": {"width": 0}},
            "offset": 0,
            "hovertemplate": "%{y:.3~f}/s",
        }
        for at, target in enumerate(targets[:MOST])
    ]
    return Plot(
        name="route-requests",
        title="Requests per second by target",
        figure={"data": data, "layout": theme(unit="", start=start, end=end, barmode="stack", bargap=0)},
        header=("Time (UTC)", *(_label(target) for target in targets[:MOST])),
        rows=[
            (moment_text(points[0].at), *(point.totals.requests for point in points))
            for points in _steps(targets)
            if any(point.totals.requests for point in points)
        ],
    )


def latency_by_target(targets: Sequence[TargetTraffic], *, start: datetime, end: datetime) -> Plot:
    """Time to the whole answer at p95, one line a target; no point where nothing was measured."""
    shown = targets[:MOST]
    top = max((point.total.p95 for target in shown for point in target.points if point.total.p95 is not None), default=0)
    unit, divisor = (" s", 1e6) if top >= 2e6 else (" ms", 1e3)
    data = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": f"{_name(target)} p95",
            "x": [moment_text(point.at) for point in target.points],
            "y": [None if point.total.p95 is None else round(point.total.p95 / divisor, 4) for point in target.points],
            "line": {"color": COLOURS[at % len(COLOURS)], "width": 1.6},
            "marker": {"size": 3, "color": COLOURS[at % len(COLOURS)]},
            "connectgaps": False,
            "hovertemplate": f"%{{y:.4~r}}{unit}",
        }
        for at, target in enumerate(shown)
    ]
    return Plot(
        name="route-latency",
        title="Latency by target",
        figure={"data": data, "layout": theme(unit=unit, start=start, end=end)},
        header=("Time (UTC)", *(f"{_label(target)} p95 ms" for target in shown)),
        rows=[
            (moment_text(points[0].at), *("" if point.total.p95 is None else f"{point.total.p95 / 1e3:.3f}" for point in points))
            for points in _steps(targets)
            if any(point.total.count for point in points)
        ],
    )


def _steps(targets: Sequence[TargetTraffic]) -> list[tuple[Point, ...]]:
    """The targets' points side by side, newest first: all have the same steps."""
    return list(reversed(list(zip(*(target.points for target in targets[:MOST]), strict=True))))


def _label(target: TargetTraffic) -> str:
    return target.label if target.provider else "refused before any"


def _colour(at: int, target: TargetTraffic) -> str:
    return COLOURS[at % len(COLOURS)] if target.provider else "var(--warn)"


def _name(target: TargetTraffic) -> str:
    """For a legend, where plotly.js reads a few HTML tags: angle brackets are shown as such."""
    text = _label(target)
    text = text if len(text) <= LONGEST_NAME else text[: LONGEST_NAME - 1] + "…"
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
