"""Asking people in: a link that opens once, until it expires. Only a hash of its token is kept, so it can be shown only once.

Without a mail server the inviting person copies the link and hands it over themselves; with one (``BULKHEAD_SMTP_URL``) it
is also sent, and the page says when that failed.
"""

from __future__ import annotations

import hashlib
import logging
import secrets
import smtplib
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

from django.conf import settings
from django.core.mail import send_mail
from django.db import transaction
from django.utils import timezone

from apps.accounts.models import Invitation, Organisation, User
from apps.accounts.people import name_checked, password_checked
from apps.accounts.rules import Role
from apps.accounts.selectors import permission_require
from apps.accounts.services import email_checked, membership_set
from apps.accounts.sessions import sessions_end_all
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.services import audit_record

log = logging.getLogger(__name__)

LIFETIME = timedelta(days=7)
LINK_LIFETIME = timedelta(days=1)
"""Of a link to choose a new password."""


class InvitationGone(ServiceError):
    """The link was used, taken back, replaced by a newer one, or has expired; or it never existed."""

    def __init__(self) -> None:
        super().__init__("This invitation does not open any more: it was used, taken back or has expired. Ask for a new one.")


def token_hash(token: str) -> str:
    """Hex SHA-256: a token is 256 random bits, so nothing slower is needed."""
    return hashlib.sha256(token.encode()).hexdigest()


@transaction.atomic
def invitation_create(*, actor: Actor, email: str, roles: Mapping[str, Role]) -> tuple[Invitation, str]:
    """Ask a person in, with these roles (slug of an organisation -> role). Returns the invitation and its token, shown only now.

    Raises ServiceError for a bad address, no role, an unknown organisation, a person who is here already or was asked already.
    """
    permission_require(actor=actor, action="user.change")
    email = email_checked(email)
    if not roles:
        raise ServiceError("Choose a role in at least one organisation.", field="roles")
    for slug in sorted(roles):
        organisation = Organisation.objects.filter(slug=slug).first()
        if organisation is None:
            raise ServiceError(f"There is no organisation {slug!r}.", field="roles")
        permission_require(actor=actor, action="user.change", organisation=organisation)
    if User.objects.filter(email__iexact=email).exists():
        raise ServiceError(f"{email} is here already: change the person's roles instead.", field="email")
    if Invitation.objects.filter(email__iexact=email).exists():
        raise ServiceError(f"{email} was asked already: renew that invitation to get a new link.", field="email")
    token, now = secrets.token_urlsafe(32), timezone.now()
    invitation = Invitation.objects.create(
        email=email,
        roles={slug: role.value for slug, role in roles.items()},
        token_hash=token_hash(token),
        invited_by=actor.name,
        sent_at=now,
        expires_at=now + LIFETIME,
    )
    _record(actor, "invitation.create", invitation, {}, {"email": email, "roles": invitation.roles, "expires_at": invitation.expires_at})
    return invitation, token


@transaction.atomic
def invitation_renew(*, actor: Actor, invitation: Invitation) -> tuple[Invitation, str]:
    """A new link and a new time; the old link opens nothing from now on. Raises ServiceError when it is gone."""
    permission_require(actor=actor, action="user.change")
    locked = Invitation.objects.select_for_update().filter(pk=invitation.pk).first()
    if locked is None:
        raise ServiceError("This invitation was used or taken back meanwhile. Invite the person again if needed.")
    token, now = secrets.token_urlsafe(32), timezone.now()
    before = {"expires_at": locked.expires_at}
    locked.token_hash, locked.sent_at, locked.expires_at = token_hash(token), now, now + LIFETIME
    locked.save(update_fields=["token_hash", "sent_at", "expires_at"])
    _record(actor, "invitation.renew", locked, before, {"expires_at": locked.expires_at})
    return locked, token


@transaction.atomic
def invitation_revoke(*, actor: Actor, invitation: Invitation) -> bool:
    """Take an invitation back. False: it was used or taken back before."""
    permission_require(actor=actor, action="user.change")
    locked = Invitation.objects.select_for_update().filter(pk=invitation.pk).first()
    if locked is None:
        return False
    _record(actor, "invitation.revoke", locked, {"email": locked.email, "roles": locked.roles}, {})
    locked.delete()
    return True


