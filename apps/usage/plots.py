"""Figures of usage: pure functions from a series to what plotly.js draws, and to the table that says the same in numbers.

A figure is plotly's own JSON (``{"data": [...], "layout": {...}}``; a test has the ``plotly`` package validate it). Colours are names of
design tokens, ``var(--plot-1)``, which the page resolves, so that one figure serves both colour schemes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from apps.contracts.money import NANO, dollars_text
from apps.ui.plots import DOLLARS, Plot, at, theme
from apps.usage.measures import Point, Series

MOST_POINTS = 1_000
"""Per trace. A series has at most 400 (``apps.usage.covering.step_for``)."""


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened, as a line on a plot of time. ``label``: a few letters (``v12``), or none. ``text``: in words, escaped here.

    ``tone``: neutral, good, warning or bad. ``url``: its page, or empty.
    """

    at: datetime
    label: str
    text: str
    tone: str = "neutral"
    url: str = ""


LABEL_SHARE = 0.06
"""Of the plot's width: marks closer than that to a labelled one are lines alone, or their labels would lie over each other."""
LABEL_LENGTH = 22
"""Letters of a label: as many as half of a phone's plot has room for. The whole text appears when one points at it."""
MARK_COLOURS = {"good": "var(--good)", "warning": "var(--warn)", "bad": "var(--bad)"}


def marked(layout: dict[str, Any], marks: Sequence[Mark]) -> dict[str, Any]:
    """The layout with a dotted line at each mark, labelled on top where there is room; its words appear when one points at the label."""
    lines, labels = [], []
    begin, end = (datetime.fromisoformat(text) for text in layout["xaxis"]["range"])
    last = -1.0
    for mark in marks:
        place = (mark.at.replace(tzinfo=None) - begin) / (end - begin)
        colour = MARK_COLOURS.get(mark.tone, "var(--ink-3)")
        line = {"color": colour, "width": 1, "dash": "dot"}
        lines.append(
            {"type": "line", "x0": at(mark.at), "x1": at(mark.at), "yref": "paper", "y0": 0, "y1": 1, "line": line, "layer": "below"}
        )
        if mark.label and place - last >= LABEL_SHARE:
            last = place
            labels.append(
                {
                    "x": at(mark.at),
                    "y": 1,
                    "yref": "paper",
                    "xanchor": "left" if place < 0.5 else "right",  # towards where there is more room
                    "yanchor": "bottom",
                    "showarrow": False,
                    "text": _plain(_short(mark.label)),
                    "hovertext": _plain(mark.text),
                    "font": {"color": colour, "size": 10},
                }
            )
    if not labels:
        return {**layout, "shapes": lines, "annotations": []}
    above = {"margin": {**layout["margin"], "t": 44}, "legend": {**layout["legend"], "y": 1.12}}  # labels stand between plot and legend
    return {**layout, **above, "shapes": lines, "annotations": labels}


def _short(text: str) -> str:
    return text if len(text) <= LABEL_LENGTH else f"{text[: LABEL_LENGTH - 1].rstrip()}…"


def _plain(text: str) -> str:
    """Text that plotly.js shows as it is: it reads a few HTML tags."""
    return text[:300].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def traffic(series: Series, marks: Sequence[Mark] = ()) -> Plot:
    """Requests per second by outcome, stacked: how much, and how much of it went wrong."""
    outcomes = (
        ("ok", "Answered", "var(--plot-1)"),
        ("cancelled", "Cancelled", "var(--plot-5)"),
        ("refused", "Refused", "var(--warn)"),
        ("unknown", "Outcome unknown", "var(--unknown)"),
        ("error", "Failed", "var(--bad)"),
    )
    times = [at(point.at) for point in series.points]
    data = [
        {
            "type": "bar",
            "name": label,
            "x": times,
            "y": [round(getattr(point.totals, name) / point.seconds, 4) for point in series.points],
            "marker": {"color": colour, "line": {"width": 0}},
            "offset": 0,
            "hovertemplate": "%{y:.3~f}/s",
        }
        for name, label, colour in outcomes
        if name == "ok" or getattr(series.totals, name)
    ]
    return Plot(
        name="traffic",
        title="Requests per second",
        figure={"data": data, "layout": marked(theme(unit="", start=series.start, end=series.end, barmode="stack", bargap=0), marks)},
        header=("Time (UTC)", "Requests", "Answered", "Failed", "Refused", "Cancelled", "Outcome unknown"),
        rows=[(at(point.at), t.requests, t.ok, t.error, t.refused, t.cancelled, t.unknown) for point, t in _with_traffic(series.points)],
    )


