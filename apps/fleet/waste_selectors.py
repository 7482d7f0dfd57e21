"""Hours of GPUs by state, deployment and hour of the day, with their owners and prices: for the pages of spend."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from uuid import UUID

from django.db.models import Count, Max, Q, Sum
from django.db.models.functions import ExtractHour, TruncDate

from apps.contracts.fleet import PROVIDER_PREFIX
from apps.fleet.models import Deployment, Gpu, GpuTime
from apps.fleet.waste import Use
from controlplane import env

NOBODY = "nobody's"
BEFOREHAND = frozenset({"vllm"})
"""Engines that take their GPUs' memory beforehand: what is in use says nothing of what they need."""


def gpu_uses(*, organisation: UUID, simulated: bool, start: datetime, end: datetime, tokens: Callable[[], Mapping[str, int]]) -> list[Use]:
    """Each deployment of a period that had any time counted; the most idle first. tokens: read and written by provider's name, asked where
    there is any. One query, three more where there is any."""
    kept = GpuTime.objects.filter(
        hour__gte=start, hour__lt=end, deployment__organisation=organisation, deployment__provider__simulated=simulated
    )
    # a month has thousands of rows for each deployment: PostgreSQL adds them up by hour of the day
    by_day = kept.annotate(of_day=ExtractHour("hour", tzinfo=UTC)).values_list("deployment_id", "worker_id", "of_day", "state")
    rows: dict[UUID, list[tuple[UUID, int, str, float, float]]] = defaultdict(list)
    for pk, *summed in by_day.annotate(Sum("seconds"), Sum("gpu_seconds")).order_by():
        rows[pk].append(tuple(summed))
    if not rows:
        return []
    serving = Q(state="serving")
    whole = kept.values_list("deployment_id").annotate(
        clock=Count("hour", distinct=True),
        on_days=Count(TruncDate("hour", tzinfo=UTC), distinct=True),
        peak=Max("memory_peak", filter=serving),
        measured=Sum("measured_seconds", filter=serving),
        busy=Sum("busy_seconds", filter=serving),
    )
    spans, told = {}, {}
    for pk, clock, on_days, peak, measured, busy in whole.order_by():
        spans[pk], told[pk] = (clock, on_days), (peak, measured or 0.0, busy or 0.0)
    deployments = {one.pk: one for one in Deployment.objects.filter(pk__in=rows).select_related("owner")}
    devices: dict[UUID, tuple[str, int]] = {
        worker: (name, capacity)
        for worker, name, capacity in Gpu.objects.filter(worker__in={one[0] for own in rows.values() for one in own}).values_list(
            "worker_id", "name", "capacity"
        )
    }
    prices, counted = env.gpu_hour_prices(), tokens()
    found = []
    for pk, deployment in deployments.items():
        hours: dict[str, float] = defaultdict(float)
        by_hour: dict[int, list[float]] = defaultdict(lambda: [0.0, 0.0])
        weighed: dict[UUID, float] = defaultdict(float)
        for worker, of_day, state, seconds, gpu_seconds in rows[pk]:
            spent = (gpu_seconds if deployment.gpus else seconds) / 3600
            hours[state] += spent
            weighed[worker] += spent
            if state in ("serving", "idle"):
                by_hour[of_day][state == "idle"] += spent
        busiest = max(weighed, key=lambda worker: weighed[worker])
        name, capacity = devices.get(busiest, ("", 0))
        peak, measured, busy = told[pk]
        found.append(
            Use(
                deployment=deployment.name,
                team=deployment.owner.name if deployment.owner is not None else NOBODY,
                hours=dict(hours),
                by_hour={hour: (pair[0], pair[1]) for hour, pair in by_hour.items()},
                days=spans[pk][1],
                clock=spans[pk][0],
                tokens=counted.get(PROVIDER_PREFIX + deployment.name, 0),
                price=_price(prices, name) if deployment.gpus else None,
                gpus=deployment.gpus,
                least=deployment.least,
                memory_each=deployment.memory or None,
                memory_gpu=capacity or None,
                memory_used=peak if deployment.engine not in BEFOREHAND else None,
                utilisation=busy / measured if measured else None,
            )
        )
    return sorted(found, key=lambda use: (-use.hours.get("idle", 0.0), use.deployment))


def _price(prices: Mapping[str, int], name: str) -> int | None:
    """The price of the first name that the GPU's begins with or holds; that of ``*`` else."""
    for wanted, price in prices.items():
        if wanted != "*" and wanted.lower() in name.lower():
            return price
    return prices.get("*")
