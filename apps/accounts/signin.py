"""Signing in and out, with limits on failures.

Limits, counted over ``WINDOW``: failures of one email from one address, of one address, and of one email from anywhere.
The last is high, so that a stranger cannot easily lock a person out from afar. Attempts are kept in Postgres, because a
sign-in must work, and stay limited, while Redis is away. An attempt is counted and written before the password is checked, one
at a time for an address and for an email: parallel guesses count each other, and the limit holds under any concurrency.
"""

from __future__ import annotations

from datetime import timedelta

from django.contrib.auth import authenticate, login, logout
from django.contrib.sessions.models import Session
from django.db import connection, transaction
from django.http import HttpRequest
from django.utils import timezone

from apps.accounts.models import SignInAttempt, User
from apps.accounts.sessions import session_opened
from apps.audit.actors import Actor, client_address, client_agent
from apps.audit.errors import ServiceError
from apps.audit.registry import event_record
from apps.audit.rules import clean_text
from apps.audit.services import audit_record

WINDOW = timedelta(minutes=15)
MAX_PER_EMAIL_AND_ADDRESS = 5
MAX_PER_ADDRESS = 30
MAX_PER_EMAIL = 50


class SignInRefused(ServiceError):
    """Wrong email or password, or too many failures. The message never tells which of the two was wrong."""


class SignInLimited(SignInRefused):
    """Too many failures; ``retry_after`` seconds until the next try."""

    def __init__(self, retry_after: int) -> None:
        minutes = max(1, -(-retry_after // 60))
        super().__init__(f"Too many failed sign-ins. Try again in {minutes} minute{'s' if minutes > 1 else ''}.")
        self.retry_after = retry_after


def sign_in(*, request: HttpRequest, email: str, password: str) -> User:
    """Check the password and open a session with a fresh key. Raises SignInRefused or SignInLimited; both are audited."""
    email = clean_text(email.strip().lower(), 254)
    address = client_address(request)[:64]
    wait = _attempt(email, address)
    if wait:
        _record_failure(request, email=email, action="session.limit", reason="too many failed sign-ins")
        raise SignInLimited(wait)
    user = authenticate(request, username=email, password=password)
    if not isinstance(user, User):
        _record_failure(request, email=email, action="session.refuse", reason="wrong email or password")
        raise SignInRefused("Email or password is wrong.")
    with transaction.atomic():
        SignInAttempt.objects.filter(email=email, address=address).delete()
        login(request, user)  # cycles the session's key and rotates the CSRF token
        session_opened(request=request, user=user)
        audit_record(
            actor=Actor.of_user(user, request), action="session.open", subject_kind="user", subject_id=user.id, subject_name=user.email
        )
    return user


def sign_out(*, request: HttpRequest) -> None:
    """Close the session and forget everything in it. Does nothing for somebody who is not signed in."""
    user = request.user
    if not isinstance(user, User):
        return
    with transaction.atomic():
        audit_record(
            actor=Actor.of_user(user, request), action="session.close", subject_kind="user", subject_id=user.id, subject_name=user.email
        )
        logout(request)


def attempts_prune() -> int:
    """Remove attempts that no longer count; returns how many."""
    return SignInAttempt.objects.filter(at__lt=timezone.now() - WINDOW).delete()[0]


def sessions_prune() -> int:
    """Remove sessions that have ended by their age; returns how many."""
    return Session.objects.filter(expire_date__lt=timezone.now()).delete()[0]


@transaction.atomic
def _attempt(email: str, address: str) -> int:
    """Write an attempt down where the limits allow one: 0; otherwise seconds until they would.

    A refused try is not a guess: it is not written and does not extend the wait. Both locks are held until the attempt is
    committed: otherwise two attempts could each count before the other one can be seen.
    """
    with connection.cursor() as cursor:
        for lock in (f"sign-in from {address}", f"sign-in of {email}"):  # always in this order: nobody waits in a circle
            cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [lock])
    now = timezone.now()
    recent = SignInAttempt.objects.filter(at__gt=now - WINDOW)
    limits = (
        (recent.filter(email=email, address=address), MAX_PER_EMAIL_AND_ADDRESS),
        (recent.filter(address=address), MAX_PER_ADDRESS),
        (recent.filter(email=email), MAX_PER_EMAIL),
    )
    wait = 0
    for rows, maximum in limits:
        newest = list(rows.order_by("-id").values_list("at", flat=True)[:maximum])
        if len(newest) == maximum:
            # Allowed again once the oldest of the last ``maximum`` failures has left the window.
            wait = max(wait, int((newest[-1] + WINDOW - now).total_seconds()) + 1)
    if not wait:
        SignInAttempt.objects.create(email=email, address=address)
    return wait


@transaction.atomic
def _record_failure(request: HttpRequest, *, email: str, action: str, reason: str) -> None:
    """The typed email is kept only where it is somebody's: people do type their password into the wrong field."""
    user = User.objects.filter(email__iexact=email).first()
    name = user.email if user is not None else "(unknown email)"
    user_id = str(user.id) if user is not None else ""
    address = client_address(request)
    actor = Actor(kind="user", id=user_id, name=name, address=address, agent=client_agent(request))
    audit_record(actor=actor, action=action, subject_kind="user", subject_id=user_id, subject_name=name, reason=reason)
    event_record(
        kind="session.refused", subject_kind="user", subject_id=user_id, subject_name=name, data={"address": address, "reason": reason}
    )
