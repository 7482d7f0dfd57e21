"""The list of incidents: what its URL asks for, its rows, and the same rows as CSV."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from django.db.models import Q
from django.urls import reverse

from apps.accounts.scope import Choice
from apps.postmortems import incident_choices as choices
from apps.postmortems.incident_models import Incident
from apps.postmortems.incident_selectors import incidents
from apps.ui.tables import Chip, Column, Empty, Listing, listing_build

SHOWS = {"open": "Open", "all": "All"}


def asked(query: Mapping[str, str], name: str = "q", longest: int = 200) -> str:
    """A parameter of the address, without what no text holds."""
    return query.get(name, "").replace("\x00", "").strip()[:longest]


def _time(at: datetime | None) -> str:
    return at.isoformat(timespec="seconds") if at else ""


def _impact(name: str) -> Any:
    return lambda row: row.impact.get(name, "")


_COLUMNS: tuple[Column[Incident], ...] = (
    Column("Incident", "number", order=("number",), value=lambda row: row.reference),
    Column("Severity", "severity", value=lambda row: row.severity),
    Column("State", "state", value=lambda row: row.state),
    Column("Began", "began", order=("started_at",), value=lambda row: _time(row.started_at)),
    Column("Failed", numeric=True, value=_impact("failed"), help="Requests whose apps got an error, as measured last."),
    Column("Users", numeric=True, value=_impact("users"), help="Users whose requests failed."),
    Column("Commander", "commander", order=("commander__name",), value=lambda row: row.commander.email if row.commander else ""),
)
_CSV: tuple[Column[Incident], ...] = (
    *_COLUMNS,
    Column("Title", value=lambda row: row.title),
    Column("Routes", value=lambda row: ", ".join(row.routes)),
    *(
        Column(label, value=lambda row, name=name: _time(getattr(row, name)))
        for name, label in choices.TIMES.items()
        if name != "started_at"
    ),
    Column("Degraded", value=_impact("degraded")),
    Column("Rescued", value=_impact("rescued")),
    Column("Nano-dollars lost", value=_impact("lost_nano")),
)


def incidents_list(choice: Choice, query: Mapping[str, str], *, csv: bool = False) -> Listing[Incident]:
    """One page of incidents, the newest first: two queries. ``?show=all`` has those that are over, too."""
    rows, chips = incidents(choice.organisation), []
    show, state, severity, text = (asked(query, name) for name in ("show", "state", "severity", "q"))
    if show != "all" and not state:
        rows = rows.filter(state__in=choices.OPEN)
    if state in choices.STATES:
        rows = rows.filter(state=state)
        chips.append(Chip("State", choices.STATES[state].label, "state"))
    if severity in choices.SEVERITIES:
        rows = rows.filter(severity=severity)
        chips.append(Chip("Severity", choices.SEVERITIES[severity].label, "severity"))
    if text:
        number = text.casefold().removeprefix("inc").lstrip("-# ")
        found = Q(title__icontains=text) | Q(summary__icontains=text) | Q(routes__contains=[text])
        rows = rows.filter(found | Q(number=int(number)) if number.isdigit() and len(number) < 10 else found)
        chips.append(Chip("Search", text, "q"))
    may = choice.may("incident.declare")
    return listing_build(
        query,
        label="incidents",
        columns=_CSV if csv else _COLUMNS,
        rows=rows,
        default_sort="-number",
        nothing_yet=Empty(
            "nothing-yet",
            "No open incident",
            "Declare one as soon as something looks wrong: it takes one sentence, and it can be cancelled.",
            reverse("postmortems:declare") if may else "",
            "Declare an incident",
        ),
        chips=chips,
    )
