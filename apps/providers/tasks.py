"""Celery envelopes."""

from __future__ import annotations

import logging

from celery import shared_task
from django.db import OperationalError

from apps.providers import checks, watch

log = logging.getLogger(__name__)


@shared_task(name="apps.providers.tasks.providers_check", ignore_result=True)
def providers_check() -> dict[str, str]:
    """Check every endpoint of every enabled provider; returns endpoint id -> state."""
    return checks.providers_check()


@shared_task(name="apps.providers.tasks.targets_watch", ignore_result=True)
def targets_watch() -> int:
    """Record openings and closings of breakers and refused credentials; returns how many are new."""
    try:
        return watch.targets_watch()
    except OperationalError as error:  # the database is away: proxies report what is open again and again
        log.warning("targets were not looked at: %s", error)
        return 0
