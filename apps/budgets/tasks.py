"""Celery envelopes of budgets; queue ``alerts``."""

from __future__ import annotations

from uuid import UUID

from celery import shared_task

from apps.budgets import alerting, performance_services, performance_telling, telling, weekly_sending


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
    """Look at the performance budgets that are due; verdicts that changed are written down, and owners told, one task each."""
    performance_services.performance_evaluate()
    for notice_id in performance_telling.untold():
        performance_tell.delay(notice_id)


@shared_task(name="apps.budgets.tasks.performance_tell")
def performance_tell(notice_id: int) -> None:
    """Tell one owner of one breach or recovery."""
    performance_telling.notice_tell(notice_id)


@shared_task(name="apps.budgets.tasks.weekly_watch")
def weekly_watch() -> None:
    """Hand out the weekly e-mails that wait, one task each."""
    for report_id in weekly_sending.weekly_prepare():
        weekly_send.delay(str(report_id))


@shared_task(name="apps.budgets.tasks.weekly_send")
def weekly_send(report_id: str) -> None:
    """Send one weekly e-mail, unless somebody did."""
    weekly_sending.weekly_send(UUID(report_id))
