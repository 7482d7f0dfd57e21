"""States and environments of virtual keys."""

from __future__ import annotations

from typing import get_args

from apps.contracts.snapshot import Environment
from apps.ui.status import Status

STATES: dict[str, Status] = {
    state.value: state
    for state in (
        Status("active", "Active", "good"),
        Status("revoked", "Revoked", "bad", "block"),
    )
}

ENVIRONMENTS = [(name, name.capitalize()) for name in get_args(Environment)]

ALL_ROUTES = "*"


def all_routes() -> list[str]:
    """Default of a key's routes: every route of its organisation."""
    return [ALL_ROUTES]
