"""Celery envelopes of alerts; queue ``alerts``."""

from __future__ import annotations

from uuid import UUID

from celery import shared_task
from django.utils import timezone as clock

from apps.alerts import deliveries, escalation, evaluation, reachability


@shared_task(name="apps.alerts.tasks.alerts_evaluate")
def alerts_evaluate() -> None:
    """Judge the minutes that are over, each once."""
    evaluation.evaluate()


@shared_task(name="apps.alerts.tasks.alerts_forget")
def alerts_forget() -> None:
    """Delete alerts that are over for very long."""
    evaluation.alerts_forget()
    deliveries.deliveries_forget()


@shared_task(name="apps.alerts.tasks.alerts_tell")
def alerts_tell() -> None:
    """Carry on what is told, then hand out every message that is due, one task each: a slow receiver holds up its own only."""
    now = clock.now()
    escalation.notifications_run(now)
    deliveries.deliveries_recover(now)
    for delivery_id in deliveries.deliveries_due(now):
        delivery_send.delay(str(delivery_id))


@shared_task(name="apps.alerts.tasks.delivery_send")
def delivery_send(delivery_id: str) -> None:
    """Hand one message over, unless somebody did."""
    deliveries.delivery_send(UUID(delivery_id))


@shared_task(name="apps.alerts.tasks.reachability_watch")
def reachability_watch() -> None:
    """Look whether somebody can be reached on every rotation."""
    reachability.reachability_watch()
