"""Celery envelopes."""

from __future__ import annotations

import logging

from celery import shared_task

from apps.audit.checking import chain_check as check

log = logging.getLogger(__name__)


@shared_task(name="apps.audit.tasks.chain_check", ignore_result=True)
def chain_check() -> str:
    """Walk the audit chain's new links; returns what is broken, empty when nothing is."""
    return _run(whole=False)


@shared_task(name="apps.audit.tasks.chain_check_whole", ignore_result=True)
def chain_check_whole() -> str:
    """Walk the whole audit chain; returns what is broken, empty when nothing is."""
    return _run(whole=True)


def _run(*, whole: bool) -> str:
    found = check(whole=whole)
    if found.broken:
        log.error("the audit chain is broken: %s", found.broken)
    return found.broken
