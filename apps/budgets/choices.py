"""States of budgets and leases as value, label, tone and icon; the calendar windows a budget can have."""

from __future__ import annotations

from typing import NamedTuple


class State(NamedTuple):
    """How a value is shown. tone: ``neutral``, ``good``, ``warning`` or ``bad``. icon: a name of the icon set."""

    label: str
    tone: str
    icon: str


SCOPES = {"organisation": "Organisation", "key": "Key"}
WINDOWS = {"day": "day", "month": "month"}

LEASE_STATES = {
    "open": State("Open", "good", "check"),
    "released": State("Released", "neutral", "circle"),
    "written_off": State("Written off", "warning", "alert"),
}

BUDGET_STATES = {
    "within": State("Within", "good", "check"),
    "near": State("Nearly used", "warning", "alert"),
    "exhausted": State("Exhausted", "bad", "x"),
    "overrun": State("Overrun", "bad", "x"),
}
NEAR_FRACTION = (9, 10)
"""Spent and leased from this part of the limit on counts as nearly used."""

OVERRUN_EVENT = "budget.overrun"
"""Kind of the event that a provider billed beyond what was reserved."""
