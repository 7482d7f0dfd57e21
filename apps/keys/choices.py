"""States and environments of virtual keys."""

from __future__ import annotations

from typing import get_args

from apps.contracts.snapshot import BudgetPeriod, Environment
from apps.ui.status import Status

STORED_STATES = [("active", "Active"), ("revoked", "Revoked")]
"""What a row says; what a page says follows from it, from ``enabled`` and from the time (``rules.state_of``)."""

STATES: dict[str, Status] = {
    state.value: state
    for state in (
        Status("active", "Active", "good"),
        Status("expires-soon", "Expires soon", "warn", "clock"),
        Status("expired", "Expired", "bad", "clock"),
        Status("disabled", "Disabled", "neutral", "stop"),
        Status("revoked", "Revoked", "bad", "block"),
    )
}

DIGESTS = [("hmac", "HMAC-SHA256 under the pepper"), ("sha256", "bare SHA-256")]
"""How a token that opens a key is recognised."""

REQUEST_STORED_STATES = [("open", "Open"), ("approved", "Approved"), ("rejected", "Rejected"), ("withdrawn", "Withdrawn")]

REQUEST_STATES: dict[str, Status] = {
    state.value: state
    for state in (
        Status("open", "Waiting", "warn", "clock"),
        Status("approved", "Approved", "good"),
        Status("rejected", "Rejected", "bad", "block"),
        Status("withdrawn", "Withdrawn", "neutral", "dash"),
    )
}

WINDOWS = [(window, f"per {window}") for window in get_args(BudgetPeriod)]
"""Windows that a key's budget can have."""

ENVIRONMENTS = [(name, name.capitalize()) for name in get_args(Environment)]

PRIORITIES = [("high", "High"), ("normal", "Normal"), ("low", "Low")]
"""Whose requests are served first where they wait for a place, and shed last."""

ALL_ROUTES = "*"


def all_routes() -> list[str]:
    """Default of a key's routes: every route of its organisation."""
    return [ALL_ROUTES]
