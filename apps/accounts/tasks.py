"""Celery envelopes."""

from __future__ import annotations

from celery import shared_task

from apps.accounts import sessions, signin
from apps.accounts.answers import answers_prune


@shared_task(name="apps.accounts.tasks.signin_upkeep", ignore_result=True)
def signin_upkeep() -> dict[str, int]:
    """Forget failed sign-ins that no longer count, sessions that have ended, and answers kept for a day; returns how many of each."""
    found = {"attempts": signin.attempts_prune(), "sessions": signin.sessions_prune(), "answers": answers_prune()}
    sessions.sessions_forget_ended()
    return found
