"""The left rail, defined once, by job, filtered by what a person may see.

A place appears here when its page exists; ``tests/ui/test_navigation.py`` reverses every name.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol


class Person(Protocol):
    """What the rail asks of whoever looks: Django's user and anonymous user both answer it."""

    def has_perm(self, perm: str) -> bool: ...


@dataclass(frozen=True, slots=True)
class Place:
    """One link. ``permission``: asked of the person; empty: everyone who is signed in.

    ``also``: URL names of pages that lie under this place and mark it as the current one.
    """

    label: str
    url_name: str
    icon: str
    permission: str = ""
    also: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Job:
    """A group of places that serve one job; a job without a label stands at the top."""

    label: str
    places: tuple[Place, ...]


RAIL: tuple[Job, ...] = (
    Job("", (Place("Overview", "dashboard:overview", "overview", also=("dashboard:traffic",)),)),
    Job(
        "Traffic",
        (
            Place("Requests", "dashboard:requests", "requests", also=("dashboard:request",)),
            Place("Routes", "dashboard:routes", "routes"),
            Place("Providers", "dashboard:providers", "providers"),
            Place("Keys", "dashboard:keys", "keys"),
        ),
    ),
    Job("Money", (Place("Spend", "dashboard:spend", "spend"),)),
    Job("Machines", (Place("Proxies", "dashboard:proxies", "fleet"),)),
)


def rail_for(person: Person, jobs: Iterable[Job] = RAIL) -> list[Job]:
    """The jobs and places this person may see; jobs left empty are dropped."""
    allowed = (
        Job(job.label, tuple(place for place in job.places if not place.permission or person.has_perm(place.permission))) for job in jobs
    )
    return [job for job in allowed if job.places]
