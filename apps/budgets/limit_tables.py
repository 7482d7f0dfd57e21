"""The list of limits: what its URL asks for, its rows with what is used of them, and the same rows as CSV."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db.models import Q
from django.urls import reverse

from apps.accounts.scope import Choice
from apps.budgets import limit_choices
from apps.budgets.limit_live import LimitUse, limit_uses
from apps.budgets.limit_models import Limit
from apps.budgets.limit_selectors import LimitLine, limit_line, limits_named
from apps.publishing.selectors import ProxyStatus
from apps.ui.tables import Chip, Column, Empty, Listing, listing_build


@dataclass(frozen=True, slots=True)
class LimitRow:
    """One row of the list."""

    line: LimitLine
    use: LimitUse


_COLUMNS: tuple[Column[Any], ...] = (
    Column("Limit", "name", value=lambda row: row.name),
    Column("For", "for", order=("scope", "subject"), value=lambda row: f"{row.scope} {limit_line(row).subject}"),
    Column("Amount", "amount", numeric=True, value=lambda row: row.amount),
    Column("Of", "kind", value=lambda row: limit_choices.KINDS[row.kind]),
    Column("Used now", numeric=True, help="By all proxies together, in the last 60 seconds or 24 hours, or at once."),
)


def limits_list(choice: Choice, query: Mapping[str, str], proxies: Sequence[ProxyStatus], *, csv: bool = False) -> Listing[Any]:
    """One page of the organisation's limits, narrowed by a part of a name and by what they are for: two queries, and Redis once.

    Its rows are ``LimitRow``; CSV has every row that the filters leave, without what is used: that is true of a moment only.
    """
    asked, scope = query.get("q", "").replace("\x00", "").strip()[:200], query.get("scope", "")
    rows = limits_named(choice.organisation)
    chips = []
    if scope in limit_choices.SCOPES:
        rows = rows.filter(scope=scope)
        chips.append(Chip("For", limit_choices.SCOPES[scope], "scope"))
    if asked:
        chips.append(Chip("Name", asked, "q"))
        rows = rows.filter(Q(name__icontains=asked) | Q(subject__icontains=asked))
    listing: Listing[Any] = listing_build(
        query,
        label="limits",
        columns=_COLUMNS,
        rows=rows,
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
    return listing if csv else replace(listing, rows=_rows(listing.rows, proxies))


def _rows(rows: Sequence[Limit], proxies: Sequence[ProxyStatus]) -> list[LimitRow]:
    uses = limit_uses(rows, proxies)
    return [LimitRow(limit_line(row), uses[row.pk]) for row in rows]
