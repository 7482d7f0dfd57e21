"""Changing people: names, passwords, roles, disabling and removing. Asking somebody in is ``apps.accounts.invitations``."""

from __future__ import annotations

from collections.abc import Mapping

from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import transaction

from apps.accounts.models import MAIN_ORGANISATION, Membership, Organisation, User
from apps.accounts.rules import Role
from apps.accounts.selectors import permission_require
from apps.accounts.services import MIN_PASSWORD_LENGTH, membership_set
from apps.accounts.sessions import sessions_end_all
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.rules import clean_text
from apps.audit.services import audit_record

MAX_PASSWORD_LENGTH = 1024
NAME_LENGTH = 200


@transaction.atomic
def user_rename(*, actor: Actor, user: User, name: str) -> User:
    """Set a person's name: one's own, or anybody's with ``user.change``. Raises ServiceError for a name that is too long."""
    if actor.kind != "user" or actor.id != str(user.pk):
        permission_require(actor=actor, action="user.change")
    name = name_checked(name)
    user = User.objects.select_for_update().get(pk=user.pk)
    if user.name == name:
        return user
    before = {"name": user.name}
    user.name = name
    user.save(update_fields=["name"])
    _record(actor, "user.update", user, before, {"name": name})
    return user


@transaction.atomic
def password_change(*, actor: Actor, user: User, old: str, new: str) -> User:
    """Change one's own password; the old one is asked for, so that an unlocked screen is not enough. Other sessions end with it.

    Raises ServiceError for a wrong old password and a weak new one. The caller keeps the current session open.
    """
    user = User.objects.select_for_update().get(pk=user.pk)
    if actor.kind != "user" or actor.id != str(user.pk):
        raise ServiceError("A password is changed by the person it belongs to.")
    if not user.check_password(old):
        raise ServiceError("That is not your password now.", field="old")
    password_checked(new, user=user, field="new")
    if old == new:
        raise ServiceError("Choose another password than the one you have.", field="new")
    user.set_password(new)
    user.save(update_fields=["password"])
    _record(actor, "user.password", user, {}, {})
    return user


@transaction.atomic
def roles_set(*, actor: Actor, user: User, roles: Mapping[str, Role | None], reason: str = "") -> None:
    """Set a person's role in several organisations (by slug) at once; None takes it away. Raises ServiceError and PermissionRefused."""
    found = {row.slug: row for row in Organisation.objects.filter(slug__in=roles)}
    for slug, role in sorted(roles.items()):
        if slug not in found:
            raise ServiceError(f"There is no organisation {slug!r}.", field="roles")
        membership_set(actor=actor, user=user, organisation=found[slug], role=role)


@transaction.atomic
def user_disable(*, actor: Actor, user: User, reason: str) -> User:
    """Keep a person out: their sessions end, signing in is refused, roles stay for when they are let in again. Idempotent."""
    permission_require(actor=actor, action="user.change")
    user = _locked(user)
    if not user.is_active:
        return user
    _refuse_self(actor, user, "disable")
    _refuse_last_admin(user)
    user.is_active = False
    user.save(update_fields=["is_active"])
    sessions_end_all(user=user)
    _record(actor, "user.disable", user, {"active": True}, {"active": False}, reason)
    return user


@transaction.atomic
def user_enable(*, actor: Actor, user: User, reason: str = "") -> User:
    """Let a disabled person in again, with the roles they had. Idempotent."""
    permission_require(actor=actor, action="user.change")
    user = _locked(user)
    if user.is_active:
        return user
    user.is_active = True
    user.save(update_fields=["is_active"])
    _record(actor, "user.enable", user, {"active": False}, {"active": True}, reason)
    return user


