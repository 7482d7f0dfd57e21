"""The pages of incidents and of what is learnt from them, as tabs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from django.urls import reverse

if TYPE_CHECKING:
    from apps.accounts.scope import Choice

TABS: list[tuple[str, str]] = [
    ("Incidents", "list"),
    ("Postmortems", "postmortems"),
    ("Action items", "actions"),
    ("Patterns", "patterns"),
    ("Severities", "severities"),
    ("Template", "template"),
    ("Vocabulary", "factors"),
    ("Status page", "status_settings"),
]
"""Label -> URL name, in the order shown."""
NEEDS = {"template": "postmortem_template.change", "status_settings": "status_page.change"}
"""URL name -> what it takes to open the page; the others are everybody's."""


def tabs_of(current: str, choice: Choice | None = None) -> list[tuple[str, str, bool, None]]:
    """Those that a person may open, all of them without one; ``current``: the URL name of the one that is open."""
    shown = [(label, name) for label, name in TABS if choice is None or name not in NEEDS or choice.may(NEEDS[name])]
    return [(label, reverse(f"postmortems:{name}"), name == current, None) for label, name in shown]


def frame(choice: Choice, current: str) -> dict[str, Any]:
    """What each of these pages shows."""
    return {"choice": choice, "tabs": tabs_of(current, choice)}