def latency(series: Series, marks: Sequence[Mark] = ()) -> Plot:
    """Time to the whole answer at three quantiles, and to the first token at p95; no point where nothing was measured."""
    times = [at(point.at) for point in series.points]
    lines: list[tuple[str, str, str, list[float | None]]] = [
        ("p50", "var(--plot-2)", "solid", [point.total.p50 for point in series.points]),
        ("p95", "var(--plot-1)", "solid", [point.total.p95 for point in series.points]),
        ("p99", "var(--plot-3)", "solid", [point.total.p99 for point in series.points]),
    ]
    if series.first_token.count:
        lines.append(("first token p95", "var(--plot-5)", "dot", [point.first_token.p95 for point in series.points]))
    top = max((value for _, _, _, values in lines for value in values if value is not None), default=0)
    unit, divisor = (" s", 1e6) if top >= 2e6 else (" ms", 1e3)
    data = [
        {
            "type": "scatter",
            "mode": "lines" if _unbroken(values) else "lines+markers",
            "name": name,
            "x": times,
            "y": [None if value is None else round(value / divisor, 4) for value in values],
            "line": {"color": colour, "width": 1.6, "dash": dash},
            "marker": {"size": 4, "color": colour},
            "connectgaps": False,
            "hovertemplate": f"%{{y:.4~r}}{unit}",
        }
        for name, colour, dash, values in lines
    ]
    return Plot(
        name="latency",
        title="Latency",
        figure={"data": data, "layout": marked(theme(unit=unit, start=series.start, end=series.end), marks)},
        header=("Time (UTC)", "p50 ms", "p95 ms", "p99 ms", "First token p50 ms", "First token p95 ms", "First token p99 ms"),
        rows=[
            (at(point.at), *(_ms(value) for side in (point.total, point.first_token) for value in (side.p50, side.p95, side.p99)))
            for point, _ in _with_traffic(series.points)
        ],
    )


def spend(series: Series, marks: Sequence[Mark] = ()) -> Plot:
    """Dollars per step."""
    data = [
        {
            "type": "bar",
            "name": "Spend",
            "x": [at(point.at) for point in series.points],
            "y": [point.totals.cost_nano / NANO for point in series.points],
            "marker": {"color": "var(--plot-1)", "line": {"width": 0}},
            "offset": 0,
            "hovertemplate": "$%{y:.6~f}",
        }
    ]
    layout = theme(unit="", start=series.start, end=series.end, bargap=0, showlegend=False)
    layout["yaxis"] |= DOLLARS
    layout["margin"] |= {"t": 8}
    return Plot(
        name="spend",
        title="Spend",
        figure={"data": data, "layout": marked(layout, marks)},
        header=("Time (UTC)", "Dollars", "Nano-dollars", "Tokens in", "Tokens out", "Requests"),
        rows=[
            (at(point.at), dollars_text(t.cost_nano), t.cost_nano, t.tokens_input, t.tokens_output, t.requests)
            for point, t in _with_traffic(series.points)
        ],
    )


def _unbroken(values: Sequence[float | None]) -> bool:
    """Whether a line alone shows every point: a lone point between two gaps would be invisible."""
    padded = [None, *values, None]
    return all(
        here is None or before is not None or after is not None for before, here, after in zip(padded, padded[1:], padded[2:], strict=False)
    )


def _ms(value: float | None) -> str:
    return "" if value is None else f"{value / 1e3:.3f}"


def _with_traffic(points: Sequence[Point]) -> list[tuple[Point, Any]]:
    """The table leaves out steps without traffic, newest first, as every list here."""
    return [(point, point.totals) for point in reversed(points) if point.totals.requests or point.totals.cost_nano]
