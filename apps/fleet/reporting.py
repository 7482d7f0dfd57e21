"""What workers report of their replicas, taken into rows and told to proxies. A worker's word changes what is; never what is wanted."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from django.db import transaction

from apps.audit.rules import clean_text
from apps.contracts.fleet import Acknowledgement, Heartbeat, LogTail
from apps.contracts.fleet_facts import Failure, ReplicaReport
from apps.fleet.endpoints import endpoint_of
from apps.fleet.facts import facts_set
from apps.fleet.inventory import gpus_take
from apps.fleet.joining import host_take, worker_event
from apps.fleet.lifecycle import follows
from apps.fleet.models import Replica, Worker
from apps.fleet.orders import order_begin_anew
from apps.fleet.placing import replica_event, replicas_end

TOLD = frozenset({"ready", "failed"})
"""States whose beginning is an event."""


@transaction.atomic
def heartbeat_take(worker_id: UUID, beat: Heartbeat, *, now: datetime) -> None:
    """Everything that a heartbeat changed beside the worker's own facts. Safe to run twice with the same heartbeat.

    Called when something in it differs from the last one; facts that only move (memory in use, load) do not come here.
    """
    worker = Worker.objects.select_for_update(no_key=True).get(pk=worker_id)
    host_take(worker, beat.host)
    worker.save(update_fields=["address", "region", "pool", "spot", "labels", "memory_total", "engines"])
    gpus_take(worker, beat.gpus)
    if (beat.epoch, beat.applied) > (worker.desired_epoch, worker.desired_sequence):
        epoch = max(beat.epoch + 1, int(now.timestamp()))
        order_begin_anew(worker.pk, epoch=epoch)
        Replica.objects.filter(worker=worker, ended_at=None).update(order_epoch=epoch, order_sequence=1)
        worker_event(worker, "order_anew", at=now)
        worker.refresh_from_db()
    rows = {
        str(row.pk): row
        for row in Replica.objects.select_for_update(of=("self",))
        .filter(worker=worker, ended_at=None)
        .select_related("deployment", "worker")
    }
    changed: dict[UUID, dict[str, Any] | None] = {}
    ended: list[tuple[Replica, str]] = []
    for report in beat.replicas:
        row = rows.pop(report.replica, None)
        if row is None:
            continue  # ended for us already: its order does not hold it any more, so its agent drains it
        if follows(row.state or "pending", report.state) or not row.state:
            _report_take(row, report, now)
        if report.state == "stopped":
            ended.append((row, "stopped" if row.want != "serve" else "missing"))
        else:
            changed[row.pk] = endpoint_of(row)
    for row in rows.values():  # not reported: no process of it is left, if the agent knew of it
        if (beat.epoch, beat.applied) >= (row.order_epoch, row.order_sequence) and (row.state or row.want != "serve"):
            ended.append((row, "stopped" if row.want != "serve" else "missing"))
    for why in ("stopped", "missing"):
        replicas_end([row for row, ending in ended if ending == why], ending=why, now=now)
    facts_set(changed)


def _report_take(row: Replica, report: ReplicaReport, now: datetime) -> None:
    before = row.state
    row.state, row.since = report.state, _moment(report.since_ms, now)
    row.reason, row.message = report.reason, clean_text(report.message, 2_000)
    row.url, row.model = clean_text(report.url, 500), clean_text(report.model, 200)
    row.starts, row.exit_code, row.retry_at = report.starts, report.exit_code, _moment(report.retry_at_ms, now, later=True)
    row.engine_version = clean_text(report.engine_version or "", 200)
    row.phases = {name: value for name, value in report.plain().get("phases", {}).items() if value is not None}
    if report.lines:
        row.lines, row.lines_at = [clean_text(line, 500) for line in report.lines], now
    failed = _failure_take(row, report, now)
    if report.state == "ready" and row.ready_at is None:
        row.ready_at = now
    row.save()
    if failed is not None:
        replica_event(row, row.deployment.name, "failed", at=now, why=failed.message, reason=failed.reason)
    if before != report.state and report.state in TOLD and (report.state != "failed" or report.last_failure is None):
        why = report.message if report.state == "failed" else ""
        replica_event(row, row.deployment.name, report.state, at=now, why=why, reason=report.reason)


def _failure_take(row: Replica, report: ReplicaReport, now: datetime) -> Failure | None:
    """The last failure is kept while the replica is tried again, and its lines where nothing newer came; None: it is known."""
    failure = report.last_failure
    if failure is None or row.failure.get("at_ms") == failure.at_ms:
        return None
    lines = [clean_text(line, 500) for line in failure.lines]
    row.failure = {**failure.plain(), "message": clean_text(failure.message, 2_000), "lines": lines}
    if lines and not report.lines:
        row.lines, row.lines_at = lines, now
    return failure


@transaction.atomic
def acknowledge(worker: Worker, ack: Acknowledgement) -> None:
    """The agent acts on an order. What it refuses is reported by its replicas as ``failed``, too."""
    mine = Worker.objects.filter(pk=worker.pk)
    if (ack.epoch, ack.sequence) > (worker.applied_epoch, worker.applied_sequence):
        mine.update(applied_epoch=ack.epoch, applied_sequence=ack.sequence)
    for refused in ack.refused:
        Replica.objects.filter(pk=refused.replica, worker=worker, ended_at=None).update(
            state="failed", reason=refused.reason, message=clean_text(refused.message, 2_000)
        )


def logs_take(worker: Worker, tail: LogTail, *, now: datetime) -> None:
    """The last lines of an engine, for the page that asked."""
    lines = [clean_text(line, 500) for line in tail.lines]
    Replica.objects.filter(pk=tail.replica, worker=worker).update(lines=lines, lines_at=now, lines_wanted=None)


def _moment(ms: int | None, now: datetime, *, later: bool = False) -> datetime | None:
    """A worker's moment as ours; nonsense (another century) is now."""
    if ms is None:
        return None
    try:
        found = datetime.fromtimestamp(ms / 1000, tz=UTC)
    except (OverflowError, ValueError, OSError):
        return now
    if later:
        return found
    return min(found, now) if abs((found - now).total_seconds()) < 366 * 86_400 else now
