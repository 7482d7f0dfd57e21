"""What proxies learn of replicas: facts with an order, never config. Writes only; proxies read by ``proxy_api.proxy_replicas``.

The clock's row is locked while a sequence is taken and until the writer commits, so nobody can read a number whose predecessors are not
there yet. Call last in a transaction: whoever holds the clock makes the others wait.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db import connection, transaction
from django.db.models import F
from django.utils import timezone

from apps.contracts.fleet import REPLICAS_CHANNEL, ReplicaEndpoint
from apps.contracts.fleet_facts import ReplicaReport
from apps.fleet.models import FleetClock, ReplicaFact

KEPT = timedelta(hours=1)
"""A tombstone's time: a proxy that asked nothing for so long gets the whole."""


@transaction.atomic
def facts_set(endpoints: Mapping[UUID, dict[str, Any] | None], *, tell: bool = True) -> int:
    """Replica -> what proxies get of it (a ``ReplicaEndpoint`` as JSON without its order), or None: it is gone. What they know already
    changes nothing; nothing is told of replicas that were never there. tell: wake the proxies; False for load alone. How many changed."""
    known = {row.replica: row for row in ReplicaFact.objects.filter(replica__in=list(endpoints))}
    changed: list[ReplicaFact] = []
    now = timezone.now()
    for replica, body in endpoints.items():
        row = known.get(replica)
        if body is None:
            if row is None or row.gone:
                continue
            changed.append(ReplicaFact(replica=replica, gone=True, body={**row.body, "state": "gone"}, at=now))
        elif row is None or row.gone or row.body != body:
            changed.append(ReplicaFact(replica=replica, gone=False, body=body, at=now))
    if not changed:
        return 0
    sequence = _sequence_take()
    for row in changed:
        row.sequence = sequence
    ReplicaFact.objects.bulk_create(
        changed, update_conflicts=True, unique_fields=["replica"], update_fields=["sequence", "gone", "body", "at"]
    )
    if tell:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_notify(%s, %s)", [REPLICAS_CHANNEL, str(sequence)])
    return len(changed)


_LOAD = """
WITH b AS (SELECT * FROM jsonb_to_recordset(%s::jsonb) AS b(replica uuid, load jsonb)),
moved AS (
    SELECT b.replica, b.load FROM b JOIN fleet_replicafact AS f USING (replica) WHERE NOT f.gone AND NOT f.body @> (b.load - 'at_ms')
),
clock AS (UPDATE fleet_fleetclock SET sequence = sequence + 1 WHERE EXISTS (SELECT FROM moved) RETURNING sequence)
UPDATE fleet_replicafact AS f SET body = f.body || moved.load, sequence = clock.sequence, at = %s
  FROM clock, moved WHERE f.replica = moved.replica AND NOT f.gone
"""


def load_take(reports: Iterable[ReplicaReport], *, now: datetime) -> int:
    """Queue and KV cache of replicas that serve, for proxies that ask; nobody is woken for it. One statement, because it comes with every
    heartbeat; as ``facts_set`` it takes the clock first. How many were known and differ."""
    loads = [
        {
            "replica": report.replica,
            "load": {
                "waiting": report.metrics.waiting,
                "kv_used": None if report.metrics.kv_used is None else round(report.metrics.kv_used, 2),
                "at_ms": report.metrics.at_ms,
            },
        }
        for report in reports
        if report.metrics is not None and report.state == "ready"
    ]
    if not loads:
        return 0
    with connection.cursor() as cursor:
        cursor.execute(_LOAD, [json.dumps(loads), now])
        return int(cursor.rowcount)


def fact_of(endpoint: ReplicaEndpoint) -> dict[str, Any]:
    """A contract's endpoint as it is stored: without its order, which is the row's."""
    body = endpoint.plain()
    body.pop("epoch", None)
    body.pop("sequence", None)
    return body


@transaction.atomic
def facts_forget(*, now: datetime) -> int:
    """Delete tombstones whose time is over. How many."""
    clock = clock_lock()
    old = ReplicaFact.objects.filter(gone=True, at__lt=now - KEPT)
    newest = old.order_by("-sequence").values_list("sequence", flat=True).first()
    if newest is None:
        return 0
    FleetClock.objects.filter(pk=clock.pk).update(forgotten=newest)
    return old.delete()[0]


def clock_lock() -> FleetClock:
    """The clock, locked until the transaction ends; made where there is none."""
    found = FleetClock.objects.select_for_update().first()
    if found is None:
        FleetClock.objects.get_or_create(pk=1, defaults={"epoch": epoch_new()})
        found = FleetClock.objects.select_for_update().get(pk=1)
    return found


def epoch_new() -> int:
    """An epoch that is later than any before it: the second it began in."""
    return int(timezone.now().timestamp())


def _sequence_take() -> int:
    clock = clock_lock()
    FleetClock.objects.filter(pk=clock.pk).update(sequence=F("sequence") + 1)
    return clock.sequence + 1
