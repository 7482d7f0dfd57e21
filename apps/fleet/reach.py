"""Which replicas proxies cannot reach, although their agents say that they are well: the way between broke. Pure.

A proxy names with its heartbeats the replicas that are out of its rotation (``DeploymentReport.out``). Its word on one counts only where
some replica has answered it since: where none does, the fault is likelier its own. Another proxy that has heard from the same deployment
since and does not name the replica speaks for it, also where it has not tried that very one: under load it soon has. One that has heard
nothing since knows nothing.
"""

from __future__ import annotations

from collections.abc import Mapping

from apps.contracts.reports import DeploymentReport

OUT_SECONDS = 5.0
"""So long every proxy must have been without it. A connection that broke by chance costs half a second, and an engine that died is said to
have failed by its agent within a second or two: what is still said to be well after this is cut off."""
MOST_SECONDS = 600.0
Told = Mapping[tuple[str, str], Mapping[str, DeploymentReport]]
"""(organisation, deployment) -> proxy -> what it said last."""


def unreached(told: Told) -> dict[str, int]:
    """Replica -> since when no proxy that knows can reach it, ms since the epoch; those of which a proxy can are left out. Pure."""
    heard: dict[str, int] = {}
    for reports in told.values():
        for proxy, report in reports.items():
            heard[proxy] = max(heard.get(proxy, 0), report.answered_ms)
    found: dict[str, int] = {}
    for reports in told.values():
        named: dict[str, dict[str, int]] = {}
        for proxy, report in reports.items():
            for one in report.out or ():
                named.setdefault(one.replica, {})[proxy] = one.since_ms
        for replica, by in named.items():
            counted = [since for proxy, since in by.items() if heard[proxy] > since]
            if counted and not any(_reaches(report, min(counted)) for proxy, report in reports.items() if proxy not in by):
                found[replica] = max(counted)
    return found


def _reaches(report: DeploymentReport, since_ms: int) -> bool:
    """Whether a proxy that does not name a replica speaks for it. An older one, which names nobody, does once it has asked anything."""
    return report.asked > 0 if report.out is None else report.answered_ms > since_ms


def patience(replaced: int, wanted: int) -> float:
    """Seconds that a replica must have been out before a substitute is started beside it. replaced: how many of the deployment were
    replaced for this lately: after each ``wanted`` of them it doubles, so that a network in which nothing new can be reached does not
    start and drain for ever."""
    return float(min(MOST_SECONDS, OUT_SECONDS * 2 ** min(20, replaced // max(1, wanted))))
