"""Envelopes: what the fleet does by itself."""

from __future__ import annotations

import logging
from typing import Any

import redis
from celery import shared_task

from apps.fleet.autoscaling import RedisKept, fleet_scale
from apps.fleet.counting import gpu_time_count
from apps.fleet.machines import MachinesAway, machines_send
from apps.fleet.reconciling import fleet_forget, fleet_reconcile
from controlplane import env

log = logging.getLogger("bulkhead.fleet")


@shared_task
def fleet_run() -> None:
    """Replicas follow what is wanted."""
    fleet_reconcile()


@shared_task
def autoscaling_run() -> None:
    """Deployments that are not scaled by hand are scaled."""
    with redis.Redis.from_url(env.redis_url(), socket_timeout=1, socket_connect_timeout=1) as client:
        try:
            fleet_scale(RedisKept(client), send=lambda event: machines_ask.delay(event) and None)
        except redis.RedisError as error:
            log.warning("nothing is scaled while Redis does not answer: %s", error)


@shared_task(bind=True, max_retries=5)
def machines_ask(self: Any, event: dict[str, Any]) -> None:
    """One event to whoever starts and stops machines; tried again while it does not answer."""
    try:
        machines_send(event)
    except MachinesAway as error:
        raise self.retry(exc=error, countdown=2 ** (self.request.retries + 1)) from error


@shared_task
def gpu_time_keep() -> None:
    """Hours of GPUs by state."""
    gpu_time_count()


@shared_task
def fleet_upkeep() -> None:
    """What nobody needs any more goes."""
    fleet_forget()
