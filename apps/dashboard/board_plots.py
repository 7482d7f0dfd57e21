"""Figures of dashboards: pure functions from one series, and the one it is compared with, to what plotly.js draws, with their tables."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from apps.contracts.money import NANO, dollars_text
from apps.dashboard.board import availability, classes_shown, failed_of
from apps.ui.plots import DOLLARS, Plot, at, theme
from apps.usage.measures import Latency, Point, Series
from apps.usage.plots import Mark, marked

MOST_CLASSES = 7
"""Classes of failures with a colour of their own; the rest is one."""
COLOURS = ("var(--bad)", "var(--plot-3)", "var(--warn)", "var(--plot-5)", "var(--plot-2)", "var(--plot-4)", "var(--plot-1)")
BEFORE = {"color": "var(--ink-3)", "width": 1.4, "dash": "dash"}

Value = Callable[[Point], float | None]


def _line(series: Series, name: str, value: Value, colour: str, unit: str, dash: str = "solid") -> dict[str, Any]:
    return _trace(
        [at(point.at) for point in series.points],
        name,
        [value(point) for point in series.points],
        unit,
        {"color": colour, "width": 1.6, "dash": dash},
    )


def _trace(times: list[str], name: str, values: Sequence[float | None], unit: str, line: dict[str, Any]) -> dict[str, Any]:
    padded = [None, *values, None]
    lonely = any(
        here is not None and before is None and after is None for before, here, after in zip(padded, padded[1:], padded[2:], strict=False)
    )
    return {
        "type": "scatter",
        "mode": "lines+markers" if lonely else "lines",  # a lone point between two gaps would be invisible
        "name": name,
        "x": times,
        "y": [None if value is None else round(value, 6) for value in values],
        "line": line,
        "marker": {"size": 4, "color": line["color"]},
        "connectgaps": False,
        "hovertemplate": f"%{{y:.4~r}}{unit}",
    }


def _before(before: Series | None, shift: timedelta | None, value: Value, unit: str, name: str = "before") -> list[dict[str, Any]]:
    """The time that it is compared with, moved to where the range is."""
    if before is None or shift is None:
        return []
    return [_trace([at(point.at + shift) for point in before.points], name, [value(point) for point in before.points], unit, BEFORE)]


def _layout(series: Series, marks: Sequence[Mark], unit: str = "", **more: Any) -> dict[str, Any]:
    return marked(theme(unit=unit, start=series.start, end=series.end, **more), marks)


def rate(series: Series, before: Series | None, shift: timedelta | None, marks: Sequence[Mark], plot: Plot) -> Plot:
    """``apps.usage.plots.traffic`` with the time it is compared with as a line."""
    lines = _before(before, shift, lambda point: point.totals.requests / point.seconds, "/s", "requests before")
    return Plot(plot.name, plot.title, {**plot.figure, "data": [*plot.figure["data"], *lines]}, plot.header, plot.rows)


def failures(series: Series, marks: Sequence[Mark], *, attempts: bool) -> Plot | None:
    """Failures per step by class, stacked; None where there is none."""
    whole = classes_shown(series.classes, attempts=attempts)
    if not whole:
        return None
    names = list(whole)[:MOST_CLASSES]
    rest = set(whole) - set(names)
    steps = [(point, classes_shown(point.classes, attempts=attempts)) for point in series.points]
    counted: dict[str, Callable[[Mapping[str, int]], int]] = {name: (lambda told, name=name: told.get(name, 0)) for name in names}
    if rest:
        counted[f"{len(rest)} others"] = lambda told: sum(count for name, count in told.items() if name in rest)
    data = [
        {
            "type": "bar",
            "name": name,
            "x": [at(point.at) for point, _ in steps],
            "y": [count(told) for _, told in steps],
            "marker": {"color": (*COLOURS, "var(--unknown)")[place], "line": {"width": 0}},
            "offset": 0,
            "hovertemplate": "%{y}",
        }
        for place, (name, count) in enumerate(counted.items())
    ]
    return Plot(
        name="failures",
        title="Failed attempts by class" if attempts else "Failures by class",
        figure={"data": data, "layout": _layout(series, marks, barmode="stack", bargap=0)},
        header=("Time (UTC)", *counted),
        rows=[(at(point.at), *(count(told) for count in counted.values())) for point, told in reversed(steps) if told],
    )


def quantiles(
    name: str,
    title: str,
    series: Series,
    before: Series | None,
    shift: timedelta | None,
    marks: Sequence[Mark],
    pick: Callable[[Point], Latency],
) -> Plot | None:
    """p50, p95 and p99 of one duration, and the p95 that it is compared with; None where nothing was measured."""
    measured = [pick(point) for point in series.points]
    top = max((latency.p99 for latency in measured if latency.p99 is not None), default=None)
    if top is None:
        return None
    unit, divisor = (" s", 1e6) if top >= 2e6 else (" ms", 1e3)

    def of(which: str) -> Value:
        return lambda point: None if (value := getattr(pick(point), which)) is None else value / divisor

    data = [
        _line(series, which, of(which), colour, unit)
        for which, colour in (("p50", "var(--plot-2)"), ("p95", "var(--plot-1)"), ("p99", "var(--plot-3)"))
    ]
    data += _before(before, shift, of("p95"), unit, "p95 before")
    return Plot(
        name=name,
        title=title,
        figure={"data": data, "layout": _layout(series, marks, unit)},
        header=("Time (UTC)", "p50 ms", "p95 ms", "p99 ms", "Measured"),
        rows=[
            (at(point.at), *(f"{value / 1e3:.3f}" for value in (found.p50, found.p95, found.p99) if value is not None), found.count)
            for point, found in reversed(list(zip(series.points, measured, strict=True)))
            if found.count
        ],
    )


def available(series: Series, before: Series | None, shift: timedelta | None, marks: Sequence[Mark], *, attempts: bool) -> Plot | None:
    """Percent that did not fail, by step."""

    def value(point: Point) -> float | None:
        return availability(*failed_of(point, attempts=attempts))

    values = [value(point) for point in series.points]
    low = min((each for each in values if each is not None), default=None)
    if low is None:
        return None
    layout = _layout(series, marks, " %")
    layout["yaxis"] |= {"range": [max(0.0, low - max(0.5, (100 - low) * 0.1)), 100.2], "rangemode": "normal"}
    return Plot(
        name="availability",
        title="Availability",
        figure={
            "data": [_line(series, "availability", value, "var(--good)", " %"), *_before(before, shift, value, " %")],
            "layout": layout,
        },
        header=("Time (UTC)", "Availability %", "Failed", "Of"),
        rows=[
            (at(point.at), f"{share:.4f}", *failed_of(point, attempts=attempts))
            for point, share in reversed(list(zip(series.points, values, strict=True)))
            if share is not None
        ],
    )


def tokens(series: Series, before: Series | None, shift: timedelta | None, marks: Sequence[Mark]) -> Plot | None:
    """Tokens per second, in and out."""
    if not series.totals.tokens_input + series.totals.tokens_output:
        return None
    data = [
        _line(series, "in", lambda point: point.totals.tokens_input / point.seconds, "var(--plot-1)", "/s"),
        _line(series, "out", lambda point: point.totals.tokens_output / point.seconds, "var(--plot-2)", "/s"),
    ]
    if series.totals.tokens_cache_read:
        data.append(
            _line(series, "in, read from cache", lambda point: point.totals.tokens_cache_read / point.seconds, "var(--plot-5)", "/s", "dot")
        )
    data += _before(before, shift, lambda point: point.totals.tokens_output / point.seconds, "/s", "out before")
    return Plot(
        name="tokens",
        title="Tokens per second",
        figure={"data": data, "layout": _layout(series, marks)},
        header=("Time (UTC)", "Tokens in", "Of them read from cache", "Tokens out"),
        rows=[
            (at(point.at), point.totals.tokens_input, point.totals.tokens_cache_read, point.totals.tokens_output)
            for point in reversed(series.points)
            if point.totals.tokens_input or point.totals.tokens_output
        ],
    )


def unit_cost(series: Series, before: Series | None, shift: timedelta | None, marks: Sequence[Mark]) -> Plot | None:
    """Dollars for one request, and for a thousand tokens, by step."""
    if not series.totals.cost_nano:
        return None

    def request(point: Point) -> float | None:
        return per(point.totals.cost_nano, point.totals.requests)

    def thousand(point: Point) -> float | None:
        return per(point.totals.cost_nano * 1_000, point.totals.tokens_input + point.totals.tokens_output)

    layout = _layout(series, marks)
    layout["yaxis"] |= DOLLARS
    data = [_line(series, "a request", request, "var(--plot-1)", ""), _line(series, "1,000 tokens", thousand, "var(--plot-2)", "")]
    return Plot(
        name="unit-cost",
        title="Cost of a request and of 1,000 tokens",
        figure={"data": [*data, *_before(before, shift, request, "", "a request before")], "layout": layout},
        header=("Time (UTC)", "Dollars a request", "Dollars per 1,000 tokens", "Dollars"),
        rows=[
            (
                at(point.at),
                *("" if value is None else f"{value:.9f}" for value in (request(point), thousand(point))),
                dollars_text(point.totals.cost_nano),
            )
            for point in reversed(series.points)
            if point.totals.cost_nano
        ],
    )


def per(nano: int, count: int) -> float | None:
    """Dollars each; None of nothing."""
    return nano / count / NANO if count else None


def intervals(rows: Sequence[tuple[str, datetime, datetime]], *, start: datetime, end: datetime, marks: Sequence[Mark]) -> dict[str, Any]:
    """A figure of when each of some things was out of service: a bar from a moment to another. rows: (name, from, to)."""
    names = sorted({name for name, _, _ in rows}, reverse=True)
    times: list[str | None] = []
    places: list[str | None] = []
    for name, begun, ended in rows:
        times += [at(max(begun, start)), at(min(ended, end)), None]
        places += [name, name, None]
    layout = marked(theme(unit="", start=start, end=end, showlegend=False), marks)
    layout["yaxis"] = {
        **layout["yaxis"],
        "type": "category",
        "categoryarray": names,
        "range": [-0.6, len(names) - 0.4],
        "rangemode": "normal",
    }
    layout["hovermode"] = "closest"
    bars = {
        "type": "scatter",
        "mode": "lines",
        "x": times,
        "y": places,
        "line": {"color": "var(--bad)", "width": 12},
        "connectgaps": False,
        "hovertemplate": "%{y}: %{x}<extra></extra>",
    }
    return {"data": [bars], "layout": layout}


def gauge(
    name: str,
    title: str,
    unit: str,
    points: Sequence[tuple[datetime, float | None]],
    *,
    start: datetime,
    end: datetime,
    marks: Sequence[Mark],
) -> Plot | None:
    """What was sampled, by step; None where nothing was, and no point where a step was not."""
    if all(value is None for _, value in points):
        return None
    trace = _trace(
        [at(moment) for moment, _ in points], title, [value for _, value in points], unit, {"color": "var(--plot-1)", "width": 1.6}
    )
    layout = marked(theme(unit=unit, start=start, end=end, showlegend=False), marks)
    rows = [(at(moment), value) for moment, value in reversed(points) if value is not None]
    return Plot(name, title, {"data": [trace], "layout": layout}, ("Time (UTC)", title), rows)
