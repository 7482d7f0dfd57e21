"""What a status page says of its components. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from apps.ui.status import Status, worst

WORKS = Status("operational", "Works", "good")
DEGRADED = Status("degraded", "Slower or limited", "warn", "warning")
PARTLY = Status("partial-outage", "Partly out", "bad", "warning")
OUT = Status("outage", "Out", "bad", "cross")
WATCHED = Status("monitoring", "Works again, watched", "info", "info")
OF_SEVERITY: dict[str, Status] = {"sev1": OUT, "sev2": PARTLY, "sev3": DEGRADED, "sev4": DEGRADED}
ORDER = (WORKS, WATCHED, DEGRADED, PARTLY, OUT)


@dataclass(frozen=True, slots=True)
class Said:
    """An open incident that the page speaks of. routes, services: what it is about; both empty: everything."""

    severity: str
    state: str
    routes: frozenset[str] = frozenset()
    services: frozenset[str] = frozenset()

    @property
    def status(self) -> Status:
        """What it does to a component that it is about."""
        return WATCHED if self.state == "mitigated" else OF_SEVERITY.get(self.severity, DEGRADED)


def concerns(said: Said, *, routes: Iterable[str], services: Iterable[str]) -> bool:
    """Whether an incident is about a component that stands for these; either without any stands for everything."""
    mine, theirs = (set(routes), set(services)), (said.routes, said.services)
    if not (mine[0] or mine[1]) or not (theirs[0] or theirs[1]):
        return True
    return bool(mine[0] & theirs[0] or mine[1] & theirs[1])


def status_of(incidents: Sequence[Said], *, routes: Iterable[str], services: Iterable[str]) -> Status:
    """A component's status: the worst of what is about it."""
    routes, services = list(routes), list(services)
    held = [said.status for said in incidents if concerns(said, routes=routes, services=services)]
    return max(held, key=ORDER.index, default=WORKS)


def overall(statuses: Sequence[Status]) -> Status:
    """Of all components; without any, that nothing is known."""
    return max(statuses, key=ORDER.index) if statuses else worst([])
