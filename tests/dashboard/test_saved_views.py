"""Saved views: kept for oneself or with a team, found again, deleted by those who may; a link to elsewhere is never kept."""

from __future__ import annotations

import pytest
from django.test import Client

from apps.accounts.models import Organisation, User
from apps.audit.models import AuditEvent
from apps.dashboard.models import SavedView
from apps.dashboard.saved_pages import views_for_palette
from apps.ownership.models import Team
from tests.people import client_of, member

URL = "/dashboards/views/"
KEPT = {"name": "Slow models", "path": "/dashboards/model/", "query": "value=m&from=now-7d"}


@pytest.fixture
def team(organisation: Organisation) -> Team:
    return Team.objects.create(organisation=organisation, name="Search", slug="search")


def test_a_view_is_kept_opened_and_deleted(client: Client, person: User, organisation: Organisation) -> None:
    client.force_login(person)
    offered = client.get(URL, {"path": "/dashboards/model/", "query": "value=m&from=now-7d&page=3&org=x"}).content.decode()
    assert 'value="value=m&amp;from=now-7d"' in offered, "a place in a list and an organisation are no part of a view"
    assert client.post(URL, KEPT).status_code == 302
    view = SavedView.objects.get(organisation=organisation, owner=person)
    text = client.get(URL).content.decode()
    assert "Slow models" in text and 'href="/dashboards/model/?value=m&amp;from=now-7d"' in text
    assert [hit.url for hit in views_for_palette(person, "slow", 5)] == [f"{view.url}&org={organisation.slug}"]
    again = client.post(URL, KEPT)
    assert again.status_code == 400 and "already" in again.content.decode()
    assert client.post(f"{URL}{view.pk}/delete/").status_code == 302
    assert client.post(f"{URL}{view.pk}/delete/").status_code == 404
    done = AuditEvent.objects.filter(subject_kind="saved_view", subject_id=str(view.pk)).order_by("pk")
    assert [event.action for event in done] == ["saved_view.create", "saved_view.delete"]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"name": " \t"}, "field is required"),
        ({"path": "//example.com/"}, "can be kept"),
        ({"path": "https://example.com/"}, "can be kept"),
        ({"path": "/settings/profile/"}, "can be kept"),
        ({"path": "javascript:alert(1)"}, "can be kept"),
        ({"query": "x" * 2_001}, "at most 2000"),
        ({"team": "0190cccc-0000-7000-8000-000000000001"}, "valid choice"),
    ],
)
def test_what_is_no_view_is_refused(client: Client, person: User, more: dict[str, str], says: str) -> None:
    client.force_login(person)
    response = client.post(URL, {**KEPT, **more})
    assert response.status_code == 400 and says in response.content.decode()
    assert not SavedView.objects.exists()


def test_who_may_shares_with_a_team_and_others_find_it(organisation: Organisation, team: Team, other: Organisation) -> None:
    manager, viewer = member(organisation, "manager"), member(organisation, "viewer", email="vic@example.test")
    assert client_of(viewer).post(URL, {**KEPT, "team": str(team.pk)}).status_code == 400, "a viewer shares with nobody"
    assert client_of(manager).post(URL, {**KEPT, "team": str(team.pk)}).status_code == 302
    view = SavedView.objects.get(owner=manager)
    text = client_of(viewer).get(URL).content.decode()
    assert "Slow models" in text and "Search" in text and f"{view.pk}/delete/" not in text
    client_of(viewer).post(f"{URL}{view.pk}/delete/")
    assert SavedView.objects.filter(pk=view.pk).exists(), "refused, with a toast"
    stranger = member(other, "admin")
    assert "Slow models" not in client_of(stranger).get(URL).content.decode()
    assert client_of(stranger).post(f"{URL}{view.pk}/delete/").status_code == 404
    assert client_of(member(organisation, "admin")).post(f"{URL}{view.pk}/delete/").status_code == 302
    assert not SavedView.objects.exists()


def test_a_team_that_goes_leaves_its_views_to_their_owners(organisation: Organisation, team: Team, person: User) -> None:
    view = SavedView.objects.create(organisation=organisation, owner=person, team=team, name="v", path="/dashboards/")
    team.delete()
    view.refresh_from_db()
    assert view.team is None
