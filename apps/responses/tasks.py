"""Celery envelopes of stored responses; queue ``jobs``."""

from __future__ import annotations

from celery import shared_task

from apps.responses import services


@shared_task(name="apps.responses.tasks.responses_expire")
def responses_expire() -> None:
    """Stored responses that are past their time away."""
    services.responses_expire()
