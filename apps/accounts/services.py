"""Changing people and organisations. Signing in and out is ``apps.accounts.signin``."""

from __future__ import annotations

import re

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction

from apps.accounts.models import MAIN_ORGANISATION, Membership, Organisation, User
from apps.accounts.rules import Role
from apps.accounts.selectors import permission_require
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.services import audit_record

MIN_PASSWORD_LENGTH = 10
_SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,58}[a-z0-9])?")


@transaction.atomic
def organisation_ensure(*, actor: Actor, slug: str, name: str, simulated: bool = False) -> Organisation:
    """The organisation with this slug, created where missing and renamed where its name differs.

    The admins of ``main`` become admins of a new one: whoever runs the installation can always reach what is in it.
    Raises ServiceError for a bad slug or name, and when it exists with the other ``simulated``: real and simulated never mix.
    """
    permission_require(actor=actor, action="organisation.change")
    name = name.strip()
    if not _SLUG.fullmatch(slug):
        raise ServiceError(
            f"Organisation slug {slug!r}: use 1 to 60 of a-z, 0-9 and -, starting and ending with a letter or digit.", field="slug"
        )
    if not name or len(name) > 200:
        raise ServiceError("Give the organisation a name of at most 200 characters.", field="name")
    organisation, created = Organisation.objects.select_for_update().get_or_create(
        slug=slug, defaults={"name": name, "simulated": simulated}
    )
    if created:
        after = {"name": name, "slug": slug, "simulated": simulated}
        audit_record(
            actor=actor,
            action="organisation.create",
            subject_kind="organisation",
            subject_id=organisation.id,
            subject_name=name,
            after=after,
        )
        for admin in User.objects.filter(memberships__organisation__slug=MAIN_ORGANISATION, memberships__role=Role.ADMIN.value):
            membership_set(actor=actor, user=admin, organisation=organisation, role=Role.ADMIN)
        return organisation
    if organisation.simulated != simulated:
        kind = "simulated" if organisation.simulated else "real"
        raise ServiceError(f"Organisation {slug!r} exists and is {kind}; that never changes. Choose another slug.", field="simulated")
    if organisation.name != name:
        before = {"name": organisation.name}
        organisation.name = name
        organisation.save(update_fields=["name"])
        audit_record(
            actor=actor,
            action="organisation.update",
            subject_kind="organisation",
            subject_id=organisation.id,
            subject_name=name,
            before=before,
            after={"name": name},
        )
    return organisation


@transaction.atomic
def user_create(*, actor: Actor, email: str, password: str, name: str = "") -> User:
    """A new person without any role. Raises ServiceError for a bad or taken email and for a short password."""
    permission_require(actor=actor, action="user.change")
    email = email_checked(email)
    password_length_check(password)
    if User.objects.filter(email__iexact=email).exists():
        raise ServiceError(f"A person with the email {email} exists already.", field="email")
    user = User(email=email, name=name.strip()[:200])
    user.set_password(password)
    user.save(force_insert=True)
    after = {"email": email, "name": user.name}
    audit_record(actor=actor, action="user.create", subject_kind="user", subject_id=user.id, subject_name=email, after=after)
    return user


@transaction.atomic
def user_create_first_admin(*, actor: Actor, email: str, password: str) -> User:
    """The installation's first admin, in every organisation there is. Idempotent.

    Whoever has this email is kept with their password and becomes admin where they are not; a second call with the same
    email changes nothing. Raises ServiceError for a bad email or a short password.
    """
    permission_require(actor=actor, action="user.change")
    organisation_ensure(actor=actor, slug=MAIN_ORGANISATION, name=_name_of_main())
    email = email_checked(email)
    user = User.objects.filter(email__iexact=email).first() or user_create(actor=actor, email=email, password=password)
    for organisation in Organisation.objects.order_by("slug"):
        membership_set(actor=actor, user=user, organisation=organisation, role=Role.ADMIN)
    return user


@transaction.atomic
def membership_set(*, actor: Actor, user: User, organisation: Organisation, role: Role | None) -> Membership | None:
    """Give the person this role in the organisation; None takes it away. The last admin of ``main`` keeps the role.

    Raises ServiceError where that would leave the installation without an admin.
    """
    permission_require(actor=actor, action="user.change", organisation=organisation)
    # Locked so that two admins cannot remove each other at the same moment.
    Organisation.objects.select_for_update().get(pk=organisation.pk)
    membership = Membership.objects.filter(user=user, organisation=organisation).first()
    before = membership.role if membership is not None else None
    if before == role:
        return membership
    if before == Role.ADMIN and organisation.slug == MAIN_ORGANISATION:
        others = Membership.objects.filter(organisation=organisation, role=Role.ADMIN, user__is_active=True).exclude(user=user)
        if not others.exists():
            raise ServiceError(f"{user.email} is the last admin of {organisation.slug}: make somebody else an admin first.", field="role")
    if role is None:
        Membership.objects.filter(user=user, organisation=organisation).delete()
        membership = None
    else:
        membership, _ = Membership.objects.update_or_create(user=user, organisation=organisation, defaults={"role": role.value})
    audit_record(
        actor=actor,
        action="membership.set",
        subject_kind="user",
        subject_id=user.id,
        subject_name=user.email,
        before={"organisation": organisation.slug, "role": before},
        after={"organisation": organisation.slug, "role": role.value if role is not None else None},
    )
    return membership


def _name_of_main() -> str:
    existing = Organisation.objects.filter(slug=MAIN_ORGANISATION).first()
    return existing.name if existing is not None else "Main"


def email_checked(email: str) -> str:
    email = email.strip().lower()
    try:
        validate_email(email)
    except ValidationError:
        raise ServiceError(f"{email!r} is not an email address.", field="email") from None
    return email


def password_length_check(password: str) -> None:
    if len(password) < MIN_PASSWORD_LENGTH:
        raise ServiceError(f"Choose a password of at least {MIN_PASSWORD_LENGTH} characters.", field="password")
