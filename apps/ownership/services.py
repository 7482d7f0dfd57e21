"""Changing teams and services."""

from __future__ import annotations

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction

from apps.accounts.models import Organisation
from apps.accounts.selectors import permission_require
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.services import audit_record
from apps.ownership.checks import check_slug
from apps.ownership.models import Service, Team


@transaction.atomic
def team_ensure(*, actor: Actor, organisation: Organisation, slug: str, name: str = "", contact_email: str = "") -> Team:
    """The organisation's team with this slug: created where missing, its name and contact set where given and different.

    name: empty keeps what is there, or takes the slug. Raises ServiceError for a bad slug, name or address.
    """
    check_slug("Team slug", slug)
    team = Team.objects.filter(organisation=organisation, slug=slug).first()
    if team is not None:
        return team_update(actor=actor, team=team, name=name or None, contact_email=contact_email or None)
    permission_require(actor=actor, action="team.change", organisation=organisation)
    name = _checked_name("team", name or slug)
    contact_email = _checked_email(contact_email)
    team, created = Team.objects.get_or_create(
        organisation=organisation, slug=slug, defaults={"name": name, "contact_email": contact_email}
    )
    if created:
        after = {"organisation": organisation.slug, "slug": slug, "name": name, "contact_email": contact_email}
        audit_record(actor=actor, action="team.create", subject_kind="team", subject_id=team.id, subject_name=name, after=after)
    return team


@transaction.atomic
def team_update(*, actor: Actor, team: Team, name: str | None = None, contact_email: str | None = None) -> Team:
    """Set a team's name and contact address; None keeps, an empty address removes it. Raises ServiceError."""
    permission_require(actor=actor, action="team.change", organisation=team.organisation, team=team.pk)
    team = Team.objects.select_for_update().get(pk=team.pk)
    wanted: dict[str, str] = {}
    if name is not None:
        wanted["name"] = _checked_name("team", name)
    if contact_email is not None:
        wanted["contact_email"] = _checked_email(contact_email)
    before = {field: getattr(team, field) for field, value in wanted.items() if getattr(team, field) != value}
    if not before:
        return team
    after = {field: wanted[field] for field in before}
    for field, value in after.items():
        setattr(team, field, value)
    team.save(update_fields=list(after))
    audit_record(
        actor=actor, action="team.update", subject_kind="team", subject_id=team.id, subject_name=team.name, before=before, after=after
    )
    return team


@transaction.atomic
def service_ensure(*, actor: Actor, team: Team, slug: str, name: str = "") -> Service:
    """The team's service with this slug: created where missing, renamed where a different name is given. Raises ServiceError."""
    check_slug("Service slug", slug)
    permission_require(actor=actor, action="service.change", organisation=team.organisation, team=team.pk)
    defaults = {"name": _checked_name("service", name or slug)}
    service, created = Service.objects.select_for_update().get_or_create(team=team, slug=slug, defaults=defaults)
    if created:
        after = {"team": team.slug, "slug": slug, "name": service.name}
        audit_record(
            actor=actor, action="service.create", subject_kind="service", subject_id=service.id, subject_name=service.name, after=after
        )
    elif name and service.name != defaults["name"]:
        before = {"name": service.name}
        service.name = defaults["name"]
        service.save(update_fields=["name"])
        audit_record(
            actor=actor,
            action="service.update",
            subject_kind="service",
            subject_id=service.id,
            subject_name=service.name,
            before=before,
            after=defaults,
        )
    return service


def _checked_name(kind: str, name: str) -> str:
    name = name.strip()
    if not name or len(name) > 200:
        raise ServiceError(f"Give the {kind} a name of at most 200 characters.", field="name")
    return name


def _checked_email(email: str) -> str:
    email = email.strip()
    if email:
        try:
            validate_email(email)
        except ValidationError:
            raise ServiceError(f"{email!r} is not an email address.", field="contact_email") from None
    return email
