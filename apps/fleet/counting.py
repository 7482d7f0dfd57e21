"""GPU-hours by state, counted as time passes: each run adds what went by since the last to the hour it went by in."""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime, timedelta
from uuid import UUID

from django.db import transaction
from django.db.models import F
from django.utils import timezone

from apps.fleet.facts import clock_lock
from apps.fleet.lifecycle import SILENT_AFTER
from apps.fleet.models import FleetClock, GpuTime, Replica

MOST = timedelta(minutes=5)
"""A run that comes later than this after the last one counts so much only: what replicas did meanwhile nobody saw."""
LOADING = frozenset({"", "pending", "downloading", "starting", "loading", "warming"})


@transaction.atomic
def gpu_time_count(*, now: datetime | None = None) -> int:
    """Add the time since the last run. How many replicas were counted."""
    now = now or timezone.now()
    clock = clock_lock()
    since = max(clock.counted_at or now, now - MOST)
    FleetClock.objects.filter(pk=clock.pk).update(counted_at=now)
    spans = _spans(since, now)
    if not spans:
        return 0
    rows = list(Replica.objects.filter(ended_at=None).select_related("worker", "deployment"))
    running = _running(rows)
    sums: dict[tuple[datetime, UUID, UUID, str], list[float]] = defaultdict(lambda: [0.0, 0.0])
    for row in rows:
        state = _state(row, running.get(str(row.pk)), now)
        for hour, seconds in spans:
            held = sums[(hour, row.deployment_id, row.worker_id, state)]
            held[0] += seconds
            held[1] += seconds * len(row.spec.get("gpus", []))
    for (hour, deployment, worker, state), (seconds, gpu_seconds) in sums.items():
        key = {"hour": hour, "deployment_id": deployment, "worker_id": worker, "state": state}
        if not GpuTime.objects.filter(**key).update(seconds=F("seconds") + seconds, gpu_seconds=F("gpu_seconds") + gpu_seconds):
            GpuTime.objects.create(**key, seconds=seconds, gpu_seconds=gpu_seconds)
    return len(rows)


def _spans(since: datetime, now: datetime) -> list[tuple[datetime, float]]:
    """(hour, seconds) of the time between, cut at full hours."""
    found, at = [], since
    while at < now:
        hour = at.replace(minute=0, second=0, microsecond=0)
        end = min(now, hour + timedelta(hours=1))
        found.append((hour, (end - at).total_seconds()))
        at = end
    return found


def _running(rows: list[Replica]) -> dict[str, int | None]:
    """Replica -> requests that run there, as its worker said last; None: its engine does not say."""
    reports = {row.worker_id: row.worker.reports for row in rows}
    return {
        report["replica"]: (report.get("metrics") or {}).get("running")
        for of in reports.values()
        for report in of
        if isinstance(report, dict) and "replica" in report
    }


def _state(row: Replica, running: int | None, now: datetime) -> str:
    if row.worker.last_seen_at is None or now - row.worker.last_seen_at > SILENT_AFTER:
        return "unheard"
    if row.state in LOADING:
        return "loading"
    if row.state == "failed":
        return "failed"
    return "idle" if running == 0 else "serving"
