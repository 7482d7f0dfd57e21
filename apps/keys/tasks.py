"""Celery envelopes of keys; queue ``jobs``."""

from __future__ import annotations

from celery import shared_task

from apps.audit.actors import Actor
from apps.keys import handovers
from apps.publishing.services import publish


@shared_task(name="apps.keys.tasks.handovers_expire")
def handovers_expire() -> None:
    """Erase secrets that nobody fetched in time; proxies learn of the keys that were revoked with them."""
    if handovers.handovers_expire():
        publish(actor=Actor.system("keys"), reason="secrets of new keys were not fetched within a week")
