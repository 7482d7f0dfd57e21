"""The left rail, defined once, by job, filtered by what a person may see.

A place appears here when its page exists; ``tests/ui/test_navigation.py`` reverses every name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Place:
    """One link. ``permission``: the action it takes (``apps.accounts.rules``); empty: everyone who is signed in.

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
    Job(
        "",
        (
            Place(
                "Overview",
                "dashboard:overview",
                "overview",
                "overview.view",
                also=("dashboard:now", "dashboard:traffic", "dashboard:latency"),
            ),
        ),
    ),
    Job(
        "Traffic",
        (
            Place("Requests", "dashboard:requests", "requests", "request.view", also=("dashboard:request",)),
            Place("Routes", "dashboard:routes", "routes", "usage.view"),
            Place("Providers", "dashboard:providers", "providers", "usage.view"),
            Place("Keys", "dashboard:keys", "keys", "usage.view"),
        ),
    ),
    Job("Money", (Place("Spend", "dashboard:spend", "spend", "budget.view", also=("dashboard:budgets", "dashboard:cost")),)),
    Job("Machines", (Place("Proxies", "dashboard:proxies", "fleet", "config.view"),)),
)


def rail_for(may: Callable[[str], bool], jobs: Iterable[Job] = RAIL) -> list[Job]:
    """The jobs and places whose permission ``may`` grants; jobs left empty are dropped."""
    allowed = (Job(job.label, tuple(place for place in job.places if not place.permission or may(place.permission))) for job in jobs)
    return [job for job in allowed if job.places]
