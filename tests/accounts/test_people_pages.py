"""People: the list, a person's page, roles, disabling, enabling, removing; and everybody who may not."""

from __future__ import annotations

import json
from html import unescape
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.accounts.models import Membership, Organisation, TeamMembership, User
from apps.audit.models import AuditEvent
from apps.ownership.models import Team
from tests.accounts.conftest import PASSWORD

EVERYBODY = {"ada@example.com", "vic@example.com"}
COUNTS = json.loads(Path(__file__).with_name("query_counts.json").read_text())


def page(client: Client, url: str) -> str:
    response = client.get(url)
    assert response.status_code == 200, (url, response.status_code)
    return unescape(response.content.decode())


def person_url(user: User, act: str = "") -> str:
    return f"/settings/people/{user.pk}/" + (f"{act}/" if act else "")


@pytest.mark.parametrize(
    ("query", "emails"),
    [
        ("", EVERYBODY), ("?q=VIC", {"vic@example.com"}), ("?role=admin", {"ada@example.com"}), ("?state=disabled", set()),
        ("?state=active&sort=-seen", EVERYBODY), ("?state=roleless", set()), ("?role=emperor&page=x", EVERYBODY),
    ],
)  # fmt: skip
def test_the_list_and_its_filters(admin: Client, vic: User, query: str, emails: set[str]) -> None:
    response = admin.get(f"/settings/people/{query}")
    assert {row.email for row in response.context["listing"].rows} == emails


def test_hostile_names_in_list_and_csv(admin: Client, vic: User) -> None:
    User.objects.filter(pk=vic.pk).update(name="=cmd()<script>alert(1)</script>" + "x" * 160)
    assert "<script>alert" not in admin.get("/settings/people/").content.decode()
    csv = b"".join(admin.get("/settings/people/?format=csv").streaming_content).decode()
    assert "'=cmd()" in csv
    assert "<script>alert" not in admin.get(person_url(vic)).content.decode()


def test_roles_are_set_and_audited(admin: Client, vic: User) -> None:
    assert admin.post(person_url(vic), {"role-main": "admin", "role-demo": "viewer"})["Location"] == person_url(vic)
    assert set(Membership.objects.filter(user=vic).values_list("organisation__slug", "role")) == {("main", "admin"), ("demo", "viewer")}
    assert AuditEvent.objects.filter(action="membership.set", subject_name=vic.email).count() == 2
    admin.post(person_url(vic), {"role-main": "admin", "role-demo": "viewer"})
    assert AuditEvent.objects.filter(action="membership.set", subject_name=vic.email).count() == 2, "the second time changes nothing"
    assert admin.post(person_url(vic), {"role-main": "emperor"}).status_code == 400


def test_the_last_admin_keeps_the_role(admin: Client, ada: User) -> None:
    response = admin.post(person_url(ada), {"role-main": "viewer", "role-demo": "admin"})
    assert response.status_code == 400 and "last admin" in unescape(response.content.decode())
    assert Membership.objects.get(user=ada, organisation__slug="main").role == "admin"


def test_roles_in_teams_are_given_and_taken_on_the_same_page(admin: Client, viewer: Client, vic: User) -> None:
    main, demo = (Organisation.objects.get(slug=slug) for slug in ("main", "demo"))
    team, elsewhere = (Team.objects.create(organisation=row, slug="payments", name="Payments") for row in (main, demo))
    url, sent = person_url(vic, "team"), {"team": str(team.pk), "role": "on-call"}
    assert viewer.post(url, sent).status_code == 403
    assert admin.post(url, sent)["Location"] == person_url(vic)
    assert admin.post(url, {**sent, "role": "auditor"}).status_code == 400, "a role of organisations only"
    assert admin.post(url, {**sent, "team": str(elsewhere.pk)}).status_code == 400, "Vic does not belong there"
    assert "on-call of payments" in page(admin, person_url(vic)).replace('<b class="break">', "").replace("</b>", "")
    assert "on-call of team payments (Main)" in page(admin, "/settings/people/?role=on-call")
    event = AuditEvent.objects.get(action="team_member.change")
    assert (event.subject_name, event.before["role"], event.after) == (
        vic.email, None, {"organisation": "main", "team": "payments", "role": "on-call"},
    )  # fmt: skip
    assert admin.post(url, {**sent, "remove": "1"}).status_code == 302 and not TeamMembership.objects.exists()
    assert AuditEvent.objects.filter(action="team_member.change").count() == 2


