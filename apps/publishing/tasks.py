"""Celery envelopes."""

from __future__ import annotations

from celery import shared_task

from apps.publishing import submissions


@shared_task(name="apps.publishing.tasks.publishing_upkeep", ignore_result=True)
def publishing_upkeep() -> dict[str, int]:
    """Forget forms that were sent long ago; returns how many."""
    return {"submissions": submissions.submissions_prune()}
