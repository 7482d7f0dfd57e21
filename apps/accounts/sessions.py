"""Where a person is signed in, and signing out from afar.

Sessions are Django's own; a row beside each says whose it is and where it was opened. All of a person's sessions at once,
listed or not, are ended by raising ``User.session_epoch``, which is part of every session's hash.
"""

from __future__ import annotations

from datetime import timedelta

from django.contrib.auth import update_session_auth_hash
from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import F, QuerySet
from django.http import HttpRequest
from django.utils import timezone

from apps.accounts.models import SignedInSession, User
from apps.audit.actors import Actor, client_address
from apps.audit.errors import ServiceError
from apps.audit.rules import clean_text
from apps.audit.services import audit_record

SEEN_EVERY = timedelta(minutes=5)
"""How exact ``seen_at`` is: noting every request would be a write per page."""
SEEN_KEY = "seen"


def session_opened(*, request: HttpRequest, user: User) -> None:
    """Note the session that a sign-in has just opened."""
    if request.session.session_key is None:
        request.session.save()
    now = timezone.now()
    SignedInSession.objects.update_or_create(
        session_key=request.session.session_key or "",
        defaults={
            "user": user,
            "address": client_address(request)[:64],
            "agent": clean_text(request.headers.get("User-Agent", ""), 300),
            "seen_at": now,
        },
    )
    request.session[SEEN_KEY] = int(now.timestamp())


def session_seen(*, request: HttpRequest) -> None:
    """Note that a session is used, at most every ``SEEN_EVERY``."""
    last = request.session.get(SEEN_KEY)
    now = timezone.now()
    if last is None or now.timestamp() - last < SEEN_EVERY.total_seconds():
        return
    SignedInSession.objects.filter(session_key=request.session.session_key).update(seen_at=now)
    request.session[SEEN_KEY] = int(now.timestamp())


def sessions_of(user: User) -> QuerySet[SignedInSession]:
    """A person's sessions that are still open, the last used first."""
    return SignedInSession.objects.filter(
        user=user, session_key__in=Session.objects.filter(expire_date__gt=timezone.now()).values("session_key")
    ).order_by("-seen_at")


@transaction.atomic
def session_end(*, actor: Actor, user: User, session_id: object) -> None:
    """End one of the person's own sessions. One that has ended already is no error. Raises ServiceError for another's."""
    row = SignedInSession.objects.filter(pk=session_id).first()
    if row is None:
        return
    if row.user_id != user.pk:
        raise ServiceError("That session is not yours. Reload the page to see your own.")
    Session.objects.filter(session_key=row.session_key).delete()
    row.delete()
    after = {"address": row.address, "agent": row.agent}
    audit_record(actor=actor, action="session.end", subject_kind="user", subject_id=user.pk, subject_name=user.email, after=after)


@transaction.atomic
def sessions_end_others(*, actor: Actor, request: HttpRequest, user: User) -> int:
    """End every session of the person but this one; returns how many of those that were listed."""
    current = request.session.session_key
    ended = _forget(user, keep=current)
    _epoch_raise(user)
    _keep_current(request, user)
    after = {"ended": ended}
    audit_record(actor=actor, action="session.end_others", subject_kind="user", subject_id=user.pk, subject_name=user.email, after=after)
    return ended


def sessions_end_all(*, user: User) -> int:
    """End every session of a person, in the caller's transaction; the caller audits why."""
    _epoch_raise(user)
    return _forget(user, keep=None)


def sessions_forget_ended() -> int:
    """Remove rows whose session has ended by its age or by signing out; returns how many."""
    return SignedInSession.objects.exclude(session_key__in=Session.objects.values("session_key")).delete()[0]


def session_kept_after_password(*, request: HttpRequest, user: User) -> None:
    """After the person changed their own password: this session goes on, all others have ended with the old password's hash."""
    _forget(user, keep=request.session.session_key)
    _keep_current(request, user)


def _keep_current(request: HttpRequest, user: User) -> None:
    old = request.session.session_key
    update_session_auth_hash(request, user)  # cycles the session's key
    SignedInSession.objects.filter(session_key=old).update(session_key=request.session.session_key)


def _forget(user: User, *, keep: str | None) -> int:
    rows = SignedInSession.objects.filter(user=user).exclude(session_key=keep or "")
    keys = list(rows.values_list("session_key", flat=True))
    Session.objects.filter(session_key__in=keys).delete()
    return rows.delete()[0]


def _epoch_raise(user: User) -> None:
    User.objects.filter(pk=user.pk).update(session_epoch=F("session_epoch") + 1)
    user.refresh_from_db(fields=["session_epoch"])
