"""Inviting: the link shown once, opened once, until it expires; renewed, taken back, mailed where a server is set."""

from __future__ import annotations

import re
from datetime import timedelta
from html import unescape

import pytest
from django.conf import LazySettings
from django.contrib.auth import SESSION_KEY
from django.http import HttpResponse
from django.test import Client
from django.utils import timezone

from apps.accounts.invitations import LIFETIME, token_hash
from apps.accounts.models import Invitation, Membership, User
from apps.audit.models import AuditEvent

URL = "/settings/people/invite/"
GRACE = {"email": "grace@example.com", "role-main": "viewer", "role-demo": "admin"}


def link_of(response: HttpResponse) -> str:
    assert response.status_code == 200, response.content[:600]
    found = re.search(r"http://testserver(/invitation/[\w-]{40,}/)", unescape(response.content.decode()))
    assert found is not None
    return found[1]


def accept(link: str, client: Client | None = None, **changes: str) -> HttpResponse:
    form = {"name": "Grace Hopper", "password": "a ship in port is safe", **changes}
    return (client or Client()).post(link, form)


def test_from_the_link_to_being_signed_in(admin: Client) -> None:
    link = link_of(admin.post(URL, GRACE))
    fresh = Client()
    page = fresh.get(link)
    assert "grace@example.com" in page.content.decode() and "ada@example.com" in page.content.decode()
    response = accept(link, fresh)
    assert (response.status_code, response["Location"]) == (302, "/")
    user = User.objects.get(email="grace@example.com")
    assert fresh.session[SESSION_KEY] == str(user.pk) and user.name == "Grace Hopper"
    assert {(row.organisation.slug, row.role) for row in Membership.objects.filter(user=user)} == {("main", "viewer"), ("demo", "admin")}
    actions = list(AuditEvent.objects.filter(subject_name="grace@example.com").values_list("action", flat=True))
    assert {"invitation.create", "invitation.accept", "membership.set", "session.open"} <= set(actions)


def test_it_opens_once(admin: Client) -> None:
    link = link_of(admin.post(URL, GRACE))
    assert accept(link).status_code == 302
    assert accept(link).status_code == 410 and Client().get(link).status_code == 410
    assert User.objects.filter(email="grace@example.com").count() == 1


def test_the_token_is_kept_as_a_hash_only(admin: Client) -> None:
    link = link_of(admin.post(URL, GRACE))
    token = link.split("/")[2]
    invitation = Invitation.objects.get()
    assert invitation.token_hash == token_hash(token)
    assert token not in repr([event.content() for event in AuditEvent.objects.all()])
    assert token not in admin.get("/settings/people/").content.decode()


def test_it_expires(admin: Client) -> None:
    link = link_of(admin.post(URL, GRACE))
    Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    response = Client().get(link)
    assert response.status_code == 410 and b"opens nothing" in response.content
    assert accept(link).status_code == 410
    assert "expired" in admin.get("/settings/people/").content.decode()
    invitation = admin.post(f"/settings/people/invitations/{Invitation.objects.get().pk}/renew/").context["invitation"]
    assert invitation.expires_at - invitation.sent_at == LIFETIME


def test_renewing_makes_a_new_link_and_ends_the_old_one(admin: Client) -> None:
    old = link_of(admin.post(URL, GRACE))
    new = link_of(admin.post(f"/settings/people/invitations/{Invitation.objects.get().pk}/renew/"))
    assert new != old and Client().get(old).status_code == 410 and Client().get(new).status_code == 200


def test_taking_back(admin: Client) -> None:
    link = link_of(admin.post(URL, GRACE))
    url = f"/settings/people/invitations/{Invitation.objects.get().pk}/revoke/"
    assert admin.post(url).status_code == 302 and Client().get(link).status_code == 410
    assert admin.post(url).status_code == 302, "a second time is no error"
    assert admin.post(url.replace("revoke", "renew")).status_code == 302
    assert AuditEvent.objects.filter(action="invitation.revoke").count() == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"email": "no address"}, "valid email"),
        ({"email": "ADA@example.com"}, "is here already"),
        ({"email": "asked@example.com"}, "was asked already"),
        ({"role-main": "none", "role-demo": "none"}, "at least one organisation"),
        ({"role-main": "emperor"}, "valid choice"),
        ({"email": "x" * 300 + "@example.com"}, "at most 254"),
        ({"email": "<script>@example.com"}, "valid email"),
    ],
)
def test_wrong_input_is_named_and_kept(admin: Client, changes: dict[str, str], words: str) -> None:
    admin.post(URL, {**GRACE, "email": "asked@example.com"})
    response = admin.post(URL, {**GRACE, **changes})
    assert response.status_code == 400 and words in unescape(response.content.decode())
    assert b"<script>@" not in response.content
    assert Invitation.objects.count() == 1


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"password": "short"}, "at least 10"), ({"password": "password123"}, "too common"), ({"name": "x" * 300}, "at most 200"),
        ({"password": "grace@example.com"}, "too similar"), ({"password": ""}, "required"),
    ],
)  # fmt: skip
def test_a_weak_password_is_refused_and_the_link_stays_open(admin: Client, changes: dict[str, str], words: str) -> None:
    link = link_of(admin.post(URL, GRACE))
    response = accept(link, **changes)
    assert response.status_code == 400 and words in unescape(response.content.decode())
    assert not User.objects.filter(email="grace@example.com").exists()
    assert accept(link).status_code == 302


