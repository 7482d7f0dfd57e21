"""Envelopes: what the fleet does by itself."""

from __future__ import annotations

from celery import shared_task

from apps.fleet.counting import gpu_time_count
from apps.fleet.reconciling import fleet_forget, fleet_reconcile


@shared_task
def fleet_run() -> None:
    """Replicas follow what is wanted."""
    fleet_reconcile()


@shared_task
def gpu_time_keep() -> None:
    """Hours of GPUs by state."""
    gpu_time_count()


@shared_task
def fleet_upkeep() -> None:
    """What nobody needs any more goes."""
    fleet_forget()
