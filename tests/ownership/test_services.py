"""Teams and services."""

from __future__ import annotations

import pytest

from apps.accounts.models import Organisation
from apps.accounts.rules import PermissionRefused, Role
from apps.accounts.services import membership_set, organisation_ensure, user_create
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.ownership import selectors
from apps.ownership.services import service_ensure, team_ensure, team_update

COMMAND = Actor.command("test")
pytestmark = pytest.mark.django_db


@pytest.fixture
def main() -> Organisation:
    return organisation_ensure(actor=COMMAND, slug="main", name="Main")


def actions() -> list[str]:
    return list(
        AuditEvent.objects.filter(seq=None).exclude(action__startswith="organisation").order_by("id").values_list("action", flat=True)
    )


def test_team_ensure_creates_once_and_updates_what_is_given(main: Organisation) -> None:
    team = team_ensure(actor=COMMAND, organisation=main, slug="search", name="Search", contact_email="search@example.com")
    assert team_ensure(actor=COMMAND, organisation=main, slug="search").pk == team.pk
    assert team_ensure(actor=COMMAND, organisation=main, slug="search", name="Search and ranking").contact_email == "search@example.com"
    assert team_update(actor=COMMAND, team=team, contact_email="").contact_email == ""
    assert actions() == ["team.create", "team.update", "team.update"]
    event = AuditEvent.objects.filter(action="team.update").order_by("id").first()
    assert event is not None and event.before == {"name": "Search"} and event.after == {"name": "Search and ranking"}


def test_a_team_without_a_name_takes_its_slug(main: Organisation) -> None:
    assert team_ensure(actor=COMMAND, organisation=main, slug="search").name == "search"


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"slug": "Search Team"}, "slug"),
        ({"slug": "a", "contact_email": "nobody"}, "contact_email"),
        ({"slug": "a", "name": "x" * 201}, "name"),
    ],
)
def test_team_ensure_refuses_bad_input(main: Organisation, fields: dict[str, str], field: str) -> None:
    with pytest.raises(ServiceError) as refused:
        team_ensure(actor=COMMAND, organisation=main, **fields)
    assert refused.value.field == field
    assert not selectors.teams().exists()


def test_service_ensure_creates_once_and_renames(main: Organisation) -> None:
    team = team_ensure(actor=COMMAND, organisation=main, slug="search")
    service = service_ensure(actor=COMMAND, team=team, slug="api", name="Search API")
    assert service_ensure(actor=COMMAND, team=team, slug="api").name == "Search API"
    assert service_ensure(actor=COMMAND, team=team, slug="api", name="API").pk == service.pk
    assert actions() == ["team.create", "service.create", "service.update"]
    with pytest.raises(ServiceError, match="Service slug"):
        service_ensure(actor=COMMAND, team=team, slug="_")


def test_selectors_narrow(main: Organisation) -> None:
    other = organisation_ensure(actor=COMMAND, slug="other", name="Other")
    here, there = (team_ensure(actor=COMMAND, organisation=organisation, slug="search") for organisation in (main, other))
    service = service_ensure(actor=COMMAND, team=here, slug="api")
    service_ensure(actor=COMMAND, team=there, slug="api")
    assert list(selectors.teams(organisation=main)) == [here]
    assert selectors.team_get(organisation=other, slug="search") == there
    assert list(selectors.services(organisation=main)) == [service]
    assert selectors.services(team=there).count() == 1 and selectors.services().count() == 2
    assert selectors.service_get(organisation=main, team_slug="search", slug="api") == service
    assert selectors.service_get(organisation=main, team_slug="search", slug="web") is None


def test_a_viewer_changes_no_team(main: Organisation) -> None:
    viewer = user_create(actor=COMMAND, email="vic@example.com", password="long enough!")
    membership_set(actor=COMMAND, user=viewer, organisation=main, role=Role.VIEWER)
    team = team_ensure(actor=COMMAND, organisation=main, slug="search")
    actor = Actor.of_user(viewer)
    for call in (
        lambda: team_ensure(actor=actor, organisation=main, slug="mine"),
        lambda: team_update(actor=actor, team=team, name="Mine"),
        lambda: service_ensure(actor=actor, team=team, slug="mine"),
    ):
        with pytest.raises(PermissionRefused, match="role admin"):
            call()
