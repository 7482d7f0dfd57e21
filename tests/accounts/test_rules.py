"""The one predicate table: role x action, as services, pages and commands are held to it."""

from __future__ import annotations

import re

import pytest
from django.test import Client
from django.urls import reverse

from apps.accounts.models import Organisation, User
from apps.accounts.rules import PERMISSIONS, RANK, ROLE_HELP, TEAM_ROLES, PermissionRefused, Role, roles_text
from apps.accounts.selectors import permission_require, permitted
from apps.accounts.services import membership_set, organisation_ensure
from apps.accounts.teams import KnownTeam, team_membership_set
from apps.audit.actors import Actor
from apps.contracts.identifiers import uuid7
from apps.ownership.models import Team
from tests.people import client_of, member
from tests.test_permissions import ADDRESSES, Address

COMMAND = Actor.command("test")
READS = {action for action in PERMISSIONS if action.endswith(".view")} | {"audit.export"}
pytestmark = pytest.mark.django_db


@pytest.fixture
def main() -> Organisation:
    return organisation_ensure(actor=COMMAND, slug="main", name="Main")


@pytest.fixture
def other() -> Organisation:
    return organisation_ensure(actor=COMMAND, slug="other", name="Other")


def team_of(organisation: Organisation, slug: str = "payments") -> KnownTeam:
    team = Team.objects.create(organisation=organisation, slug=slug, name=slug.title())
    return KnownTeam(id=str(team.pk), slug=slug, name=team.name, organisation=organisation)


def in_team(team: KnownTeam, role: Role, *, belongs: str = "viewer") -> User:
    """Somebody who may only look in the organisation, with that role in the team."""
    user = member(team.organisation, belongs, email=f"{role.value}-of-{team.slug}@example.test")
    team_membership_set(actor=COMMAND, user=user, team=team, role=role)
    return user


def test_the_table_is_well_formed() -> None:
    for action, row in PERMISSIONS.items():
        assert re.fullmatch(r"[a-z_]+\.[a-z]+", action)
        assert Role.ADMIN in row.organisation, f"admins may all, also {action}"
        assert row.team <= set(TEAM_ROLES)
        assert not row.team or Role.ADMIN in row.team, "an admin of a team may all that is done by teams"
    assert list(RANK) == list(ROLE_HELP) == list(Role) == ["admin", "manager", "on-call", "member", "auditor", "viewer"]


def test_who_only_looks_changes_nothing_and_auditors_look_at_more() -> None:
    may = {role: {action for action, row in PERMISSIONS.items() if role in row.organisation} for role in Role}
    assert may[Role.VIEWER] < may[Role.AUDITOR] == READS, "an auditor reads everything and changes nothing"
    assert may[Role.AUDITOR] - may[Role.VIEWER] == {"audit.view", "audit.export", "installation.view", "sample.view"}
    assert may[Role.VIEWER] < may[Role.MEMBER] < may[Role.ONCALL] < may[Role.ADMIN]
    assert may[Role.MEMBER] < may[Role.MANAGER] < may[Role.ADMIN]


@pytest.mark.parametrize(
    ("role", "may", "may_not"),
    [
        (Role.ONCALL, "flag.flip breaker.force route.switch key.revoke breakglass.use", "flag.change route.change budget.change"),
        (Role.MANAGER, "budget.change limit.change performance_budget.change change.approve key.create", "user.change route.change"),
        (Role.MEMBER, "key.request change.request request.view", "key.create flag.flip budget.change audit.view"),
        (Role.AUDITOR, "audit.view audit.export", "key.request flag.flip user.change"),
    ],
)  # fmt: skip
def test_what_each_role_is_for(role: Role, may: str, may_not: str) -> None:
    assert all(role in PERMISSIONS[action].organisation for action in may.split())
    assert not any(role in PERMISSIONS[action].organisation for action in may_not.split())


@pytest.mark.parametrize("role", list(Role))
def test_services_ask_the_table(role: Role, main: Organisation, other: Organisation) -> None:
    actor = Actor.of_user(member(main, role.value))
    for action, row in PERMISSIONS.items():
        assert (
            permitted(actor=actor, action=action) == permitted(actor=actor, action=action, organisation=main) == (role in row.organisation)
        )
        assert not permitted(actor=actor, action=action, organisation=other)


