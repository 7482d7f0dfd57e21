"""Figures of spend: days as they were, days as they are forecast, forecasts against what came. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, timedelta
from typing import Any

from apps.contracts.money import NANO, dollars_text
from apps.ui.plots import DOLLARS, Plot, at, theme
from apps.usage.forecast import Forecast, Kept
from apps.usage.spend import midnight

SHOWN_DAYS = 35
HEADER = ("Day (UTC)", "Dollars", "Forecast", "At least", "At most")


def days_plot(days: Mapping[date, int], later: Sequence[tuple[date, Forecast]], *, today: date) -> Plot:
    """The last days, and the rest of the month as it is forecast. Today is not over."""
    shown = [today - timedelta(days=back) for back in range(SHOWN_DAYS - 1, -1, -1)]
    data = [_bars("Spent", [(day, days.get(day, 0)) for day in shown])]
    data += _expected(later)
    rows = [(day, None, expected) for day, expected in reversed(later)]
    rows += [(day, days[day], None) for day in reversed(shown) if day in days]
    last = later[-1][0] if later else today
    return _plot("spend-days", "Spend by day", data, shown[0], last, rows)


def record_plot(kept: Sequence[Kept]) -> Plot:
    """What each day was forecast to cost, and what it did. kept: of days, newest first."""
    known = [one for one in reversed(kept) if one.actual is not None][-SHOWN_DAYS:]
    data = [_bars("Spent", [(one.of, one.actual or 0) for one in known])]
    data += _expected([(one.of, one.forecast) for one in known])
    rows = [(one.of, one.actual, one.forecast) for one in reversed(known)]
    first, last = (known[0].of, known[-1].of) if known else (date(2000, 1, 1), date(2000, 1, 1))
    return _plot("spend-record", "Forecasts against what came", data, first, last, rows)


def _bars(name: str, days: Sequence[tuple[date, int]]) -> dict[str, Any]:
    return {
        "type": "bar",
        "name": name,
        "x": [at(midnight(day)) for day, _ in days],
        "y": [nano / NANO for _, nano in days],
        "marker": {"color": "var(--plot-1)", "line": {"width": 0}},
        "hovertemplate": "$%{y:.6~f}",
    }


def _expected(days: Sequence[tuple[date, Forecast]]) -> list[dict[str, Any]]:
    """Points with the interval as a bar through each."""
    if not days:
        return []
    return [
        {
            "type": "scatter",
            "mode": "markers",
            "name": "Forecast, 80% between",
            "x": [at(midnight(day)) for day, _ in days],
            "y": [one.nano / NANO for _, one in days],
            "marker": {"color": "var(--plot-3)", "size": 6},
            "error_y": {
                "type": "data",
                "symmetric": False,
                "array": [(one.high - one.nano) / NANO for _, one in days],
                "arrayminus": [(one.nano - one.low) / NANO for _, one in days],
                "color": "var(--plot-3)",
                "thickness": 1.2,
                "width": 3,
            },
            "hovertemplate": "$%{y:.6~f}",
        }
    ]


def _plot(
    name: str, title: str, data: list[dict[str, Any]], first: date, last: date, rows: Sequence[tuple[date, int | None, Forecast | None]]
) -> Plot:
    half = timedelta(hours=12)
    layout = theme(unit="", start=midnight(first) - half, end=midnight(last) + half, bargap=0.25, showlegend=len(data) > 1)
    layout["yaxis"] |= DOLLARS
    layout["xaxis"] |= {"fixedrange": True}
    return Plot(
        name=name,
        title=title,
        figure={"data": data, "layout": layout},
        header=HEADER,
        rows=[
            (
                day.isoformat(),
                "" if actual is None else dollars_text(actual),
                *(("", "", "") if one is None else (dollars_text(one.nano), dollars_text(one.low), dollars_text(one.high))),
            )
            for day, actual, one in rows
        ],
    )