@transaction.atomic
def password_link_create(*, actor: Actor, user: User) -> tuple[Invitation, str]:
    """A link by which a person who forgot theirs chooses a new password; an earlier one opens nothing any more. Shown only now."""
    permission_require(actor=actor, action="user.change")
    user = User.objects.select_for_update().get(pk=user.pk)
    if not user.is_active:
        raise ServiceError(f"{user.email} is disabled: enable the person first.")
    Invitation.objects.filter(email__iexact=user.email).delete()
    token, now = secrets.token_urlsafe(32), timezone.now()
    invitation = Invitation.objects.create(
        email=user.email, user=user, token_hash=token_hash(token), invited_by=actor.name, sent_at=now, expires_at=now + LINK_LIFETIME
    )
    after = {"expires_at": invitation.expires_at}
    audit_record(actor=actor, action="user.password_link", subject_kind="user", subject_id=user.pk, subject_name=user.email, after=after)
    return invitation, token


def invitation_find(token: str) -> Invitation:
    """The invitation that a link opens now. Raises InvitationGone."""
    found = Invitation.objects.filter(token_hash=token_hash(token), expires_at__gt=timezone.now()).first()
    if found is None:
        raise InvitationGone
    return found


@transaction.atomic
def invitation_accept(*, token: str, name: str, password: str, address: str = "", agent: str = "") -> User:
    """Make the invited person: name, password, and the roles that the invitation gives. It opens no second time.

    Roles of organisations that are gone since are left out. Raises InvitationGone, and ServiceError for a weak password.
    """
    invitation = Invitation.objects.select_for_update().filter(token_hash=token_hash(token), expires_at__gt=timezone.now()).first()
    if invitation is not None and invitation.user_id is not None:
        return _password_chosen(invitation, password, address, agent)
    if invitation is None or User.objects.filter(email__iexact=invitation.email).exists():
        raise InvitationGone
    user = User(email=invitation.email, name=name_checked(name))
    password_checked(password, user=user)
    user.set_password(password)
    user.save(force_insert=True)
    inviter = Actor.system("invitation")
    for organisation in Organisation.objects.filter(slug__in=invitation.roles).order_by("slug"):
        membership_set(actor=inviter, user=user, organisation=organisation, role=Role(invitation.roles[organisation.slug]))
    actor = Actor(kind="user", id=str(user.pk), name=user.email, role=user.roles_text(), address=address, agent=agent)
    after = {"email": user.email, "name": user.name, "invited_by": invitation.invited_by}
    audit_record(actor=actor, action="invitation.accept", subject_kind="user", subject_id=user.pk, subject_name=user.email, after=after)
    invitation.delete()
    return user


def _password_chosen(invitation: Invitation, password: str, address: str, agent: str) -> User:
    user = User.objects.select_for_update().filter(pk=invitation.user_id, is_active=True).first()
    if user is None:
        raise InvitationGone
    password_checked(password, user=user)
    user.set_password(password)
    user.save(update_fields=["password"])
    sessions_end_all(user=user)
    actor = Actor(kind="user", id=str(user.pk), name=user.email, role=user.roles_text(), address=address, agent=agent)
    after = {"link_by": invitation.invited_by}
    audit_record(actor=actor, action="user.password", subject_kind="user", subject_id=user.pk, subject_name=user.email, after=after)
    invitation.delete()
    return user


def invitation_mail(*, invitation: Invitation, link: str) -> str:
    """Send the link where a mail server is set. Returns why it was not sent, empty when it was."""
    if not settings.EMAIL_HOST:
        return "No mail server is set, so nothing was sent."
    what = "lets you choose a new password for" if invitation.user_id else "invites you to"
    body = (
        f"{invitation.invited_by} {what} Bulkhead ({settings.ENVIRONMENT_NAME}).\n\n"
        f"Open this link to choose a password:\n{link}\n\n"
        f"It opens once, until {invitation.expires_at:%Y-%m-%d %H:%M} UTC.\n"
    )
    try:
        send_mail("Your link to Bulkhead", body, settings.DEFAULT_FROM_EMAIL, [invitation.email])
    except (smtplib.SMTPException, OSError) as error:
        log.warning("the invitation of %s was not sent: %s", invitation.email, error)
        return f"The mail server did not take it ({error.__class__.__name__})."
    return ""


def _record(actor: Actor, action: str, invitation: Invitation, before: dict[str, Any], after: dict[str, Any]) -> None:
    audit_record(
        actor=actor, action=action, subject_kind="invitation", subject_id=invitation.pk, subject_name=invitation.email, before=before,
        after=after,
    )  # fmt: skip
