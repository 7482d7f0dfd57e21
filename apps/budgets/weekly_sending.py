"""Sends each owner's weekly e-mail exactly once, as far as a mail server lets one.

Invariants: one row for an owner and a week; between two moments at which a row's e-mail is handed to the mail server somebody asked for it
again. The row is claimed, the e-mail made and the server connected to, all of which may be repeated by whoever comes after a kill; then the
row is marked by compare-and-set, and only who marked it hands the e-mail over. What is killed inside that one conversation stays marked:
nobody knows whether the server has it, so it is shown as that and sent again only when a person says so.
"""

from __future__ import annotations

import logging
import smtplib
from datetime import UTC, datetime, timedelta
from uuid import UUID

from django.conf import settings
from django.core.mail import EmailMultiAlternatives, get_connection
from django.db import transaction
from django.db.models import F, Q
from django.utils import timezone as clock

from apps.accounts.models import Organisation
from apps.accounts.selectors import permission_require
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.services import audit_record
from apps.budgets.models import WeeklyReport
from apps.budgets.weekly_content import Owned, owners_of, week_before, weekly_build

HOUR = 6
"""From this hour of Monday (UTC) on: the night's records have arrived."""
LATEST = timedelta(days=4)
"""A week that nobody could be told of by Friday is told no more: the next one is near."""
MOST_TRIES = 10
CLAIM = timedelta(minutes=10)
"""After so long without a word from whoever claimed it, a report is anybody's again."""

log = logging.getLogger("bulkhead.budgets")


def weekly_prepare(*, now: datetime | None = None) -> list[UUID]:
    """The rows of the last whole week that wait to be sent, made where they are missing. Nobody's simulated money is told of, and without a
    mail server nothing is made."""
    now = now or clock.now()
    starts = week_before(now)
    over = datetime(starts.year, starts.month, starts.day, tzinfo=UTC) + timedelta(days=7)
    if not settings.EMAIL_HOST or not over + timedelta(hours=HOUR) <= now < over + LATEST:
        return []
    rows = [
        WeeklyReport(organisation=organisation, owner=owner, week_starts=starts)
        for organisation in Organisation.objects.filter(simulated=False).order_by("slug")
        for owner, owned in owners_of(organisation).items()
        if _owned_before(owned, over)
    ]
    WeeklyReport.objects.bulk_create(rows, ignore_conflicts=True)
    waiting = WeeklyReport.objects.filter(_free(now), week_starts=starts, sending_at=None, sent_at=None, tries__lt=MOST_TRIES)
    return list(waiting.order_by("pk").values_list("pk", flat=True))


def _owned_before(owned: Owned, moment: datetime) -> bool:
    """Who became an owner later was none in that week."""
    return any(thing.created_at < moment for thing in (*owned.budgets, *owned.teams))


def weekly_send(report_id: UUID, *, now: datetime | None = None) -> bool:
    """Send one report. False: somebody else does, it was sent, it was tried often enough, or the server refused it."""
    now = now or clock.now()
    mine = WeeklyReport.objects.filter(_free(now), pk=report_id, sending_at=None, sent_at=None, tries__lt=MOST_TRIES)
    if not mine.update(claimed_at=now, tries=F("tries") + 1):
        return False
    report = WeeklyReport.objects.select_related("organisation").get(pk=report_id)
    owned = owners_of(report.organisation).get(report.owner)
    if owned is None:
        return _failed(report, "owns nothing any more", tries=MOST_TRIES)
    weekly = weekly_build(report.organisation, owned, starts=report.week_starts, now=now)
    text, html = weekly.rendered()
    headers = {"Message-ID": f"<{report.pk}.weekly@bulkhead>", "Auto-Submitted": "auto-generated"}
    message = EmailMultiAlternatives(weekly.subject, text, settings.DEFAULT_FROM_EMAIL, [report.owner], headers=headers)
    message.attach_alternative(html, "text/html")
    server = get_connection()
    try:
        server.open()
    except (OSError, smtplib.SMTPException) as error:
        return _failed(report, f"the mail server: {type(error).__name__}")
    try:
        return _hand_over(report, message, server, text)
    finally:
        server.close()


def _hand_over(report: WeeklyReport, message: EmailMultiAlternatives, server: object, text: str) -> bool:
    """The one conversation that is never repeated by itself."""
    marked = WeeklyReport.objects.filter(pk=report.pk, claimed_at=report.claimed_at, sending_at=None, sent_at=None)
    if not marked.update(sending_at=clock.now(), subject=message.subject, text=text):
        return False  # it took longer than a claim holds, and somebody else has it
    try:
        server.send_messages([message])  # type: ignore[attr-defined]
    except (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused) as error:  # the server said no
        return _failed(report, f"the mail server refused it: {type(error).__name__}")
    except (OSError, smtplib.SMTPException) as error:  # it said nothing: it may have taken it
        log.warning("budgets: weekly e-mail %s: its delivery is unknown: %s: %s", report.pk, type(error).__name__, error)
        WeeklyReport.objects.filter(pk=report.pk).update(told=f"unknown: {type(error).__name__}")
        return False
    WeeklyReport.objects.filter(pk=report.pk).update(sent_at=clock.now(), told="e-mail")
    return True


def _failed(report: WeeklyReport, why: str, *, tries: int | None = None) -> bool:
    log.warning("budgets: weekly e-mail %s was not sent: %s", report.pk, why)
    changes = {"claimed_at": None, "sending_at": None, "told": f"failed: {why}"[:300], **({} if tries is None else {"tries": tries})}
    WeeklyReport.objects.filter(pk=report.pk, claimed_at=report.claimed_at).update(**changes)
    return False


@transaction.atomic
def weekly_send_again(*, actor: Actor, report: WeeklyReport, reason: str = "") -> None:
    """Have a report sent by the next run that was not, or of which nobody knows. Raises ServiceError for one that was sent."""
    permission_require(actor=actor, action="weekly.send", organisation=report.organisation)
    again = WeeklyReport.objects.filter(pk=report.pk, sent_at=None).exclude(Q(sending_at__gt=clock.now() - CLAIM))
    if not again.update(claimed_at=None, sending_at=None, tries=0, told="asked for again"):
        raise ServiceError("This e-mail was sent, or is being sent just now: there is nothing to send again.")
    audit_record(
        actor=actor,
        action="weekly.send",
        subject_kind="weekly",
        subject_id=report.pk,
        subject_name=str(report),
        before={"told": report.told},
        after={"owner": report.owner, "week": str(report.week_starts)},
        reason=reason,
    )


def _free(now: datetime) -> Q:
    return Q(claimed_at=None) | Q(claimed_at__lt=now - CLAIM)
