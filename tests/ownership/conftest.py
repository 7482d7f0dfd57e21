"""An organisation with two teams, and people in them."""

from __future__ import annotations

import pytest

from apps.accounts.models import Organisation, User
from apps.accounts.rules import Role
from apps.accounts.teams import KnownTeam, team_membership_set
from apps.audit.actors import Actor
from apps.ownership.models import Team
from apps.ownership.services import team_ensure
from tests.people import member

COMMAND = Actor.command("test")


@pytest.fixture
def payments(organisation: Organisation) -> Team:
    return team_ensure(actor=COMMAND, organisation=organisation, slug="payments", name="Payments")


@pytest.fixture
def search(organisation: Organisation) -> Team:
    return team_ensure(actor=COMMAND, organisation=organisation, slug="search", name="Search")


def person_of(team: Team, role: Role, *, belongs: str = "viewer") -> User:
    """Somebody with that role in a team, who may only look in the organisation unless ``belongs`` says otherwise."""
    user = member(team.organisation, belongs, email=f"{role.value}-{team.slug}@example.test")
    known = KnownTeam(id=str(team.pk), slug=team.slug, name=team.name, organisation=team.organisation)
    team_membership_set(actor=COMMAND, user=user, team=known, role=role)
    return user


def actor_of(team: Team, role: Role) -> Actor:
    """The same as somebody who acts."""
    return Actor.of_user(person_of(team, role))
