"""Mail about requests for keys: to those who decide when somebody asks, to whoever asked when it was decided. Never a secret.

A mail that cannot be sent is logged and nothing else: the request waits on its page and in the bar of whoever decides.
"""

from __future__ import annotations

import logging
import smtplib

from django.conf import settings
from django.core.mail import send_mail
from django.db.models import Q

from apps.accounts.models import Membership, TeamMembership
from apps.accounts.rules import roles_for, team_roles_for
from apps.keys.models import KeyRequest

log = logging.getLogger(__name__)
MOST_TOLD = 10


def request_tell(request_id: str) -> None:
    """Tell those who may decide about a request."""
    row = _row(request_id)
    if row is None or row.state != "open":
        return
    why = f"\nIt needs consent because of: {'; '.join(row.outside)}." if row.outside else ""
    text = (
        f"{row.requester_email} asks for a key {row.name} of the team {row.team.name}.\n\nWhat for: {row.reason}{why}\n\n"
        f"Approve or reject it in Bulkhead: Keys, Requests."
    )
    _send(f"[Bulkhead] {row.requester_email} asks for a key of {row.team.name}", text, deciders(row))


def decision_tell(request_id: str) -> None:
    """Tell whoever asked, and those who could have decided, what was decided."""
    row = _row(request_id)
    if row is None or row.state not in ("approved", "rejected"):
        return
    answer = f"\n\n{row.decided_by} says: {row.answer}" if row.answer else ""
    more = (
        "\n\nIts secret waits for you in Bulkhead: Keys, Requests. It is shown once, and is gone after 7 days."
        if row.state == "approved"
        else ""
    )
    subject = f"[Bulkhead] The key {row.name} was {row.state}"
    _send(subject, f"{row.decided_by} has {row.state} the key {row.name} of the team {row.team.name}.{answer}{more}", [row.requester_email])
    others = [address for address in deciders(row) if address != row.decided_by]
    _send(subject, f"{row.decided_by} has {row.state} the key {row.name} that {row.requester_email} asked for.{answer}", others)


def deciders(row: KeyRequest) -> list[str]:
    """Addresses of people who may decide about a request: the team's own first, then the organisation's, never whoever asked."""
    roles = [role.value for role in team_roles_for("key.approve")]
    own = TeamMembership.objects.filter(team_id=row.team_id, role__in=roles, membership__user__is_active=True)
    found = list(own.values_list("membership__user__email", flat=True)[:MOST_TOLD])
    if not found:
        wider = Q(role__in=[role.value for role in roles_for("key.approve")], user__is_active=True)
        members = Membership.objects.filter(wider, organisation=row.organisation).order_by("created_at")
        found = list(members.values_list("user__email", flat=True)[:MOST_TOLD])
    return [address for address in dict.fromkeys(found) if address != row.requester_email]


def _row(request_id: str) -> KeyRequest | None:
    return KeyRequest.objects.select_related("team").filter(pk=request_id).first()


def _send(subject: str, text: str, addresses: list[str]) -> None:
    if not settings.EMAIL_HOST or not addresses:
        return
    for address in addresses:  # one each: nobody learns the others' addresses
        try:
            send_mail(" ".join(subject.split())[:250], text, settings.DEFAULT_FROM_EMAIL, [address])
        except (smtplib.SMTPException, OSError) as error:
            log.warning("keys: %s could not be told: %s: %s", address, type(error).__name__, error)
