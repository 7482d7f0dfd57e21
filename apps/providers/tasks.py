"""Celery envelopes."""

from __future__ import annotations

from celery import shared_task

from apps.providers import checks, watch


@shared_task(name="apps.providers.tasks.providers_check", ignore_result=True)
def providers_check() -> dict[str, str]:
    """Check every endpoint of every enabled provider; returns endpoint id -> state."""
    return checks.providers_check()


@shared_task(name="apps.providers.tasks.targets_watch", ignore_result=True)
def targets_watch() -> int:
    """Record openings and closings of breakers and refused credentials; returns how many are new."""
    return watch.targets_watch()
