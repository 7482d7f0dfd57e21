"""What an alert's last judgement rests on, in words: the page of an alert shows it beside the figure."""

from __future__ import annotations

from typing import Any

from apps.alerts import choices
from apps.alerts.models import Alert
from apps.alerts.series import SERIES, value_text
from apps.alerts.sources.slos import BUDGET_USED
from apps.alerts.wording import span_text
from apps.ui import format as formatting
from apps.ui.status import Status

_QUIET = Status("quiet", "No", "good")
_HIDDEN = ("series", "from", "to", "pairs", "learning", "window")
"""Told elsewhere on the page, or for programs only; ids are hidden, too."""
_LABELS = {
    "reasons": "Because",
    "day_nano": "A day's money",
    "limit_nano": "Limit of the window",
    "usual_nano": "Usual in that hour",
    "highest_nano": "Highest before",
    "allowed_nano": "Not flagged up to",
    "hour": "Worst hour",
    "hours": "Hours so far",
    "days": "Days of history",
    "folded": "Made of so many",
}
MOST_TOLD = 10


def evidence_pairs(alert: Alert) -> list[tuple[str, str]]:
    """(what, its value); ``pairs`` of an SLO's burn rates stand in a table of their own."""
    series, facts = SERIES[alert.rule.series], dict(alert.evidence)
    worst = facts.pop("worst", None) or {}
    found = [("Rests on", f"{facts.pop('samples', 0):,} {facts.pop('samples_of', series.samples_of)}")]
    if worst.get("value") is not None:
        found.append(("Worst so far", value_text(series, worst["value"])))
    if "baseline" in facts:
        learning = " (learning: there are no two weeks yet)" if facts.pop("learning", False) else ""
        found.append(("Usual", f"{value_text(series, facts.pop('baseline'))}{learning}"))
    if BUDGET_USED in facts:
        found.append(("Error budget used", f"{facts.pop(BUDGET_USED):,.1f} %"))
    shown = {name: value for name, value in facts.items() if name not in _HIDDEN and not name.endswith("_id")}
    return [*found, *(_pair(name, value) for name, value in shown.items())]


def _pair(name: str, value: Any) -> tuple[str, str]:
    label = _LABELS.get(name) or name.removesuffix("_nano").replace("_", " ").capitalize()
    if name.endswith("_nano") and isinstance(value, int):
        return label, formatting.dollars(value)
    if name == "reasons":  # of a provider
        return label, "; ".join(reason["text"] for reason in value[:MOST_TOLD]) or formatting.NOTHING
    return label, _text(value)


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: formatting.NOTHING}[value]
    if isinstance(value, float):
        return f"{value:,.4g}"
    if isinstance(value, list):
        return ", ".join(_text(item) for item in value[:MOST_TOLD]) or formatting.NOTHING
    if isinstance(value, dict):
        return ", ".join(f"{name} {_text(item)}" for name, item in list(value.items())[:MOST_TOLD]) or formatting.NOTHING
    return f"{value:,}" if isinstance(value, int) else str(value)


def burn_lines(alert: Alert) -> list[dict[str, Any]]:
    """The pairs of windows of an SLO's alert, as a table has them."""
    return [
        {
            "windows": f"{span_text(pair['long_s'])} and {span_text(pair['short_s'])}",
            "factor": f"{pair['factor']:g}×",
            "long": formatting.NOTHING if pair["long"] is None else f"{pair['long']:.3g}×",
            "short": formatting.NOTHING if pair["short"] is None else f"{pair['short']:.3g}×",
            "status": choices.SEVERITIES[pair["severity"]] if pair["burning"] else _QUIET,
        }
        for pair in alert.evidence.get("pairs", ())
    ]
