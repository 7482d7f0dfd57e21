"""A replica's row as proxies get it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from apps.contracts.fleet import ReplicaEndpoint
from apps.fleet.bearers import bearer_sealed
from apps.fleet.facts import fact_of
from apps.fleet.models import Replica


def endpoint_of(row: Replica, *, draining: bool = False, load: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
    """What proxies get of a replica read with its deployment and worker; None where it serves nobody."""
    leaves = draining or row.want != "serve" or row.state == "draining"
    if not row.url or row.ended_at is not None or row.want == "stop" or row.state not in ("ready", "draining"):
        return None
    capacity = row.deployment.context * row.deployment.concurrency
    return fact_of(
        ReplicaEndpoint(
            replica=str(row.pk),
            organisation=str(row.deployment.organisation_id),
            deployment=row.deployment.name,
            url=row.url,
            model=row.model or row.deployment.model,
            epoch=0,
            sequence=0,
            state="draining" if leaves else "ready",
            region=row.worker.region,
            capacity_tokens=capacity,
            sealed=bearer_sealed(row.pk, row.bearer),
            **(load or {}),
        )
    )
