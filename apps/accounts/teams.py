"""Roles in teams. The teams themselves are ``apps.ownership``'s, which stands above and registers what it knows of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from django.db import transaction

from apps.accounts.models import Membership, Organisation, TeamMembership, User
from apps.accounts.rules import RANK, TEAM_ROLES, Role
from apps.accounts.selectors import permission_require, permitted
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.services import audit_record


@dataclass(frozen=True, slots=True)
class KnownTeam:
    """A team, as far as roles need it. id: as text."""

    id: str
    slug: str
    name: str
    organisation: Organisation


Lister = Callable[[], Sequence[KnownTeam]]
_lister: Lister | None = None


def register_teams(lister: Lister) -> None:
    """Names who lists all teams; called once, in the ``ready()`` of the app that has them."""
    global _lister
    _lister = lister


def known_teams() -> Sequence[KnownTeam]:
    """Every team of every organisation, by organisation and name; none while nobody lists them."""
    return _lister() if _lister is not None else ()


@transaction.atomic
def team_membership_set(*, actor: Actor, user: User, team: KnownTeam, role: Role | None) -> TeamMembership | None:
    """Give the person this role in the team; None takes it away. The same again changes nothing.

    It takes ``user.change`` in the organisation, or ``team_member.change`` in the team itself: then no role may be given or taken
    that is stronger than one's own there. Raises ServiceError where the person is not in the organisation or the role is none of a
    team's, and PermissionRefused.
    """
    organisation = team.organisation
    permission_require(actor=actor, action="team_member.change", organisation=organisation, team=team.id)
    if role is not None and role not in TEAM_ROLES:
        raise ServiceError(f"In a team a person is {' or '.join(TEAM_ROLES)}; {role.value} is a role in an organisation.", field="role")
    membership = Membership.objects.select_for_update().filter(user=user, organisation=organisation).first()
    if membership is None:
        raise ServiceError(f"{user.email} does not belong to {organisation.name}: give a role there first.", field="role")
    row = TeamMembership.objects.filter(membership=membership, team_id=team.id).first()
    before = Role(row.role) if row is not None else None
    if before == role:
        return row
    if not permitted(actor=actor, action="user.change", organisation=organisation):
        _refuse_stronger(actor, team, [held for held in (before, role) if held is not None])
    if role is None:
        TeamMembership.objects.filter(membership=membership, team_id=team.id).delete()
        row = None
    else:
        row, _ = TeamMembership.objects.update_or_create(
            membership=membership, team_id=team.id, defaults={"team_slug": team.slug, "role": role.value}
        )
    where = {"organisation": organisation.slug, "team": team.slug}
    audit_record(
        actor=actor, action="team_member.change", subject_kind="user", subject_id=user.pk, subject_name=user.email,
        before={**where, "role": before}, after={**where, "role": role},
    )  # fmt: skip
    return row


def members_of(team_id: object) -> list[TeamMembership]:
    """A team's people with their roles there, the strongest role first, then by email."""
    rows = TeamMembership.objects.filter(team_id=team_id).select_related("membership__user")
    return sorted(rows, key=lambda row: (RANK[Role(row.role)], row.membership.user.email))


def memberships_end(*, team_id: object) -> int:
    """Take away everybody's role in a team that is deleted, in the transaction that deletes and audits it. How many there were."""
    return TeamMembership.objects.filter(team_id=team_id).delete()[0]


def _refuse_stronger(actor: Actor, team: KnownTeam, roles: list[Role]) -> None:
    own = TeamMembership.objects.filter(membership__user_id=actor.id, team_id=team.id).values_list("role", flat=True).first()
    stronger = [role.value for role in roles if own is None or RANK[role] < RANK[Role(own)]]
    if stronger:
        raise ServiceError(
            f"You are {own or 'nothing'} of team {team.slug}: the role {stronger[0]} is given and taken by an admin.", field="role"
        )
