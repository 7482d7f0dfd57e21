"""Celery envelopes."""

from __future__ import annotations

from celery import shared_task

from apps.audit.actors import Actor
from apps.catalogue import looking, services


@shared_task(name="apps.catalogue.tasks.listings_look", ignore_result=True)
def listings_look() -> dict[str, str]:
    """Look at every enabled provider's list of models; returns provider id -> problem."""
    return looking.listings_look()


@shared_task(name="apps.catalogue.tasks.packages_follow", ignore_result=True)
def packages_follow() -> int:
    """Take what upgraded packages say of models; returns of how many something differs."""
    row = services.packages_follow(actor=Actor.system("catalogue"))
    return len(row.changed) if row is not None else 0
