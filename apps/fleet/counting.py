"""GPU-hours by state, counted as time passes: each run adds what went by since the last to the hour it went by in."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import transaction
from django.db.models import BigIntegerField, F, Value
from django.db.models.functions import Greatest
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
    sums: dict[tuple[datetime, UUID, UUID, str], _Sum] = defaultdict(_Sum)
    for row in rows:
        state = _state(row, running.get(str(row.pk)), now)
        peak, told, worked = _measured(row) if state != "unheard" else (None, 0, 0.0)
        for hour, seconds in spans:
            held = sums[(hour, row.deployment_id, row.worker_id, state)]
            held.seconds += seconds
            held.gpu_seconds += seconds * len(row.spec.get("gpus", []))
            held.measured += seconds * told
            held.busy += seconds * worked
            held.peak = max((one for one in (held.peak, peak) if one is not None), default=None)
    for (hour, deployment, worker, state), held in sums.items():
        key = {"hour": hour, "deployment_id": deployment, "worker_id": worker, "state": state}
        changed = GpuTime.objects.filter(**key).update(
            seconds=F("seconds") + held.seconds,
            gpu_seconds=F("gpu_seconds") + held.gpu_seconds,
            measured_seconds=F("measured_seconds") + held.measured,
            busy_seconds=F("busy_seconds") + held.busy,
            memory_peak=Greatest(F("memory_peak"), Value(held.peak, output_field=BigIntegerField())),
        )
        if not changed:
            GpuTime.objects.create(
                **key,
                seconds=held.seconds,
                gpu_seconds=held.gpu_seconds,
                measured_seconds=held.measured,
                busy_seconds=held.busy,
                memory_peak=held.peak,
            )
    return len(rows)


@dataclass
class _Sum:
    seconds: float = 0.0
    gpu_seconds: float = 0.0
    measured: float = 0.0
    busy: float = 0.0
    peak: int | None = None


def _measured(row: Replica) -> tuple[int | None, int, float]:
    """(the most bytes in use of any of its GPUs, how many of them told how much they worked, the sum of these shares), as told last."""
    used = set(row.spec.get("gpus", []))
    gpus = [gpu for gpu in row.worker.gpu_facts if isinstance(gpu, dict) and gpu.get("uuid") in used]
    peaks = [peak for peak in (_held(gpu, str(row.pk)) for gpu in gpus) if peak is not None]
    shares = [float(gpu["utilisation"]) for gpu in gpus if gpu.get("utilisation") is not None]
    return max(peaks, default=None), len(shares), sum(shares)


def _held(gpu: dict[str, Any], replica: str) -> int | None:
    """Bytes of a GPU that a replica holds: its processes' where the GPU tells whose they are, else all that is in use."""
    own = [one.get("memory") for one in gpu.get("processes") or [] if isinstance(one, dict) and one.get("replica") == replica]
    if own and None not in own:
        return sum(int(memory) for memory in own if memory is not None)
    return int(gpu["memory_used"]) if gpu.get("memory_used") is not None else None


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
