"""Celery envelopes."""

from __future__ import annotations

from celery import shared_task

from apps.audit.actors import Actor
from apps.prices import changes, repricing, services
from apps.prices.choices import PENDING
from apps.prices.models import Repricing


@shared_task(name="apps.prices.tasks.book_follow", ignore_result=True)
def book_follow() -> int:
    """Take the base prices of an upgraded ``genai-prices``; returns how many models' prices changed."""
    row = services.book_follow(actor=Actor.system("price book"))
    return len(row.changed) if row is not None else 0


@shared_task(name="apps.prices.tasks.repricings_run", ignore_result=True)
def repricings_run() -> int:
    """Compute the re-pricings that wait, oldest first; returns how many."""
    waiting = Repricing.objects.filter(state=PENDING).order_by("created_at").values_list("pk", flat=True)
    return sum(repricing.repricing_run(repricing_id=pk) for pk in list(waiting))


@shared_task(name="apps.prices.tasks.changes_keep", ignore_result=True)
def changes_keep() -> int:
    """Keep the sudden changes of prices as anomalies of spend; returns how many are new."""
    return changes.changes_keep()
