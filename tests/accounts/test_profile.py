"""One's own settings: name, password, sessions here and elsewhere; the organisation's name; the installation's status."""

from __future__ import annotations

import shutil
from collections import namedtuple
from html import unescape

import pytest
from django.test import Client

from apps.accounts.models import Organisation, SignedInSession, User
from apps.accounts.sessions import sessions_forget_ended
from apps.audit.models import AuditEvent
from tests.accounts.conftest import PASSWORD

URL = "/settings/profile/"
NEW = "another horse, another battery"


def text(client: Client, url: str = URL) -> str:
    response = client.get(url)
    assert response.status_code == 200, response.status_code
    return unescape(response.content.decode())


def sign_in(email: str = "ada@example.com", agent: str = "Mozilla/5.0 (X11; Linux) Firefox/140.0", password: str = PASSWORD) -> Client:
    client = Client(headers={"User-Agent": agent})
    assert client.post("/login/", {"email": email, "password": password}).status_code == 302
    return client


def test_the_name(admin: Client, ada: User) -> None:
    assert admin.post(URL, {"act": "name", "name": " Ada <b>Lovelace "})["Location"] == URL
    ada.refresh_from_db()
    assert ada.name == "Ada <b>Lovelace" and b"<b>Lovelace" not in admin.get(URL).content
    assert admin.post(URL, {"act": "name", "name": "x" * 300}).status_code == 400
    assert admin.post(URL, {"act": "name", "name": "a\x00b"}).status_code == 400
    assert admin.post(URL, {"act": "nonsense"}).status_code == 400 and admin.post(URL).status_code == 400
    assert AuditEvent.objects.filter(action="user.update").count() == 1


def test_the_password_ends_every_other_session(admin: Client, ada: User) -> None:
    other = sign_in()
    response = admin.post(URL, {"act": "password", "old": PASSWORD, "new": NEW, "again": NEW})
    assert response.status_code == 302 and "every other session has ended" in text(admin)
    assert other.get(URL).status_code == 302
    assert sign_in(password=NEW).get(URL).status_code == 200
    assert Client().post("/login/", {"email": ada.email, "password": PASSWORD}).status_code == 400
    event = AuditEvent.objects.get(action="user.password", seq=None)
    assert NEW not in repr(event.content()) and SignedInSession.objects.filter(user=ada).count() == 2


@pytest.mark.parametrize(
    ("form", "field", "words"),
    [
        ({"old": "wrong", "new": NEW, "again": NEW}, "old", "not your password now"),
        ({"old": PASSWORD, "new": NEW, "again": NEW + "x"}, "again", "not the same"),
        ({"old": PASSWORD, "new": "short", "again": "short"}, "new", "at least 10"),
        ({"old": PASSWORD, "new": "1234567890", "again": "1234567890"}, "new", "too common"),
        ({"old": PASSWORD, "new": PASSWORD, "again": PASSWORD}, "new", "another password"),
        ({"old": "", "new": "", "again": ""}, "old", "required"),
    ],
)
def test_a_refused_password_is_named_at_its_field(admin: Client, form: dict[str, str], field: str, words: str) -> None:
    response = admin.post(URL, {"act": "password", **form})
    assert response.status_code == 400 and any(words in error for error in response.context["password"].errors[field])
    assert b'value="' + PASSWORD.encode() not in response.content


def test_sessions_are_listed_and_ended_one_by_one(admin: Client, ada: User) -> None:
    other = sign_in()
    page = text(admin)
    assert "Firefox on Linux" in page and "this one" in page
    row = SignedInSession.objects.get(agent__contains="Firefox")
    assert admin.post(URL, {"act": "end", "session": str(row.pk)}).status_code == 302
    assert other.get(URL).status_code == 302 and admin.get(URL).status_code == 200
    admin.post(URL, {"act": "end", "session": str(row.pk)})
    assert "has ended already" in text(admin)
    assert admin.post(URL, {"act": "end", "session": "nonsense"}).status_code == 302


def test_nobody_ends_another_s_session(admin: Client, viewer: Client, ada: User) -> None:
    row = SignedInSession.objects.get(user=ada)
    viewer.post(URL, {"act": "end", "session": str(row.pk)})
    assert admin.get(URL).status_code == 200


def test_signing_out_everywhere_else_ends_sessions_that_are_not_listed_too(admin: Client, ada: User) -> None:
    other, unlisted = sign_in(), Client()
    unlisted.force_login(ada)
    assert admin.post(URL, {"act": "end-others"}).status_code == 302
    assert other.get(URL).status_code == unlisted.get(URL).status_code == 302
    assert admin.get(URL).status_code == 200 and SignedInSession.objects.filter(user=ada).count() == 1
    assert sign_in().get(URL).status_code == 200, "signing in anew works"


def test_signing_out_takes_the_session_from_the_list(admin: Client, ada: User) -> None:
    other = sign_in()
    other.post("/logout/")
    assert "Firefox" not in text(admin)
    assert sessions_forget_ended() == 1


def test_the_organisation_s_name(admin: Client) -> None:
    url = "/settings/organisation/"
    admin.get("/?org=main")
    assert admin.post(url, {"name": "=Acme <i>", "was": "Main"})["Location"] == url
    assert Organisation.objects.get(slug="main").name == "=Acme <i>" and b"<i>" not in admin.get(url).content
    response = admin.post(url, {"name": "Mine", "was": "Main"})
    assert (
        response.status_code == 400 and "Somebody renamed it" in unescape(response.content.decode()) and b'value="Mine"' in response.content
    )
    again = {"name": "Mine", "was": response.context["form"]["was"].value()}
    assert admin.post(url, again).status_code == 302
    assert admin.post(url, {"name": " "}).status_code == 400 and admin.post(url, {"name": "x" * 300}).status_code == 400


def test_a_viewer_renames_nothing(viewer: Client) -> None:
    url = "/settings/organisation/"
    assert "Save name" not in text(viewer, url)
    assert viewer.post(url, {"name": "Mine", "was": "Main"}).status_code == 403
    assert Organisation.objects.get(slug="main").name == "Main"


def test_the_installation_says_what_to_do(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    page = text(admin, "/settings/installation/")
    assert "PostgreSQL" in page and "What to do" in page and "manage.py shipper" in page and "90 days" in page
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage(100, 98, 2))
    assert "Make room" in text(admin, "/settings/installation/")


def test_the_wrong_person_and_the_wrong_method(viewer: Client, outsider: Client, admin: Client) -> None:
    for client in (viewer, outsider):
        assert client.get("/settings/installation/").status_code == 403
    for url in (URL, "/settings/organisation/", "/settings/installation/", "/settings/"):
        assert Client().get(url)["Location"].startswith("/login/?next=")
        assert admin.delete(url).status_code == 405
    assert admin.get("/settings/")["Location"] == URL
    assert outsider.get(URL).status_code == 200