@transaction.atomic
def user_remove(*, actor: Actor, user: User, confirmation: str, reason: str) -> None:
    """Remove a person for good; what they did stays in the audit. ``confirmation``: their email, typed. Raises ServiceError."""
    permission_require(actor=actor, action="user.change")
    user = _locked(user)
    _refuse_self(actor, user, "remove")
    if confirmation.strip().casefold() != user.email.casefold():
        raise ServiceError(f"Type {user.email} to remove this person: it cannot be undone.", field="confirmation")
    _refuse_last_admin(user)
    before = {"email": user.email, "name": user.name, "roles": user.roles_text()}
    sessions_end_all(user=user)
    _record(actor, "user.remove", user, before, {}, reason)
    user.delete()


@transaction.atomic
def organisation_rename(*, actor: Actor, organisation: Organisation, name: str, was: str | None = None) -> Organisation:
    """Set what pages call an organisation. ``was``: the name that the person saw; refused when it is another one by now."""
    permission_require(actor=actor, action="organisation.change", organisation=organisation)
    name = clean_text(name.strip(), NAME_LENGTH + 1)
    if not name or len(name) > NAME_LENGTH:
        raise ServiceError(f"Give the organisation a name of at most {NAME_LENGTH} characters.", field="name")
    organisation = Organisation.objects.select_for_update().get(pk=organisation.pk)
    if was is not None and was != organisation.name and name != organisation.name:
        raise ServiceError(f"Somebody renamed it to “{organisation.name}” meanwhile. Save again to overwrite that.", field="name")
    if organisation.name == name:
        return organisation
    before = {"name": organisation.name}
    organisation.name = name
    organisation.save(update_fields=["name"])
    audit_record(
        actor=actor, action="organisation.update", subject_kind="organisation", subject_id=organisation.pk, subject_name=name,
        before=before, after={"name": name},
    )  # fmt: skip
    return organisation


def name_checked(name: str) -> str:
    """A person's name as it is kept; may be empty. Raises ServiceError."""
    name = clean_text(name.strip(), NAME_LENGTH + 1)
    if len(name) > NAME_LENGTH:
        raise ServiceError(f"Use at most {NAME_LENGTH} characters.", field="name")
    return name


def password_checked(password: str, *, user: User | None = None, field: str = "password") -> None:
    """Raises ServiceError for a password that is too short, too long, or among the first that anybody would guess."""
    if len(password) < MIN_PASSWORD_LENGTH:
        raise ServiceError(f"Choose a password of at least {MIN_PASSWORD_LENGTH} characters.", field=field)
    if len(password) > MAX_PASSWORD_LENGTH:
        raise ServiceError(f"Use at most {MAX_PASSWORD_LENGTH} characters.", field=field)
    try:
        validate_password(password, user=user)
    except ValidationError as error:
        raise ServiceError(" ".join(error.messages), field=field) from None


def _locked(user: User) -> User:
    """The person's row; organisation ``main`` first, so that two admins cannot lock each other out at the same moment."""
    list(Organisation.objects.select_for_update().filter(slug=MAIN_ORGANISATION))
    return User.objects.select_for_update().get(pk=user.pk)


def _refuse_self(actor: Actor, user: User, verb: str) -> None:
    if actor.kind == "user" and actor.id == str(user.pk):
        raise ServiceError(f"You cannot {verb} yourself: ask another admin.")


def _refuse_last_admin(user: User) -> None:
    admins = Membership.objects.filter(organisation__slug=MAIN_ORGANISATION, role=Role.ADMIN.value, user__is_active=True)
    if admins.filter(user=user).exists() and not admins.exclude(user=user).exists():
        raise ServiceError(f"{user.email} is the last admin of {MAIN_ORGANISATION}: make somebody else an admin first.")


def _record(actor: Actor, action: str, user: User, before: dict[str, object], after: dict[str, object], reason: str = "") -> None:
    audit_record(
        actor=actor, action=action, subject_kind="user", subject_id=user.pk, subject_name=user.email, before=before, after=after,
        reason=reason,
    )  # fmt: skip
