"""The list of performance budgets: what its URL asks for, its rows, and the same rows as CSV."""

from __future__ import annotations

from collections.abc import Mapping

from django.urls import reverse

from apps.accounts.scope import Choice
from apps.budgets import performance_choices as choices
from apps.budgets.performance_selectors import PerformanceLine, performance_budgets_of, performance_lines
from apps.ui.status import SEVERITY
from apps.ui.tables import Chip, Column, Empty, Listing, listing_build

_COLUMNS: tuple[Column[PerformanceLine], ...] = (
    Column("Performance budget", "name", value=lambda row: row.name),
    Column("For", "for", value=lambda row: f"{row.budget.scope} {row.subject or '(gone)'}"),
    Column("Verdict", "verdict", numeric=False, value=lambda row: SEVERITY.index(row.status.tone)),
    Column("What", "metric", value=lambda row: row.metric),
    Column("Measured", "measured", numeric=True, value=lambda row: row.measured_share, help="Sorted by its share of the bound."),
    Column("Bound", numeric=True, value=lambda row: row.bound),
    Column("Samples", "samples", numeric=True, value=lambda row: row.samples, help="Measurements in the window."),
    Column("Owner", "owner", value=lambda row: row.budget.owner_email),
)
_WRITTEN = {"Verdict": lambda row: row.status.label, "Measured": lambda row: row.measured}
"""What CSV holds where a column sorts by something else."""
_CSV: tuple[Column[PerformanceLine], ...] = (
    *(Column(column.label, column.key, numeric=column.numeric, value=_WRITTEN.get(column.label, column.value)) for column in _COLUMNS),
    Column("Over", value=lambda row: row.window),
    Column("Why", value=lambda row: row.why),
)


def performance_list(choice: Choice, query: Mapping[str, str], *, csv: bool = False) -> Listing[PerformanceLine]:
    """One page of the organisation's performance budgets, the worst first, narrowed by a part of a name, metric and verdict."""
    asked, metric, verdict = query.get("q", "").replace("\x00", "").strip()[:200], query.get("metric", ""), query.get("verdict", "")
    rows = performance_budgets_of(choice.organisation)
    chips = []
    if metric in choices.METRICS:
        rows = rows.filter(metric=metric)
        chips.append(Chip("What", choices.METRICS[metric].label, "metric"))
    lines = performance_lines(choice.organisation, list(rows))
    if verdict in choices.VERDICTS:
        chips.append(Chip("Verdict", choices.VERDICTS[verdict].label, "verdict"))
        lines = [line for line in lines if line.status.value == verdict]
    if asked:
        chips.append(Chip("Name", asked, "q"))
        lines = [line for line in lines if asked.lower() in line.name.lower() or asked.lower() in line.subject.lower()]
    return listing_build(
        query,
        label="performance budgets",
        columns=_CSV if csv else _COLUMNS,
        rows=lines,
        default_sort="-verdict",
        nothing_yet=Empty(
            "nothing-yet",
            "No performance budget yet",
            "It says how slow, faulty or expensive a route or model may be, who answers for it, and whether it holds.",
            reverse("performance:create") if choice.may("performance_budget.change") else "",
            "Set a performance budget",
        ),
        chips=chips,
    )
