"""The figure of a performance budget over time, with its bound and the line from which on it warns. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from apps.budgets import performance_choices as choices
from apps.budgets import performance_rules as rules
from apps.budgets.models import PerformanceBudget
from apps.budgets.performance_measure import Step
from apps.contracts.money import NANO
from apps.ui.plots import DOLLARS, Plot, at, theme


def measured_plot(budget: PerformanceBudget, steps: Sequence[Step], *, start: datetime, end: datetime) -> Plot:
    """No point where nothing was measured; lone points are drawn as such. Steps are single ones, whereas verdicts look at the window."""
    metric = choices.METRICS[budget.metric]
    warn = budget.bound * budget.warn_percent / 100
    top = max([budget.bound, *(step.value for step in steps if step.value is not None)])
    divisor, unit, prefix = _scale(metric.unit, top)
    values = [None if step.value is None else step.value / divisor for step in steps]
    data: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": "Measured",
            "x": [at(step.at) for step in steps],
            "y": values,
            "line": {"color": "var(--plot-1)", "width": 1.6},
            "marker": {"size": 4, "color": "var(--plot-1)"},
            "connectgaps": False,
            "hovertemplate": f"{prefix}%{{y:.4~r}}{unit}",
        },
        _level("Bound", budget.bound / divisor, "var(--bad)", "solid", start, end, f"{prefix}%{{y:.4~r}}{unit}"),
    ]
    if budget.warn_percent < 100:
        data.append(_level("Warning", warn / divisor, "var(--warn)", "dot", start, end, f"{prefix}%{{y:.4~r}}{unit}"))
    layout = theme(unit=unit, start=start, end=end)
    if prefix:
        layout["yaxis"] |= DOLLARS
    return Plot(
        name="performance",
        title=metric.label,
        figure={"data": data, "layout": layout},
        header=("Time (UTC)", "Measured", metric.calls.capitalize() if budget.scope == "model" else metric.samples.capitalize()),
        rows=[
            (at(step.at), rules.value_text(budget.metric, step.value), step.samples) for step in reversed(steps) if step.value is not None
        ],
    )


def _scale(unit: choices.Unit, top: int) -> tuple[float, str, str]:
    """(divisor, suffix, prefix) of an axis whose largest value is ``top``."""
    if unit == "duration":
        return (1e6, " s", "") if top >= 2_000_000 else (1e3, " ms", "")
    if unit == "share":
        return 1e4, " %", ""
    return (float(NANO), "", "$") if unit == "dollars" else (1e3, " h", "")


def _level(name: str, value: float, colour: str, dash: str, start: datetime, end: datetime, hover: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": [at(start), at(end)],
        "y": [value, value],
        "line": {"color": colour, "width": 1.2, "dash": dash},
        "hovertemplate": hover,
    }
