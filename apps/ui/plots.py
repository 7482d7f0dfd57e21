"""Figures as every app makes them: plotly's own JSON in one theme, with the table that says the same in numbers.

Colours are names of design tokens, ``var(--plot-1)``, which static/js/plots.js resolves, so that one figure serves both
colour schemes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

DOLLARS = {"tickprefix": "$", "tickformat": ",.9~f"}
"""A vertical axis of dollars: digits, where plotly would write ``$40µ``."""


@dataclass(frozen=True, slots=True)
class Plot:
    """A figure with what stands beside it: ``header`` and ``rows`` are its table and its CSV."""

    name: str
    title: str
    figure: dict[str, Any]
    header: tuple[str, ...]
    rows: list[tuple[Any, ...]]


def theme(*, unit: str, start: datetime, end: datetime, **more: Any) -> dict[str, Any]:
    """The one layout: no frame, faint horizontal lines, time below, the legend above, everything in token colours."""
    axis = {"zeroline": False, "tickfont": {"color": "var(--ink-3)", "size": 11}, "automargin": True, "fixedrange": True}
    return {
        "autosize": True,
        "margin": {"l": 8, "r": 8, "t": 28, "b": 24},
        "paper_bgcolor": "rgba(0,0,0,0)",
        "plot_bgcolor": "rgba(0,0,0,0)",
        "font": {"color": "var(--ink-2)", "size": 11, "family": "system-ui, sans-serif"},
        "hovermode": "x unified",
        "hoverlabel": {"bgcolor": "var(--surface)", "bordercolor": "var(--line-strong)", "font": {"color": "var(--ink)", "size": 12}},
        "legend": {
            "orientation": "h",
            "x": 0,
            "y": 1.02,
            "xanchor": "left",
            "yanchor": "bottom",
            "traceorder": "normal",
            "font": {"color": "var(--ink-2)"},
        },
        "showlegend": True,
        "dragmode": "zoom",
        "xaxis": {
            **axis,
            "type": "date",
            "range": [at(start), at(end)],
            "showgrid": False,
            "fixedrange": False,
            "linecolor": "var(--line)",
        },
        "yaxis": {**axis, "rangemode": "tozero", "gridcolor": "var(--line)", "ticksuffix": unit, "nticks": 5},
        **more,
    }


@lru_cache(maxsize=20_000)
def at(moment: datetime) -> str:
    """A time as plotly.js shows it unchanged: it knows no zones, so UTC goes in; the page turns it into local time where asked."""
    return moment.strftime("%Y-%m-%d %H:%M:%S")