@pytest.mark.parametrize("role", TEAM_ROLES)
def test_a_role_in_the_owning_team_acts_on_what_it_owns_and_nowhere_else(role: Role, main: Organisation, other: Organisation) -> None:
    team, neighbour = team_of(main), team_of(main, "search")
    actor = Actor.of_user(in_team(team, role))
    for action, row in PERMISSIONS.items():
        asked = {"actor": actor, "action": action}
        by_organisation = Role.VIEWER in row.organisation
        assert permitted(**asked, organisation=main, team=team.id) == (by_organisation or role in row.team), action
        assert permitted(**asked, organisation=main) == permitted(**asked, organisation=main, team=neighbour.id) == by_organisation, action
        assert not permitted(**asked, organisation=other, team=team.id), action


def test_commands_and_own_parts_are_not_asked(other: Organisation) -> None:
    for actor in (COMMAND, Actor.system("shipper")):
        assert all(permitted(actor=actor, action=action, organisation=other) for action in PERMISSIONS)


def doors(*, api: bool = False) -> list[Address]:
    """One page, or one address of the API, of each permission that these ask for, and of each way to ask."""
    asked = [address for address in ADDRESSES if address.permission and address.name.startswith("api:") == api]
    return list({(address.permission, address.installation): address for address in asked}.values())


def opens(client: Client, address: Address) -> bool:
    """Whether the address lets the person in. OPTIONS: none takes it, so whoever is let in gets *wrong method* and nothing is done."""
    given = {"number": 1, "seq": 1, "organisation": "main"}
    status = client.options(reverse(address.name, kwargs={name: given.get(name) or uuid7() for name in address.arguments})).status_code
    assert status in {403, 405}, (address, status)
    return status == 405


@pytest.mark.parametrize("role", list(Role))
def test_the_api_opens_by_the_table(role: Role, main: Organisation) -> None:
    client = client_of(member(main, role.value))
    assert doors(api=True)
    for address in doors(api=True):
        assert opens(client, address) == (role in PERMISSIONS[address.permission].organisation), address


@pytest.mark.parametrize("role", list(Role))
def test_pages_open_by_the_table(role: Role, main: Organisation) -> None:
    client = client_of(member(main, role.value))
    for address in doors():
        assert opens(client, address) == (role in PERMISSIONS[address.permission].organisation), address


@pytest.mark.parametrize("role", TEAM_ROLES)
def test_pages_open_to_those_who_may_by_a_team(role: Role, main: Organisation) -> None:
    client = client_of(in_team(team_of(main), role))
    for address in doors():
        row = PERMISSIONS[address.permission]
        by_team = role in row.team and not address.installation  # what is the installation's belongs to no team
        assert opens(client, address) == (Role.VIEWER in row.organisation or by_team), address


def test_an_admin_of_another_organisation_does_not_run_the_installation(main: Organisation, other: Organisation) -> None:
    actor = Actor.of_user(member(other))
    assert permitted(actor=actor, action="route.change", organisation=other)
    assert not permitted(actor=actor, action="config.rollback")


def test_a_refusal_says_which_role_may(main: Organisation) -> None:
    actor = Actor.of_user(member(main, "viewer"))
    with pytest.raises(PermissionRefused, match=r"price\.change.*'main'.*role admin\. Ask an admin") as refused:
        permission_require(actor=actor, action="price.change", organisation=main)
    assert refused.value.action == "price.change"
    assert roles_text("request.view") == "admin, manager, on-call, member, auditor or viewer"
    assert roles_text("budget.change") == "admin or manager, or admin or manager in the team that owns it"
    assert roles_text("audit.view") == "admin or auditor"


def test_a_misspelt_action_is_loud(main: Organisation) -> None:
    with pytest.raises(LookupError, match="PERMISSIONS"):
        permitted(actor=COMMAND, action="route.chnage")


def test_a_person_who_was_switched_off_may_nothing(main: Organisation) -> None:
    team = team_of(main)
    user = in_team(team, Role.ADMIN, belongs="admin")
    User.objects.filter(pk=user.pk).update(is_active=False)
    user.refresh_from_db()
    assert not permitted(actor=Actor.of_user(user), action="request.view")
    assert not permitted(actor=Actor.of_user(user), action="route.change", organisation=main, team=team.id)


def test_a_role_taken_away_acts_at_once(main: Organisation) -> None:
    member(main, email="first@example.test")
    team = team_of(main)
    user = in_team(team, Role.MANAGER, belongs="admin")
    actor = Actor.of_user(user)
    assert actor.role == "admin of main, manager of main/payments", "what the audit keeps of who it was"
    membership_set(actor=COMMAND, user=user, organisation=main, role=None)
    assert not permitted(actor=actor, action="route.change")
    assert not permitted(actor=actor, action="budget.change", organisation=main, team=team.id), "roles in teams go with the membership"
