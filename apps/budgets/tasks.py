"""Celery envelopes of budgets; queue ``alerts``."""

from __future__ import annotations

from celery import shared_task

from apps.budgets import alerting, performance_services, telling


@shared_task(name="apps.budgets.tasks.budgets_watch")
def budgets_watch() -> None:
    """Raise what was reached, then hand out what waits to be told, one task each: a slow webhook holds up its own alert only."""
    alerting.alerts_raise()
    for alert_id in telling.untold():
        alert_tell.delay(alert_id)


@shared_task(name="apps.budgets.tasks.alert_tell")
def alert_tell(alert_id: int) -> None:
    """Tell one alert."""
    telling.alert_tell(alert_id)


@shared_task(name="apps.budgets.tasks.performance_watch")
def performance_watch() -> None:
    """Look at the performance budgets that are due; verdicts that changed are written down."""
    performance_services.performance_evaluate()
