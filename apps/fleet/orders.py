"""Desired state: what a worker shall run. The control plane alone writes it; an agent acts on the newest (epoch, sequence) that it saw.

Nothing is stored twice: the document is made from the replicas' rows when it is asked for. ``order_touch`` gives it its next number in the
transaction of the change and wakes the long poll. A document may hold more than its number says (a change that came while it was read); the
agent then gets the same once more under the next number, which changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from uuid import UUID

import msgspec
from django.db import connection, transaction
from django.db.models import F

from apps.contracts.fleet import DesiredState, ReplicaSpec, WorkerMode
from apps.fleet.bearers import bearer_read
from apps.fleet.models import Replica, Worker

CHANNEL = "bulkhead_fleet"
"""NOTIFY channel; payload: a worker's id. Long polls wake and look."""


def order_touch(workers: Iterable[UUID]) -> None:
    """The workers' desired state has changed: its next number, told when the transaction commits."""
    ids = sorted(set(workers))
    if not ids:
        return
    workers_lock(ids)
    Worker.objects.filter(pk__in=ids).update(desired_sequence=F("desired_sequence") + 1)
    with connection.cursor() as cursor:
        for worker in ids:
            cursor.execute("SELECT pg_notify(%s, %s)", [CHANNEL, str(worker)])


def workers_lock(workers: Iterable[UUID]) -> None:
    """Lock workers until the transaction ends, before any replica of theirs is written: in the order of their ids, so that two writers
    never wait for each other in a ring."""
    ids = sorted(set(workers))
    if ids:
        list(Worker.objects.select_for_update(no_key=True).filter(pk__in=ids).order_by("pk").values_list("pk"))


@transaction.atomic
def order_begin_anew(worker: UUID, *, epoch: int) -> None:
    """The agent holds an order that this database does not know of (it was restored): a later epoch, from 1 on."""
    Worker.objects.filter(pk=worker, desired_epoch__lt=epoch).update(desired_epoch=epoch, desired_sequence=0)
    order_touch([worker])


def desired_of(worker_id: UUID) -> DesiredState:
    """What a worker shall run now. Raises ``Worker.DoesNotExist``."""
    worker = Worker.objects.get(pk=worker_id)  # its number first: what follows may only be newer
    rows = Replica.objects.filter(worker=worker, ended_at=None).order_by("placed_at", "pk")
    return DesiredState(
        epoch=worker.desired_epoch, sequence=worker.desired_sequence, mode=_mode(worker, rows), replicas=[spec_of(row) for row in rows]
    )


def spec_of(row: Replica) -> ReplicaSpec:
    """A replica's order as its agent gets it. Raises VaultError."""
    spec = msgspec.convert(row.spec, ReplicaSpec)
    return msgspec.structs.replace(
        spec, want=row.want, drain_by_ms=_ms(row.drain_by) if row.want == "drain" else None, bearer=bearer_read(row.bearer)
    )


def _mode(worker: Worker, rows: Iterable[Replica]) -> WorkerMode:
    """What the agent is told of its mode. While replicas move away it is ``cordoned``: its agent would drain them all at once, before those
    that take their place are ready; each is drained by an order of its own instead."""
    if worker.mode == "active" and worker.preempted_at is None:
        return "active"
    return "maintenance" if worker.mode == "maintenance" and not list(rows) else "cordoned"


def _ms(at: datetime | None) -> int | None:
    return None if at is None else int(at.timestamp() * 1000)
