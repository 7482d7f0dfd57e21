"""Asking for machines, and giving them back: a signed webhook to whoever can start and stop them (pay as you go).

CloudEvents 1.0 in structured JSON, signed as Standard Webhooks say, to ``BULKHEAD_MACHINES_WEBHOOK_URL`` with
``BULKHEAD_MACHINES_WEBHOOK_SECRET``. ``io.bulkhead.machines.wanted.v1``: replicas are wanted that no worker has room for; said again every
``REPEAT_SECONDS`` while that is so. ``io.bulkhead.machines.spare.v1``: fewer are wanted, and these workers of the pool run nothing.
Whoever receives it decides; nothing here starts or stops a machine, and a receiver that hears the same id twice drops the second.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import Any

import httpx
import msgspec

from apps.contracts.identifiers import uuid7
from apps.contracts.webhooks import signed
from apps.fleet.models import Deployment, Worker
from apps.fleet.scaling import Decision
from controlplane import env

REPEAT_SECONDS = 300.0
PATIENCE_SECONDS = 5.0
CONTENT_TYPE = "application/cloudevents+json; charset=utf-8"
WANTED, SPARE = "wanted", "spare"


class MachinesAway(Exception):
    """The receiver did not take it; it may later."""


class Told(msgspec.Struct, frozen=True):
    """What was asked last: replicas that had no room, and when (seconds since the epoch)."""

    missing: int = 0
    at: float = 0.0


def machines_event(
    deployment: Deployment, told: Told, *, missing: int, decision: Decision, now: datetime
) -> tuple[dict[str, Any] | None, Told]:
    """(the event to send, what was told then). None: there is nothing new to say."""
    at = now.timestamp()
    if missing > 0:
        if missing == told.missing and at - told.at < REPEAT_SECONDS:
            return None, told
        return _event(deployment, WANTED, missing, (), decision, now), Told(missing, at)
    told = Told()
    if decision.direction != "down" or decision.dry_run:
        return None, told
    idle = _idle(deployment)
    if not idle:
        return None, told
    return _event(deployment, SPARE, decision.before - decision.desired, idle, decision, now), told


def _idle(deployment: Deployment) -> tuple[str, ...]:
    """Workers of the deployment's pool that run nothing."""
    workers = Worker.objects.filter(organisation=deployment.organisation_id, pool=deployment.pool, revoked_at=None)
    free = workers.exclude(replicas__ended_at=None, replicas__isnull=False)
    return tuple(free.order_by("name").values_list("name", flat=True)[:100])


def _event(deployment: Deployment, what: str, replicas: int, workers: tuple[str, ...], decision: Decision, now: datetime) -> dict[str, Any]:
    return {
        "specversion": "1.0",
        "id": str(uuid7()),
        "source": f"/bulkhead/fleet/{deployment.organisation.slug}",
        "type": f"io.bulkhead.machines.{what}.v1",
        "subject": deployment.name,
        "time": now.isoformat(),
        "datacontenttype": "application/json",
        "data": {
            "deployment": deployment.name,
            "pool": deployment.pool,
            "region": deployment.region,
            "replicas": replicas,
            "gpus_each": deployment.gpus,
            "memory_each": deployment.memory,
            "vendor": deployment.vendor,
            "spot_allowed": deployment.spot_allowed,
            "workers": list(workers),
            "why": decision.sentence(),
        },
    }


def machines_send(event: dict[str, Any], *, client: httpx.Client | None = None) -> bool:
    """One POST. False where no receiver is set. Raises MachinesAway where it may be tried again; what is refused for good is not raised,
    but said in the log by the caller (False)."""
    receiver = env.machines_webhook()
    if receiver is None:
        return False
    url, secret = receiver
    body = msgspec.json.encode(event)
    headers = {"content-type": CONTENT_TYPE, **signed(secret, str(event["id"]), int(time.time()), body)}
    try:
        with client or httpx.Client(timeout=PATIENCE_SECONDS, follow_redirects=False) as opened:
            answer = opened.post(url, content=body, headers=headers)
    except (httpx.HTTPError, OSError) as error:
        raise MachinesAway(f"no answer ({type(error).__name__})") from error
    if answer.status_code in (408, 425, 429) or answer.status_code >= 500:
        raise MachinesAway(f"it answered {answer.status_code}")
    return answer.is_success
