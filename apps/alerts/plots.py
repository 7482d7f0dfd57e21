"""An alert's figure against its threshold over time, and how fast an SLO's error budget burns."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from apps.accounts.scope import Scope
from apps.alerts import choices
from apps.alerts.models import Alert, AlertEvent, Slo
from apps.alerts.series import SERIES, SUMMED_SCOPES, Series, value_text
from apps.alerts.slo_history import slo_history
from apps.alerts.sources.traffic import COLUMNS, Traffic, figure_of
from apps.contracts.money import NANO
from apps.ui.plots import DOLLARS, Plot, at, theme
from apps.usage.gauges import GAUGES, gauge_series
from apps.usage.selectors import traffic_series

BEFORE = timedelta(hours=1)
"""What a plot shows before an alert began, so that what is usual can be seen."""
LONGEST = timedelta(days=2)
Points = list[tuple[datetime, float | None]]


def alert_plot(alert: Alert, events: Sequence[AlertEvent], *, now: datetime) -> Plot | None:
    """The series from before the alert began to its end, or to now, else the values of its events; None where there are none. Two queries
    at most."""
    start = alert.started_at - BEFORE
    end = min((alert.resolved_at or now) + BEFORE, now)
    start = max(start, end - LONGEST)
    series = SERIES[alert.rule.series]
    points = series_points(alert, series, start, end, now=now)
    if all(value is None for _, value in points):
        points = [(event.at, event.value) for event in events if event.value is not None]
    if not points:
        return None
    warn, critical = _bounds(alert)
    return figure_plot(series, points, start=start, end=end, warn=warn, critical=critical, title=series.label)


def series_points(alert: Alert, series: Series, start: datetime, end: datetime, *, now: datetime) -> Points:
    """The series of an alert's subject by the step, where it is kept by the step; None where nothing was measured."""
    if series.source == "traffic" and alert.by in SUMMED_SCOPES and alert.subject != choices.OTHER:
        organisation = alert.organisation
        scope = Scope(organisation=str(organisation.pk), simulated=organisation.simulated)
        found = traffic_series(
            scope, start, end, dimension=COLUMNS.get(alert.by, ""), value=alert.subject, whole=[], latency=series.unit == "us", now=now
        )  # type: ignore[arg-type]
        return [
            (point.at, figure_of(series.figure, Traffic(point.totals, point.total, point.first_token), point.seconds)[0])
            for point in found.points
        ]
    if series.source == "gauge" and series.name in GAUGES:
        step = max(60, int((end - start).total_seconds() / 300))
        organisation_id = None if series.installation else str(alert.organisation_id)
        return gauge_series(organisation=organisation_id, name=series.name, subject=alert.subject, since=start, until=end, step_s=step)
    return []


def figure_plot(
    series: Series, points: Points, *, start: datetime, end: datetime, warn: float | None, critical: float | None, title: str
) -> Plot:
    """A figure over time with the lines that it must not cross. Pure."""
    known = [value for _, value in points if value is not None]
    divisor, unit, dollars = _scale(series, max([*known, warn or 0.0, critical or 0.0]))
    data: list[dict[str, Any]] = [
        {
            "type": "scatter",
            "mode": "lines+markers",
            "name": "Measured",
            "x": [at(moment) for moment, _ in points],
            "y": [None if value is None else value / divisor for _, value in points],
            "line": {"color": "var(--plot-1)", "width": 1.6},
            "marker": {"size": 4, "color": "var(--plot-1)"},
            "connectgaps": False,
            "hovertemplate": f"%{{y:.4~r}}{unit}",
        }
    ]
    for name, bound, colour, dash in (("Critical", critical, "var(--bad)", "solid"), ("Warning", warn, "var(--warn)", "dot")):
        if bound is not None:
            data.append(_level(name, bound / divisor, colour, dash, start, end, unit))
    layout = theme(unit=unit, start=start, end=end)
    if dollars:
        layout["yaxis"] |= DOLLARS
    return Plot(
        name="alert",
        title=title,
        figure={"data": data, "layout": layout},
        header=("Time (UTC)", "Measured"),
        rows=[(at(moment), value_text(series, value)) for moment, value in reversed(points) if value is not None],
    )


def slo_plot(slo: Slo, *, now: datetime) -> Plot | None:
    """How fast the error budget burnt over the SLO's window; None where nothing was counted. One query."""
    history = slo_history(slo, now=now)
    if all(point.burn is None for point in history):
        return None
    return burn_plot([(point.at, point.burn) for point in history], start=history[0].at, end=now)


def burn_plot(points: Sequence[tuple[datetime, float | None]], *, start: datetime, end: datetime) -> Plot:
    """How fast an error budget burns: 1 uses it up exactly at the end of its window. Pure."""
    factors = {severity: min(burn.factor for burn in choices.BURNS if burn.severity == severity) for severity in choices.SEVERITIES}
    series = SERIES[choices.SLO_SERIES]
    plot = figure_plot(
        series, list(points), start=start, end=end, warn=factors[choices.WARNING], critical=factors[choices.CRITICAL], title=series.label
    )
    return Plot("burn", plot.title, plot.figure, ("Time (UTC)", "Burn rate"), plot.rows)


def _bounds(alert: Alert) -> tuple[float | None, float | None]:
    """(warning, critical) in the series' unit; of a rule on a baseline as the last judgement had them."""
    rule = alert.rule
    if rule.comparison != choices.TIMES_BASELINE:
        return rule.warn, rule.critical
    bound = rule.critical if alert.severity == choices.CRITICAL and rule.critical is not None else rule.warn
    if not bound or alert.threshold is None:
        return None, None
    usual = alert.threshold / bound
    return (rule.warn * usual if rule.warn is not None else None), (rule.critical * usual if rule.critical is not None else None)


def _scale(series: Series, top: float) -> tuple[float, str, bool]:
    """(divisor, suffix, dollars) of an axis whose largest value is ``top``."""
    if series.unit in ("us", "ms", "s"):
        micros = {"us": 1.0, "ms": 1e3, "s": 1e6}[series.unit]
        return (1e6 / micros, " s", False) if top * micros >= 2_000_000 else (1e3 / micros, " ms", False)
    if series.unit == "ratio":
        return 0.01, " %", False
    if series.unit == "nano_per_h":
        return float(NANO), "", True
    return 1.0, {"percent": " %", "times": "x", "per_s": "/s"}.get(series.unit, ""), False


def _level(name: str, value: float, colour: str, dash: str, start: datetime, end: datetime, unit: str) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": [at(start), at(end)],
        "y": [value, value],
        "line": {"color": colour, "width": 1.2, "dash": dash},
        "hovertemplate": f"%{{y:.4~r}}{unit}",
    }
