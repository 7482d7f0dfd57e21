"""What proxies said last of deployments: for whoever scales, and for whoever replaces."""

from __future__ import annotations

from apps.contracts.reports import DeploymentReport, deployments_in
from apps.publishing.selectors import fleet_status


def proxies_heard() -> tuple[dict[tuple[str, str], dict[str, DeploymentReport]] | None, bool]:
    """((organisation, deployment) -> proxy -> what it said, of those that are not silent; whether another one is). None: no proxy is heard
    of, nothing is known."""
    every = fleet_status()["proxies"]
    proxies = [proxy for proxy in every if not proxy["silent"]]
    silent = len(proxies) < len(every)
    if not proxies:
        return None, silent
    found: dict[tuple[str, str], dict[str, DeploymentReport]] = {}
    for proxy in proxies:
        for report in deployments_in(proxy["detail"]):
            found.setdefault((report.organisation, report.name), {})[proxy["boot_id"]] = report
    return found, silent
