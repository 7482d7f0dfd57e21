"""States and environments of virtual keys."""

from __future__ import annotations

from typing import NamedTuple, get_args

from apps.contracts.snapshot import Environment


class KeyState(NamedTuple):
    """How a state is shown. tone: one of the status vocabulary's tones."""

    label: str
    tone: str
    icon: str


STATES: dict[str, KeyState] = {
    "active": KeyState("Active", "good", "check"),
    "revoked": KeyState("Revoked", "bad", "x"),
}

ENVIRONMENTS = [(name, name.capitalize()) for name in get_args(Environment)]

ALL_ROUTES = "*"


def all_routes() -> list[str]:
    """Default of a key's routes: every route of its organisation."""
    return [ALL_ROUTES]
