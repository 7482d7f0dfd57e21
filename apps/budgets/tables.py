"""The list of budgets: what its URL asks for, its rows, and the same rows as CSV."""

from __future__ import annotations

from collections.abc import Mapping

from django.urls import reverse

from apps.accounts.scope import Choice
from apps.budgets import choices
from apps.budgets.lines import BudgetLine, budget_lines
from apps.budgets.selectors import budgets_of
from apps.contracts.money import dollars_text
from apps.ui.tables import Chip, Column, Empty, Listing, listing_build

_COLUMNS: tuple[Column[BudgetLine], ...] = (
    Column("Budget", "name", value=lambda row: row.name),
    Column("For", "for", value=lambda row: row.subject),
    Column("Status", value=lambda row: row.status.label),
    Column("Used", "used", numeric=True, value=lambda row: round(row.percent, 1)),
    Column("Spent", "spent", numeric=True, value=lambda row: dollars_text(row.spent)),
    Column("Forecast", numeric=True, value=lambda row: "" if row.forecast is None else dollars_text(row.forecast)),
    Column("Limit", "limit", numeric=True, value=lambda row: dollars_text(row.limit)),
    Column("Runway", value=lambda row: row.runway_text, help="Until the limit at the present rate; nothing where the window ends first."),
    Column("Told", value=lambda row: ", ".join(row.told)),
)


def budgets_list(choice: Choice, query: Mapping[str, str], *, csv: bool = False) -> Listing[BudgetLine]:
    """One page of the organisation's budgets, narrowed by a part of a name and by what they are for."""
    asked, scope = query.get("q", "").replace("\x00", "").strip()[:200], query.get("scope", "")
    rows = budgets_of(choice.organisation)
    chips = []
    if scope in choices.SCOPES:
        rows = rows.filter(scope=scope)
        chips.append(Chip("For", choices.SCOPES[scope], "scope"))
    lines = budget_lines(choice.organisation, rows)
    if asked:
        chips.append(Chip("Name", asked, "q"))
        lines = [line for line in lines if asked.lower() in line.name.lower() or asked.lower() in line.subject.lower()]
    return listing_build(
        query,
        label="budgets",
        columns=_COLUMNS,
        rows=lines,
        default_sort="-used",
        nothing_yet=Empty(
            "nothing-yet",
            "No budget yet",
            "A budget walls in what a team, key, model, user or anything else may spend, or tells its owner.",
            reverse("budgets:create") if choice.may("budget.change") else "",
            "Set a budget",
        ),
        chips=chips,
    )
