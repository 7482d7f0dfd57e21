"""The list of requests for flips."""

from __future__ import annotations

from datetime import datetime

from apps.flags import change_choices as choices
from apps.flags.models import ChangeRequest
from apps.ui.tables import Column


def _text(moment: datetime | None) -> str:
    return "" if moment is None else moment.isoformat(timespec="seconds")


CHANGES: tuple[Column[ChangeRequest], ...] = (
    Column("Flag", "flag", order=("flag_name",), value=lambda row: row.flag_name),
    Column("Turns", value=lambda row: f"to {row.to_name or 'nobody'}" if row.gives else "on" if row.turn_on else "off"),
    Column("State", "state", value=lambda row: choices.STATES[row.state].label),
    Column("At", "at", value=lambda row: _text(row.at), help="When it is to happen; empty: as soon as it is approved"),
    Column("Asked by", "by", order=("asked_by",), value=lambda row: row.asked_by),
    Column("Asked", "asked", order=("asked_at",), value=lambda row: _text(row.asked_at)),
    Column("Decided by", extra=True, value=lambda row: row.decided_by),
    Column("Why", extra=True, value=lambda row: row.reason),
)
