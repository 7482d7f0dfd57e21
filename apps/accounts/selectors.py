"""Reading people and organisations, and the one question about permissions."""

from __future__ import annotations

from uuid import UUID

from django.db.models import Q

from apps.accounts.models import MAIN_ORGANISATION, Membership, Organisation, TeamMembership
from apps.accounts.rules import PermissionRefused, Role, row_for
from apps.accounts.scopes import ScopeRefused, granted
from apps.audit.actors import Actor


def organisation_get(*, slug: str) -> Organisation | None:
    """The organisation with this slug, or None."""
    return Organisation.objects.filter(slug=slug).first()


def permitted(*, actor: Actor, action: str, organisation: Organisation | None = None, team: UUID | str | None = None) -> bool:
    """Whether the actor may do ``action``.

    organisation: where; None asks for the installation as a whole, whose people are those of organisation ``main``.
    team: id of the team that owns the thing it is done to; a role in that team may allow what the role in the organisation does
    not. None: nobody owns it, or the action is about no one thing.
    Commands and Bulkhead's own parts may do everything: whoever has the host has it all. People are looked up on every
    call, so that a role taken away acts at once. A personal token narrows its person. Raises LookupError for an
    action without a row in ``PERMISSIONS``.
    """
    row = row_for(action)
    if actor.kind != "user":
        return True
    if not granted(action, actor.grants):
        return False
    allowed = Q(role__in=[role.value for role in row.organisation])
    if team is not None and row.team:
        roles = [role.value for role in row.team]
        allowed |= Q(pk__in=TeamMembership.objects.filter(team_id=team, role__in=roles).values("membership_id"))
    rows = Membership.objects.filter(allowed, user_id=actor.id, user__is_active=True)
    rows = rows.filter(organisation__slug=MAIN_ORGANISATION) if organisation is None else rows.filter(organisation=organisation)
    return rows.exists()


def permission_require(*, actor: Actor, action: str, organisation: Organisation | None = None, team: UUID | str | None = None) -> None:
    """Raises PermissionRefused, which says which role may, unless ``permitted``; ScopeRefused where a token is too narrow."""
    if not granted(action, actor.grants):
        raise ScopeRefused(action)
    if not permitted(actor=actor, action=action, organisation=organisation, team=team):
        raise PermissionRefused(action, organisation=organisation.slug if organisation is not None else MAIN_ORGANISATION)


def admins_of(organisation: Organisation | None, *, limit: int = 5) -> list[str]:
    """Emails of people who can change roles in an organisation (None: in ``main``), those of it first, then the installation's."""
    slugs = [MAIN_ORGANISATION] if organisation is None else [organisation.slug, MAIN_ORGANISATION]
    rows = Membership.objects.filter(organisation__slug__in=slugs, role=Role.ADMIN.value, user__is_active=True)
    found = sorted(rows.values_list("organisation__slug", "user__email")[:50], key=lambda row: (slugs.index(row[0]), row[1]))
    return list(dict.fromkeys(email for _, email in found))[:limit]