def test_disabling_ends_sessions_and_enabling_lets_in_again(admin: Client, viewer: Client, vic: User) -> None:
    assert viewer.get("/settings/profile/").status_code == 200
    assert admin.post(person_url(vic, "disable"), {"reason": "left"}).status_code == 302
    assert viewer.get("/settings/profile/").status_code == 302
    assert Client().post("/login/", {"email": vic.email, "password": PASSWORD}).status_code == 400
    event = AuditEvent.objects.get(action="user.disable", seq=None)
    assert (event.reason, event.subject_name) == ("left", vic.email)
    admin.post(person_url(vic, "disable"), {"reason": "left"})
    assert AuditEvent.objects.filter(action="user.disable").count() == 1
    assert "Undo" in page(admin, "/settings/people/")
    admin.post(person_url(vic, "enable"))
    assert Client().post("/login/", {"email": vic.email, "password": PASSWORD}).status_code == 302
    assert viewer.get("/settings/profile/").status_code == 302, "the old session stays ended"


def test_disabling_takes_a_reason_and_not_oneself(admin: Client, ada: User, vic: User) -> None:
    admin.post(person_url(vic, "disable"), {"reason": " "})
    admin.post(person_url(ada, "disable"), {"reason": "bored"})
    assert User.objects.filter(is_active=True).count() == 2
    text = page(admin, "/settings/people/")
    assert "say why" in text and "cannot disable yourself" in text


def test_removing_takes_the_email_typed(admin: Client, viewer: Client, vic: User) -> None:
    admin.post(person_url(vic, "remove"), {"reason": "left", "confirmation": "wrong"})
    assert User.objects.filter(pk=vic.pk).exists() and "Type vic@example.com" in page(admin, "/settings/people/")
    response = admin.post(person_url(vic, "remove"), {"reason": "left", "confirmation": " VIC@example.com "})
    assert response["Location"] == "/settings/people/" and not User.objects.filter(pk=vic.pk).exists()
    assert viewer.get("/settings/profile/").status_code == 302
    event = AuditEvent.objects.get(action="user.remove", seq=None)
    assert event.before["roles"] == "viewer of main" and event.reason == "left"
    assert admin.post(person_url(vic, "remove"), {"reason": "left", "confirmation": vic.email}).status_code == 404


def test_a_person_who_does_not_exist(admin: Client) -> None:
    assert admin.get("/settings/people/01890000-0000-7000-8000-000000000000/").status_code == 404
    assert admin.get("/settings/people/nobody/").status_code == 404


def test_the_wrong_person_and_the_wrong_method(admin: Client, viewer: Client, outsider: Client, ada: User, vic: User) -> None:
    assert "Disable" not in page(viewer, person_url(ada)) and "Invite" not in page(viewer, "/settings/people/")
    for act in ("disable", "enable", "remove"):
        assert viewer.post(person_url(ada, act), {"reason": "x", "confirmation": ada.email}).status_code == 403
        assert outsider.post(person_url(ada, act), {"reason": "x"}).status_code == 403
        assert admin.get(person_url(vic, act)).status_code == 405
    assert viewer.post(person_url(vic), {"role-main": "admin"}).status_code == 403
    assert outsider.get("/settings/people/").status_code == outsider.get(person_url(ada)).status_code == 403
    assert Membership.objects.get(user=vic).role == "viewer" and User.objects.filter(is_active=True, pk=ada.pk).exists()


@pytest.mark.parametrize("url", list(COUNTS))
def test_a_page_asks_no_more_queries_than_committed(admin: Client, vic: User, url: str) -> None:
    target = url.replace("<id>", str(vic.pk))
    page(admin, target)
    with CaptureQueriesContext(connection) as queries:
        page(admin, target)
    assert len(queries) <= COUNTS[url] <= 12, (f"{url}: {len(queries)}", [query["sql"][:110] for query in queries])
