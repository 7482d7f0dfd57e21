"""Columns of the catalogue's lists: what sorts, and what CSV holds."""

from __future__ import annotations

from apps.catalogue.listing import ListedRow, UsedRow
from apps.contracts.money import dollars_text
from apps.ui.tables import Column


def price_text(row: UsedRow) -> str | None:
    """Input and output in dollars per million tokens; None where it has no price."""
    return None if row.price is None else f"{dollars_text(row.price.input)} / {dollars_text(row.price.output)}"


USED: tuple[Column[UsedRow], ...] = (
    Column("Model", "name", order=("name", "provider__name"), value=lambda row: row.model.name),
    Column("Provider", "provider", order=("provider__name", "name"), value=lambda row: row.model.provider.name),
    Column("State", value=lambda row: row.state.label),
    Column("Window", numeric=True, value=lambda row: row.facts.window or None, help="Context in tokens"),
    Column("Most output", numeric=True, extra=True, value=lambda row: row.facts.max_output or None, help="Tokens"),
    Column("Can do", extra=True, value=lambda row: ", ".join(row.able)),
    Column("$/M in / out", numeric=True, extra=True, value=price_text),
    Column("Routes", value=lambda row: ", ".join(row.routes)),
)

LISTED: tuple[Column[ListedRow], ...] = (
    Column("Model", "name", order=("name", "provider__name"), value=lambda row: row.listed.name),
    Column("Provider", "provider", order=("provider__name", "name"), value=lambda row: row.listed.provider.name),
    Column("State", value=lambda row: "vanished" if row.listed.gone_at else "listed"),
    Column("Window", numeric=True, value=lambda row: row.facts.window or None, help="Context in tokens, as the list says"),
    Column("$/M in / out", numeric=True, extra=True, value=lambda row: row.price_text, help="As the list says"),
    Column("First seen", "seen", order=("first_seen_at",), extra=True, value=lambda row: row.listed.first_seen_at.isoformat()),
    Column("Used", value=lambda row: "yes" if row.used else ""),
)
