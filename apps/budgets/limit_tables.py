"""The list of limits: what its URL asks for, its rows, and the same rows as CSV."""

from __future__ import annotations

from collections.abc import Mapping

from django.urls import reverse

from apps.accounts.scope import Choice
from apps.budgets import limit_choices
from apps.budgets.limit_selectors import LimitLine, limit_lines, limits_of
from apps.ui.tables import Chip, Column, Empty, Listing, listing_build

_COLUMNS: tuple[Column[LimitLine], ...] = (
    Column("Limit", "name", value=lambda row: row.name),
    Column("For", "for", value=lambda row: f"{row.scope} {row.subject}"),
    Column("Amount", "amount", numeric=True, value=lambda row: row.amount),
    Column("Of", "kind", value=lambda row: limit_choices.KINDS[row.kind]),
)


def limits_list(choice: Choice, query: Mapping[str, str], *, csv: bool = False) -> Listing[LimitLine]:
    """One page of the organisation's limits, narrowed by a part of a name and by what they are for."""
    asked, scope = query.get("q", "").replace("\x00", "").strip()[:200], query.get("scope", "")
    rows = limits_of(choice.organisation)
    chips = []
    if scope in limit_choices.SCOPES:
        rows = rows.filter(scope=scope)
        chips.append(Chip("For", limit_choices.SCOPES[scope], "scope"))
    lines = limit_lines(choice.organisation, list(rows))
    if asked:
        chips.append(Chip("Name", asked, "q"))
        lines = [line for line in lines if asked.lower() in line.name.lower() or asked.lower() in line.subject.lower()]
    return listing_build(
        query,
        label="limits",
        columns=_COLUMNS,
        rows=lines,
        default_sort="name",
        nothing_yet=Empty(
            "nothing-yet",
            "No limit yet",
            "A limit holds requests or tokens of a key, team, route or model to so many a minute or day, in all proxies together.",
            reverse("limits:create") if choice.may("limit.change") else "",
            "Set a limit",
        ),
        chips=chips,
    )
