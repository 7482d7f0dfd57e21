"""Celery envelopes of the usage app; queue ``rollups``."""

from __future__ import annotations

from celery import shared_task

from apps.contracts.env import Reader
from apps.usage import anomalies, counting, forecasting, services

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


@shared_task(name="apps.usage.tasks.spend_count")
def spend_count() -> None:
    """Count the hours whose requests are not all counted yet, for the pages of spend."""
    counting.spend_count(retention_days=Reader().integer("BULKHEAD_USAGE_RETENTION_DAYS", RETENTION_DAYS, minimum=1))


@shared_task(name="apps.usage.tasks.forecasts_keep")
def forecasts_keep() -> None:
    """Today's forecasts, once, in the first hours of the day (UTC)."""
    forecasting.forecasts_keep()


@shared_task(name="apps.usage.tasks.runaways_keep")
def runaways_keep() -> None:
    """Keys that spend out of proportion to their own history."""
    anomalies.runaways_keep()
