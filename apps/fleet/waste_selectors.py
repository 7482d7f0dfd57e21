"""Hours of GPUs by state, deployment and hour of the day, with their owners and prices: for the pages of spend."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import datetime
from uuid import UUID

from apps.contracts.fleet import PROVIDER_PREFIX
from apps.fleet.models import Deployment, Gpu, GpuTime
from apps.fleet.waste import Use
from controlplane import env

NOBODY = "nobody's"


def gpu_uses(*, organisation: UUID, simulated: bool, start: datetime, end: datetime, tokens: Callable[[], Mapping[str, int]]) -> list[Use]:
    """Each deployment of a period that had any time counted; the most idle first. tokens: read and written by provider's name, asked where
    there is any. One query, two more where there is any."""
    rows = list(
        GpuTime.objects.filter(
            hour__gte=start, hour__lt=end, deployment__organisation=organisation, deployment__provider__simulated=simulated
        ).values_list("deployment_id", "worker_id", "hour", "state", "seconds", "gpu_seconds")
    )
    if not rows:
        return []
    deployments = {one.pk: one for one in Deployment.objects.filter(pk__in={row[0] for row in rows}).select_related("owner")}
    devices: dict[UUID, tuple[str, int]] = {
        worker: (name, capacity)
        for worker, name, capacity in Gpu.objects.filter(worker__in={row[1] for row in rows}).values_list("worker_id", "name", "capacity")
    }
    prices, counted = env.gpu_hour_prices(), tokens()
    found = []
    for pk, deployment in deployments.items():
        own = [row for row in rows if row[0] == pk]
        hours: dict[str, float] = defaultdict(float)
        by_hour: dict[int, list[float]] = defaultdict(lambda: [0.0, 0.0])
        weighed: dict[UUID, float] = defaultdict(float)
        for _, worker, hour, state, seconds, gpu_seconds in own:
            spent = (gpu_seconds if deployment.gpus else seconds) / 3600
            hours[state] += spent
            weighed[worker] += spent
            if state in ("serving", "idle"):
                by_hour[hour.hour][state == "idle"] += spent
        busiest = max(weighed, key=lambda worker: weighed[worker])
        name, capacity = devices.get(busiest, ("", 0))
        found.append(
            Use(
                deployment=deployment.name,
                team=deployment.owner.name if deployment.owner is not None else NOBODY,
                hours=dict(hours),
                by_hour={hour: (pair[0], pair[1]) for hour, pair in by_hour.items()},
                days=len({row[2].date() for row in own}),
                clock=len({row[2] for row in own}),
                tokens=counted.get(PROVIDER_PREFIX + deployment.name, 0),
                price=_price(prices, name) if deployment.gpus else None,
                gpus=deployment.gpus,
                least=deployment.least,
                memory_each=deployment.memory or None,
                memory_gpu=capacity or None,
            )
        )
    return sorted(found, key=lambda use: (-use.hours.get("idle", 0.0), use.deployment))


def _price(prices: Mapping[str, int], name: str) -> int | None:
    """The price of the first name that the GPU's begins with or holds; that of ``*`` else."""
    for wanted, price in prices.items():
        if wanted != "*" and wanted.lower() in name.lower():
            return price
    return prices.get("*")
