"""Celery envelopes of settlement; queue ``rollups``."""

from __future__ import annotations

from celery import shared_task

from apps.settlement import upkeep


@shared_task(name="apps.settlement.tasks.windows_forget")
def windows_forget() -> None:
    """Budget windows of single users that ended long ago are forgotten."""
    upkeep.windows_forget()
