"""Personal tokens: made by their person in the browser, shown once, narrowed by scopes, always with an end.

A token is ``bkp_`` and 32 random bytes, so a plain SHA-256 is all that has to be kept: there is nothing to guess. What the person
may do is asked anew with every call, so a role taken away or a person disabled acts at once.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from apps.accounts.models import User
from apps.accounts.scopes import grants_checked
from apps.accounts.selectors import permission_require
from apps.accounts.token_models import PersonalToken
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.rules import clean_text
from apps.audit.services import audit_record

PREFIX = "bkp_"
LONGEST = timedelta(days=366)
MOST_PER_PERSON = 50
USED_EVERY = timedelta(minutes=1)
"""How exact ``used_at`` is: noting every call would be a write per call."""
NAME_LENGTH = 80


class TokenRefused(ServiceError):
    """A call's token opens nothing. code: ``token_invalid``, ``token_expired`` or ``token_revoked``. token: where it is a known one."""

    def __init__(self, code: str, message: str, token: PersonalToken | None = None) -> None:
        super().__init__(message)
        self.code = code
        self.token = token


@transaction.atomic
def token_create(*, actor: Actor, user: User, name: str, scopes: Iterable[str], expires_at: datetime | None) -> tuple[PersonalToken, str]:
    """A new token of the person who asks, and its secret: the only time it can be shown.

    Raises ServiceError for a taken or empty name, unknown scopes, an end that is missing, past or too far, and for a token that asks
    for another one: then a stolen one could make itself last for ever.
    """
    _own(actor, user)
    name = clean_text(name.strip(), NAME_LENGTH + 1)
    if not name or len(name) > NAME_LENGTH:
        raise ServiceError(f"Give the token a name of at most {NAME_LENGTH} characters, such as what uses it.", "name")
    grants, now = grants_checked(scopes), timezone.now()
    if expires_at is None or not now < expires_at <= now + LONGEST:
        raise ServiceError(f"Choose when it ends: in the future, within {LONGEST.days} days.", "expires_at")
    User.objects.select_for_update().get(pk=user.pk)  # so that two at once cannot both be the last that fits
    live = PersonalToken.objects.filter(user=user, revoked_at=None)
    if live.filter(name=name).exists():
        raise ServiceError(f"You have a token {name!r} already: choose another name, or revoke that one first.", "name")
    if live.count() >= MOST_PER_PERSON:
        raise ServiceError(f"You have {MOST_PER_PERSON} tokens: revoke one that is not used any more.")
    secret = PREFIX + secrets.token_urlsafe(32)
    token = PersonalToken.objects.create(
        user=user, name=name, secret_hash=secret_hash(secret), hint=secret[-4:], scopes=grants, expires_at=expires_at
    )
    _record(actor, "token.create", token, {}, {"scopes": grants, "expires_at": expires_at})
    return token, secret


@transaction.atomic
def token_revoke(*, actor: Actor, token: PersonalToken, reason: str = "") -> PersonalToken:
    """From now on it opens nothing; a second time changes nothing. One's own, also by a token: it only makes less
    possible; or anybody's with ``user.change``."""
    if actor.kind != "user" or actor.id != str(token.user_id):
        permission_require(actor=actor, action="user.change")
    row = PersonalToken.objects.select_for_update().get(pk=token.pk)
    if row.revoked_at is not None:
        return row
    row.revoked_at = timezone.now()
    row.save(update_fields=["revoked_at"])
    _record(actor, "token.revoke", row, {"scopes": row.scopes, "expires_at": row.expires_at}, {}, reason)
    return row


def token_find(secret: str) -> PersonalToken:
    """The token that a call presents, with its person: one query. Raises TokenRefused."""
    token = PersonalToken.objects.select_related("user").filter(secret_hash=secret_hash(secret)).first()
    if token is None or not token.user.is_active:
        raise TokenRefused(
            "token_invalid", "This token opens nothing. Make one in your profile and send it as `Authorization: Bearer`.", token
        )
    if token.revoked_at is not None:
        raise TokenRefused("token_revoked", f"The token {token.name!r} was revoked. Make another one in your profile.", token)
    if token.expires_at <= timezone.now():
        raise TokenRefused("token_expired", f"The token {token.name!r} has ended. Make another one in your profile.", token)
    return token


def token_used(token: PersonalToken, *, address: str) -> None:
    """Note that a token is used, at most every ``USED_EVERY``."""
    now = timezone.now()
    if token.used_at is None or now - token.used_at >= USED_EVERY:
        PersonalToken.objects.filter(pk=token.pk).update(used_at=now, used_from=clean_text(address, 64))


def token_refusal_record(refusal: TokenRefused, *, address: str, agent: str) -> None:
    """Audit that a token which was somebody's is still tried; what nobody ever had leaves no trace but the log's."""
    token = refusal.token
    if token is None:
        return
    actor = Actor(kind="user", id=str(token.user_id), name=token.user.email, address=address, agent=agent, via=token.via)
    _record(actor, "token.refuse", token, {}, {}, refusal.message)


def tokens_of(user: User) -> QuerySet[PersonalToken]:
    """A person's tokens that were not revoked, the newest first; those that have ended too, so that they can be seen to have."""
    return PersonalToken.objects.filter(user=user, revoked_at=None)


def secret_hash(secret: str) -> str:
    """What is kept of a secret."""
    return hashlib.sha256(secret.encode()).hexdigest()


def _own(actor: Actor, user: User) -> None:
    if actor.kind != "user" or actor.id != str(user.pk):
        raise ServiceError("A personal token is made by the person it belongs to.")
    if actor.via:
        raise ServiceError("A token cannot make another one: sign in and make it in your profile.")


def _record(actor: Actor, action: str, token: PersonalToken, before: dict[str, object], after: dict[str, object], reason: str = "") -> None:
    audit_record(
        actor=actor, action=action, subject_kind="token", subject_id=token.pk, subject_name=token.name, before=before, after=after,
        reason=reason,
    )  # fmt: skip
