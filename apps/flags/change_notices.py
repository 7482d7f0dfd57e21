"""E-mails about flags and requests: made in the transaction of what they are about, told by a worker, never handed over twice by itself."""

from __future__ import annotations

import logging
import smtplib
from uuid import UUID

from django.conf import settings
from django.core.mail import EmailMessage, get_connection
from django.db.models import F
from django.utils import timezone as clock

from apps.accounts.models import Organisation, User
from apps.accounts.selectors import admins_of
from apps.flags.models import ChangeRequest, FlagNotice
from apps.ownership.models import Team

MOST_TRIES = 5
AT_ONCE = 100

log = logging.getLogger("bulkhead.flags")


def owners_of(organisation: Organisation, team: Team | None) -> list[str]:
    """Whom to tell about a flag: its team's contact, or who can change roles where it has none."""
    return [team.contact_email] if team is not None and team.contact_email else admins_of(organisation)


def asker_of(change: ChangeRequest) -> list[str]:
    """The address of the person who asked; nobody's where a command did."""
    if change.asked_kind != "user":
        return []
    return list(User.objects.filter(pk=change.asked_id, is_active=True).values_list("email", flat=True))


def notice_add(*, organisation: Organisation, kind: str, about: str, addresses: list[str], subject: str, lines: list[str]) -> bool:
    """Have somebody told once; False where a notice about the same was made already."""
    made = FlagNotice.objects.bulk_create(
        [
            FlagNotice(
                organisation=organisation,
                kind=kind,
                about=about[:200],
                addresses=sorted(set(addresses)),
                subject=" ".join(f"[Bulkhead] {subject}".split())[:250],
                text="\n".join(lines),
            )
        ],
        ignore_conflicts=True,
    )
    return FlagNotice.objects.filter(pk=made[0].pk).exists()


def unsent() -> list[UUID]:
    """Notices that wait to be told."""
    rows = FlagNotice.objects.filter(sending_at=None, sent_at=None, tries__lt=MOST_TRIES).order_by("created_at")
    return list(rows.values_list("pk", flat=True)[:AT_ONCE])


def notice_send(notice_id: UUID) -> bool:
    """Tell one. False: somebody else does, it was told or tried often enough, or the server refused it.

    The server is connected to first, which may be repeated; then the row is marked by compare-and-set, and only who marked it hands the
    e-mail over. Where that one conversation breaks nobody knows whether the server has it, and it stays marked.
    """
    notice = FlagNotice.objects.filter(pk=notice_id, sending_at=None, sent_at=None, tries__lt=MOST_TRIES).first()
    if notice is None:
        return False
    if not settings.EMAIL_HOST or not notice.addresses:
        why = "shown on the pages only: " + ("nobody to tell" if settings.EMAIL_HOST else "no mail server is set (BULKHEAD_SMTP_URL)")
        return bool(_mark(notice_id, told=why))
    server = get_connection()
    try:
        server.open()
    except (OSError, smtplib.SMTPException) as error:
        return _failed(notice_id, f"the mail server: {type(error).__name__}")
    try:
        if not _mark(notice_id, told="being sent"):
            return False
        headers = {"Message-ID": f"<{notice.pk}.flags@bulkhead>", "Auto-Submitted": "auto-generated"}
        message = EmailMessage(notice.subject, notice.text, settings.DEFAULT_FROM_EMAIL, notice.addresses, headers=headers)
        try:
            server.send_messages([message])
        except (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused) as error:  # the server said no
            return _failed(notice_id, f"the mail server refused it: {type(error).__name__}")
        except (OSError, smtplib.SMTPException) as error:  # it said nothing: it may have taken it
            log.warning("flags: the delivery of notice %s is unknown: %s: %s", notice_id, type(error).__name__, error)
            FlagNotice.objects.filter(pk=notice_id).update(told=f"unknown: {type(error).__name__}")
            return False
        FlagNotice.objects.filter(pk=notice_id).update(sent_at=clock.now(), told="e-mail")
        return True
    finally:
        server.close()


def _mark(notice_id: UUID, *, told: str) -> int:
    return FlagNotice.objects.filter(pk=notice_id, sending_at=None).update(sending_at=clock.now(), told=told)


def _failed(notice_id: UUID, why: str) -> bool:
    log.warning("flags: notice %s was not sent: %s", notice_id, why)
    FlagNotice.objects.filter(pk=notice_id).update(sending_at=None, tries=F("tries") + 1, told=f"failed: {why}"[:300])
    return False
