"""What follows a change of an incident, told by whoever knows it: called in the transaction of the change, so that it is done exactly where
the change is.

A follower that raises ServiceError refuses the change. Register in ``ready()``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from apps.accounts.scope import Choice
    from apps.postmortems.incident_models import Incident

Follower = Callable[["Incident", str], None]
"""Takes the incident as it is now and what changed: a name of ``WHATS``."""
Closing = Callable[["Incident"], list[str]]
"""What is still to be done before an incident can be closed, each as a clause."""
WHATS = ("declared", "state", "severity", "update", "merged", "times", "scope")


@dataclass(frozen=True, slots=True)
class IncidentPanel:
    """A panel on an incident's page. context: None where it has nothing to show there."""

    name: str
    template: str
    context: Callable[[Incident, Choice], Mapping[str, Any] | None]


_followers: dict[str, Follower] = {}
_closing: dict[str, Closing] = {}
_panels: dict[str, IncidentPanel] = {}


def register_follower(name: str, follower: Follower) -> None:
    """Name whoever follows changes; the same name again replaces it."""
    _followers[name] = follower


def register_closing(name: str, check: Closing) -> None:
    """Name whoever has something to say before an incident is closed."""
    _closing[name] = check


def register_panel(name: str, template: str, context: Callable[[Incident, Choice], Mapping[str, Any] | None]) -> None:
    """Name a panel of an incident's page; its template finds ``incident``, ``choice`` and what ``context`` returns."""
    _panels[name] = IncidentPanel(name, template, context)


def follow(incident: Incident, what: str) -> None:
    """Tell all of them, in the order of their names."""
    if what not in WHATS:
        raise LookupError(f"{what!r} is no change of an incident: one of {', '.join(WHATS)}")
    for name in sorted(_followers):
        _followers[name](incident, what)


def closing_left(incident: Incident) -> list[str]:
    """What they say is still to be done."""
    return [clause for name in sorted(_closing) for clause in _closing[name](incident)]


def panels() -> list[IncidentPanel]:
    """Every registered panel, by name."""
    return [_panels[name] for name in sorted(_panels)]
