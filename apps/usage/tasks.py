"""Celery envelopes of the usage app; queue ``rollups``."""

from __future__ import annotations

from celery import shared_task

from apps.contracts.env import Reader
from apps.usage import services

RETENTION_DAYS = 90
"""Default of ``BULKHEAD_USAGE_RETENTION_DAYS``."""


@shared_task(name="apps.usage.tasks.partitions_maintain")
def partitions_maintain() -> None:
    """Partitions ahead of time, old ones away (``BULKHEAD_USAGE_RETENTION_DAYS``)."""
    services.partitions_maintain(retention_days=Reader().integer("BULKHEAD_USAGE_RETENTION_DAYS", RETENTION_DAYS, minimum=1))


@shared_task(name="apps.usage.tasks.rollups_compact")
def rollups_compact() -> None:
    """Ten-second rollups past their 48 hours away; sums that a lost shipper left behind added."""
    services.rollups_catch_up()
    services.rollups_compact()
