"""The one predicate table."""

from __future__ import annotations

import re

import pytest

from apps.accounts.models import Organisation, User
from apps.accounts.rules import PERMISSIONS, PermissionRefused, Role, roles_text
from apps.accounts.selectors import permission_require, permitted
from apps.accounts.services import membership_set, organisation_ensure, user_create
from apps.audit.actors import Actor

COMMAND = Actor.command("test")
pytestmark = pytest.mark.django_db


@pytest.fixture
def main() -> Organisation:
    return organisation_ensure(actor=COMMAND, slug="main", name="Main")


@pytest.fixture
def other() -> Organisation:
    return organisation_ensure(actor=COMMAND, slug="other", name="Other")


def person(name: str, **roles: Role) -> User:
    user = user_create(actor=COMMAND, email=f"{name}@example.com", password="correct horse")
    for slug, role in roles.items():
        membership_set(actor=COMMAND, user=user, organisation=Organisation.objects.get(slug=slug), role=role)
    return user


def test_every_action_is_a_subject_and_a_verb_and_admins_may_all() -> None:
    for action, roles in PERMISSIONS.items():
        assert re.fullmatch(r"[a-z_]+\.[a-z]+", action)
        assert Role.ADMIN in roles
        if not action.endswith(".view"):
            assert Role.VIEWER not in roles, f"a viewer only views, not {action}"


@pytest.mark.parametrize("action", sorted(PERMISSIONS))
def test_the_table_is_what_is_asked(action: str, main: Organisation, other: Organisation) -> None:
    viewer = Actor.of_user(person("viewer", main=Role.VIEWER))
    admin = Actor.of_user(person("admin", main=Role.ADMIN))
    nobody = Actor.of_user(person("nobody"))
    assert permitted(actor=admin, action=action)
    assert permitted(actor=admin, action=action, organisation=main)
    assert not permitted(actor=admin, action=action, organisation=other)
    assert permitted(actor=viewer, action=action) == (Role.VIEWER in PERMISSIONS[action])
    assert not permitted(actor=nobody, action=action)
    assert permitted(actor=COMMAND, action=action, organisation=other)


def test_an_admin_of_another_organisation_does_not_run_the_installation(main: Organisation, other: Organisation) -> None:
    actor = Actor.of_user(person("olga", other=Role.ADMIN))
    assert permitted(actor=actor, action="route.change", organisation=other)
    assert not permitted(actor=actor, action="config.rollback")


def test_a_refusal_says_which_role_may(main: Organisation) -> None:
    actor = Actor.of_user(person("vic", main=Role.VIEWER))
    with pytest.raises(PermissionRefused, match=r"route\.change.*'main'.*role admin") as refused:
        permission_require(actor=actor, action="route.change", organisation=main)
    assert refused.value.action == "route.change"
    assert roles_text("request.view") == "admin or viewer"


def test_a_misspelt_action_is_loud(main: Organisation) -> None:
    with pytest.raises(LookupError, match="PERMISSIONS"):
        permitted(actor=COMMAND, action="route.chnage")


def test_a_person_who_was_switched_off_may_nothing(main: Organisation) -> None:
    user = person("gone", main=Role.ADMIN)
    User.objects.filter(pk=user.pk).update(is_active=False)
    user.refresh_from_db()
    assert not permitted(actor=Actor.of_user(user), action="request.view")


def test_a_role_taken_away_acts_at_once(main: Organisation) -> None:
    person("first", main=Role.ADMIN)
    user = person("second", main=Role.ADMIN)
    actor = Actor.of_user(user)
    assert actor.role == "admin of main"
    membership_set(actor=COMMAND, user=user, organisation=main, role=None)
    assert not permitted(actor=actor, action="route.change")
