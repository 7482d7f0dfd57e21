"""An incident's minutes as a plot: requests, those that failed, and the window in which people felt it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from apps.contracts.money import dollars_text
from apps.postmortems.impact_rules import MINUTE, MinuteImpact
from apps.ui.plots import Plot, at, theme
from apps.usage.plots import Mark, marked

MOST_POINTS = 360


def impact_plot(
    minutes: Sequence[MinuteImpact], *, since: datetime | None, until: datetime | None, marks: Sequence[Mark] = ()
) -> Plot | None:
    """Failed and rescued by the minute, stacked over nothing but the time; None without a minute. Pure.

    Long ranges are drawn in wider steps, each the sum of its minutes.
    """
    if not minutes:
        return None
    width = -(-len(minutes) // MOST_POINTS)
    steps = [_sum(minutes[first : first + width]) for first in range(0, len(minutes), width)]
    times = [at(step.at) for step in steps]
    data = [
        {
            "type": "bar", "name": name, "x": times, "y": values, "marker": {"color": colour, "line": {"width": 0}}, "offset": 0,
            "hovertemplate": "%{y:,}",
        }
        for name, colour, values in (
            ("Answered", "var(--plot-1)", [max(0, step.requests - step.failed - step.refused) for step in steps]),
            ("Refused", "var(--warn)", [step.refused for step in steps]),
            ("Failed", "var(--bad)", [step.failed for step in steps]),
        )
        if name != "Refused" or any(values)
    ]  # fmt: skip
    start, end = minutes[0].at, minutes[-1].at + MINUTE
    layout = marked(theme(unit="", start=start, end=end, barmode="stack", bargap=0), marks)
    if since is not None:
        shade = {
            "type": "rect", "xref": "x", "yref": "paper", "x0": at(since), "x1": at(min(until or end, end)), "y0": 0, "y1": 1,
            "fillcolor": "var(--bad)", "opacity": 0.08, "line": {"width": 0}, "layer": "below",
        }  # fmt: skip
        layout = {**layout, "shapes": [*layout.get("shapes", []), shade]}
    return Plot(
        name="impact",
        title="Requests a minute" if width == 1 else f"Requests in {width} minutes",
        figure={"data": data, "layout": layout},
        header=("Time (UTC)", "Requests", "Failed", "Refused", "Failed attempts", "Dollars"),
        rows=[
            (at(step.at), step.requests, step.failed, step.refused, step.attempt_errors, dollars_text(step.cost_nano))
            for step in reversed(steps)
            if step.requests or step.attempt_errors
        ],
    )


def _sum(minutes: Sequence[MinuteImpact]) -> MinuteImpact:
    names = ("requests", "failed", "attempt_errors", "cost_nano", "attempts", "tokens", "refused")
    return MinuteImpact(minutes[0].at, **{name: sum(getattr(one, name) for one in minutes) for name in names})