def test_somebody_who_is_signed_in_becomes_the_invited_person(admin: Client) -> None:
    link = link_of(admin.post(URL, GRACE))
    assert accept(link, admin).status_code == 302
    assert admin.session[SESSION_KEY] == str(User.objects.get(email="grace@example.com").pk)


def test_a_role_of_an_organisation_that_is_gone_is_left_out(admin: Client) -> None:
    link = link_of(admin.post(URL, GRACE))
    Invitation.objects.update(roles={"main": "viewer", "gone": "admin"})
    assert accept(link).status_code == 302
    assert Membership.objects.filter(user__email="grace@example.com").count() == 1


def test_a_guess_opens_nothing(client: Client, db: None) -> None:
    for token in ("x", "x" * 43, "x" * 2000, "%00"):
        assert client.get(f"/invitation/{token}/").status_code == 410
        assert client.post(f"/invitation/{token}/", {"password": "long enough for it"}).status_code == 410


def test_it_is_mailed_where_a_server_is_set(admin: Client, settings: LazySettings, mailoutbox: list) -> None:  # type: ignore[type-arg]
    assert b"No mail server is set" in admin.post(URL, GRACE).content and mailoutbox == []
    settings.EMAIL_HOST = "mail.test"
    response = admin.post(f"/settings/people/invitations/{Invitation.objects.get().pk}/renew/")
    assert link_of(response) in mailoutbox[0].body and mailoutbox[0].to == ["grace@example.com"]


def test_a_mail_server_that_fails_is_said_and_the_link_is_there(
    admin: Client, settings: LazySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object, **kwargs: object) -> None:
        raise ConnectionRefusedError

    settings.EMAIL_HOST = "mail.test"
    monkeypatch.setattr("apps.accounts.invitations.send_mail", refuse)
    response = admin.post(URL, GRACE)
    assert b"did not take it" in response.content and Client().get(link_of(response)).status_code == 200


def test_the_wrong_person_and_the_wrong_method(admin: Client, viewer: Client, outsider: Client) -> None:
    admin.post(URL, GRACE)
    pk = Invitation.objects.get().pk
    for client in (viewer, outsider):
        assert client.get(URL).status_code == client.post(URL, GRACE).status_code == 403
        assert client.post(f"/settings/people/invitations/{pk}/revoke/").status_code == 403
    assert admin.get(f"/settings/people/invitations/{pk}/revoke/").status_code == 405
    assert admin.put(URL).status_code == 405
    assert Client().get(URL)["Location"].startswith("/login/")
    assert "grace@example.com" not in viewer.get("/settings/people/").content.decode()


def test_a_forgotten_password_is_chosen_anew_by_a_link(admin: Client, viewer: Client) -> None:
    vic = User.objects.get(email="vic@example.com")
    url = f"/settings/people/{vic.pk}/password-link/"
    old, link = link_of(admin.post(url)), link_of(admin.post(url))
    assert Client().get(old).status_code == 410 and b"Choose a new password" in Client().get(link).content
    assert accept(link, password="short").status_code == 400
    assert accept(link).status_code == 302 and accept(link).status_code == 410
    assert viewer.get("/settings/profile/").status_code == 302, "sessions of before have ended"
    vic.refresh_from_db()
    assert vic.name == "Vic" and vic.check_password("a ship in port is safe")
    assert {(row.organisation.slug, row.role) for row in vic.memberships.all()} == {("main", "viewer")}
    assert AuditEvent.objects.filter(action="user.password_link").count() == 2


def test_a_password_link_of_somebody_disabled_opens_nothing(admin: Client, viewer: Client) -> None:
    vic = User.objects.get(email="vic@example.com")
    link = link_of(admin.post(f"/settings/people/{vic.pk}/password-link/"))
    User.objects.filter(pk=vic.pk).update(is_active=False)
    assert accept(link).status_code == 410
    assert admin.post(f"/settings/people/{vic.pk}/password-link/").status_code == 302
    assert viewer.post(f"/settings/people/{vic.pk}/password-link/").status_code in (302, 401, 403)
    assert admin.get(f"/settings/people/{vic.pk}/password-link/").status_code == 405
