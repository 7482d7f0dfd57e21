"""Celery envelopes of alerts; queue ``alerts``."""

from __future__ import annotations

from celery import shared_task

from apps.alerts import evaluation


@shared_task(name="apps.alerts.tasks.alerts_evaluate")
def alerts_evaluate() -> None:
    """Judge the minutes that are over, each once."""
    evaluation.evaluate()


@shared_task(name="apps.alerts.tasks.alerts_forget")
def alerts_forget() -> None:
    """Delete alerts that are over for very long."""
    evaluation.alerts_forget()
