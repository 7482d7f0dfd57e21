"""Celery envelopes of flags; queue ``alerts``."""

from __future__ import annotations

import logging
from uuid import UUID

from celery import shared_task

from apps.audit.errors import ServiceError
from apps.flags import change_notices, change_upkeep, flips, hearing
from apps.publishing.errors import PublishError

log = logging.getLogger("bulkhead.flags")


@shared_task(name="apps.flags.tasks.changes_run")
def changes_run() -> None:
    """Do what is due: scheduled flips, and requests that nobody answered."""
    for change_id in change_upkeep.changes_due():
        change_upkeep.change_run(change_id)


@shared_task(name="apps.flags.tasks.flags_expire")
def flags_expire() -> None:
    """Turn off what has expired; one that cannot be published holds up no other."""
    for flag_id in change_upkeep.flags_expired():
        try:
            change_upkeep.flag_expire(flag_id)
        except (ServiceError, PublishError) as error:
            log.warning("flags: %s could not be turned off at its expiry: %s", flag_id, error.message)


@shared_task(name="apps.flags.tasks.proxies_hear")
def proxies_hear() -> None:
    """Take in what proxies tell of flags: exposures, and overrides made on their hosts."""
    hearing.proxies_hear()


@shared_task(name="apps.flags.tasks.exposures_forget")
def exposures_forget() -> None:
    """Delete counts that are older than they are kept."""
    hearing.exposures_forget()


@shared_task(name="apps.flags.tasks.flags_neglected")
def flags_neglected() -> None:
    """Tell owners of flags that nobody exercises."""
    change_upkeep.neglect_tell()


@shared_task(name="apps.flags.tasks.flips_measure")
def flips_measure() -> None:
    """Keep what came of flips whose watch is over."""
    flips.flips_measure()


@shared_task(name="apps.flags.tasks.notices_send")
def notices_send() -> None:
    """Hand out the e-mails that wait, one task each."""
    for notice_id in change_notices.unsent():
        notice_send.delay(str(notice_id))


@shared_task(name="apps.flags.tasks.notice_send")
def notice_send(notice_id: str) -> None:
    """Send one e-mail, unless somebody did."""
    change_notices.notice_send(UUID(notice_id))
