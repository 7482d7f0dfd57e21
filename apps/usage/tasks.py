"""Celery envelopes of the usage app; queue ``rollups``."""

from __future__ import annotations

from celery import shared_task

from apps.usage import anomalies, capture_services, counting, feedback, forecasting, gauges, sampling, services, storage
from apps.usage.retention import retention


@shared_task(name="apps.usage.tasks.partitions_maintain")
def partitions_maintain() -> None:
    """Partitions ahead of time; what is past its retention away; then how much room everything takes."""
    kept = retention()
    services.partitions_maintain(retention_days=kept.request_days, minute_days=kept.minute_days, hour_days=kept.hour_days)
    storage.storage_sample()


@shared_task(name="apps.usage.tasks.rollups_compact")
def rollups_compact() -> None:
    """Ten-second rollups past their 48 hours away; sums that a lost shipper left behind added."""
    services.rollups_catch_up()
    services.rollups_compact()


@shared_task(name="apps.usage.tasks.spend_count")
def spend_count() -> None:
    """Count the hours whose requests are not all counted yet, for the pages of spend."""
    counting.spend_count(retention_days=retention().request_days)


@shared_task(name="apps.usage.tasks.forecasts_keep")
def forecasts_keep() -> None:
    """Today's forecasts, once, in the first hours of the day (UTC)."""
    forecasting.forecasts_keep()


@shared_task(name="apps.usage.tasks.runaways_keep")
def runaways_keep() -> None:
    """Keys that spend out of proportion to their own history."""
    anomalies.runaways_keep()


@shared_task(name="apps.usage.tasks.gauges_sample")
def gauges_sample() -> None:
    """Queues, breakers, lag and leases, as they are now."""
    sampling.gauges_sample()


@shared_task(name="apps.usage.tasks.gauges_forget")
def gauges_forget() -> None:
    """Gauges older than they are kept away."""
    gauges.gauges_forget()


@shared_task(name="apps.usage.tasks.feedback_match")
def feedback_match() -> None:
    """Feedback that came before its request was settled finds it; what has none, and what is past its time, goes."""
    feedback.feedback_match(retention_days=retention().request_days)


@shared_task(name="apps.usage.tasks.captures_finish")
def captures_finish() -> None:
    """Captures of keys that are full or over, and samples whose time is over."""
    capture_services.captures_finish()
    capture_services.samples_expire()
