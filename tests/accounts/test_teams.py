"""Roles in teams: who may give and take them."""

from __future__ import annotations

import pytest

from apps.accounts.models import Organisation, TeamMembership, User
from apps.accounts.rules import PermissionRefused, Role
from apps.accounts.teams import KnownTeam, known_teams, members_of, team_membership_set
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.ownership.models import Team
from tests.people import member

COMMAND = Actor.command("test")
pytestmark = pytest.mark.django_db


@pytest.fixture
def team(organisation: Organisation) -> KnownTeam:
    Team.objects.create(organisation=organisation, slug="payments", name="Payments")
    return known_teams()[0]


def lead(team: KnownTeam, role: Role) -> Actor:
    user = member(team.organisation, "viewer", email=f"lead-{role.value}@example.test")
    team_membership_set(actor=COMMAND, user=user, team=team, role=role)
    return Actor.of_user(user)


def newcomer(team: KnownTeam) -> User:
    return member(team.organisation, "member", email="new@example.test")


def test_a_manager_of_the_team_gives_roles_up_to_their_own(team: KnownTeam) -> None:
    actor, user = lead(team, Role.MANAGER), newcomer(team)
    for role in (Role.MEMBER, Role.MANAGER):
        team_membership_set(actor=actor, user=user, team=team, role=role)
    with pytest.raises(ServiceError, match="the role admin is given and taken by an admin"):
        team_membership_set(actor=actor, user=user, team=team, role=Role.ADMIN)
    team_membership_set(actor=COMMAND, user=user, team=team, role=Role.ADMIN)
    with pytest.raises(ServiceError, match="the role admin"):
        team_membership_set(actor=actor, user=user, team=team, role=None)
    assert [(row.membership.user.email, row.role) for row in members_of(team.id)] == [
        ("new@example.test", "admin"), ("lead-manager@example.test", "manager"),
    ]  # fmt: skip


@pytest.mark.parametrize("role", [Role.ONCALL, Role.MEMBER])
def test_others_give_none(team: KnownTeam, role: Role) -> None:
    with pytest.raises(PermissionRefused, match=r"admin, or admin or manager in the team that owns it"):
        team_membership_set(actor=lead(team, role), user=newcomer(team), team=team, role=Role.MEMBER)


def test_a_manager_of_another_team_gives_none_here(team: KnownTeam) -> None:
    Team.objects.create(organisation=team.organisation, slug="search", name="Search")
    search = next(row for row in known_teams() if row.slug == "search")
    with pytest.raises(PermissionRefused):
        team_membership_set(actor=lead(search, Role.ADMIN), user=newcomer(team), team=team, role=Role.MEMBER)


def test_only_who_belongs_to_the_organisation(team: KnownTeam) -> None:
    stranger = User.objects.create(email="stranger@example.test")
    with pytest.raises(ServiceError, match="does not belong to"):
        team_membership_set(actor=COMMAND, user=stranger, team=team, role=Role.MEMBER)
    with pytest.raises(ServiceError, match="auditor is a role in an organisation"):
        team_membership_set(actor=COMMAND, user=newcomer(team), team=team, role=Role.AUDITOR)
    assert not TeamMembership.objects.exists()
