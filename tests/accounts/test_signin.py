"""The sign-in page: right and wrong passwords, limits, CSRF, session rotation, the audit; and signing out."""

from __future__ import annotations

import threading
from datetime import timedelta

import pytest
from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.models import Session
from django.db import connections
from django.http import HttpResponse
from django.test import Client, override_settings
from django.urls import include, path
from django.utils import timezone

from apps.accounts import signin
from apps.accounts.models import SignInAttempt, User
from apps.accounts.services import user_create_first_admin
from apps.accounts.tasks import signin_upkeep
from apps.audit.actors import Actor
from apps.audit.models import AuditEvent, Event

PASSWORD = "correct horse battery"
EMAIL = "ada@example.com"

overview = ([path("", lambda request: HttpResponse("overview"), name="overview")], "dashboard")
urlpatterns = [path("", include("apps.accounts.urls")), path("overview/", include(overview))]


@pytest.fixture(autouse=True)
def _urls():
    with override_settings(ROOT_URLCONF=__name__):
        yield


@pytest.fixture
def user(db: None) -> User:
    return user_create_first_admin(actor=Actor.command("test"), email=EMAIL, password=PASSWORD)


def post(client: Client, email: str = EMAIL, password: str = PASSWORD, **extra: str) -> HttpResponse:
    return client.post("/login/", {"email": email, "password": password, **extra})


def audited(action: str) -> list[AuditEvent]:
    return list(AuditEvent.objects.filter(action=action, seq=None))


def test_the_page_shows_a_form(client: Client, user: User) -> None:
    response = client.get("/login/")
    text = response.content.decode()
    assert response.status_code == 200
    assert 'name="email"' in text and 'name="password"' in text and "csrfmiddlewaretoken" in text
    assert "no-store" in response["Cache-Control"]


def test_signing_in_opens_a_session_and_is_audited(client: Client, user: User) -> None:
    response = post(client, email=" ADA@example.com ")
    assert (response.status_code, response["Location"]) == (302, "/overview/")
    assert client.session[SESSION_KEY] == str(user.pk)
    (event,) = audited("session.open")
    assert (event.actor_name, event.actor_address, event.actor_role) == (EMAIL, "127.0.0.1", "admin of main")
    assert not SignInAttempt.objects.exists()
    assert client.get("/login/").status_code == 302


def test_signing_in_takes_a_fresh_session_and_csrf_token(client: Client, user: User) -> None:
    session = client.session
    session["planted"] = "yes"
    session.save()
    client.cookies["sessionid"] = session.session_key
    client.get("/login/")
    token = client.cookies["csrftoken"].value
    post(client)
    assert client.session.session_key != session.session_key
    assert client.cookies["csrftoken"].value != token


@pytest.mark.parametrize(
    ("email", "password"), [(EMAIL, "wrong"), ("nobody@example.com", PASSWORD), ("not an address", "x"), ("\x00", "\x00")]
)
def test_wrong_input_gets_the_same_answer_and_is_audited(client: Client, user: User, email: str, password: str) -> None:
    response = post(client, email=email, password=password)
    assert response.status_code == 400
    assert SESSION_KEY not in client.session


def test_a_refusal_does_not_tell_whether_the_person_exists(client: Client, user: User) -> None:
    wrong, unknown = post(client, password="wrong"), post(client, email="nobody@example.com")
    assert "Email or password is wrong." in wrong.content.decode()
    assert "Email or password is wrong." in unknown.content.decode()
    known, other = audited("session.refuse")
    assert known.actor_name == EMAIL and known.reason == "wrong email or password"
    assert other.actor_name == "(unknown email)"
    assert Event.objects.filter(kind="session.refused").count() == 2


def test_a_password_typed_as_email_is_not_kept(client: Client, user: User) -> None:
    post(client, email="hunter2hunter2", password="x")
    for event in AuditEvent.objects.filter(seq=None):
        assert "hunter2" not in repr(event.content())


def test_a_person_who_was_switched_off_cannot_sign_in(client: Client, user: User) -> None:
    User.objects.update(is_active=False)
    assert post(client).status_code == 400


def test_empty_fields_are_named(client: Client, user: User) -> None:
    response = client.post("/login/", {"email": "", "password": ""})
    assert response.status_code == 400
    assert set(response.context["form"].errors) == {"email", "password"}
    assert not SignInAttempt.objects.exists()


def test_failures_are_limited_even_with_the_right_password_and_end_with_the_window(client: Client, user: User) -> None:
    for _ in range(signin.MAX_PER_EMAIL_AND_ADDRESS):
        assert post(client, password="wrong").status_code == 400
    response = post(client)
    assert response.status_code == 429
    assert 0 < int(response["Retry-After"]) <= signin.WINDOW.total_seconds() + 1
    assert "Try again in 15 minutes" in response.content.decode()
    assert len(audited("session.limit")) == 1
    assert client.post("/login/", {"email": EMAIL, "password": PASSWORD}, REMOTE_ADDR="192.0.2.9").status_code == 302
    for attempt in SignInAttempt.objects.all():
        SignInAttempt.objects.filter(pk=attempt.pk).update(at=attempt.at - signin.WINDOW - timedelta(seconds=1))
    assert post(Client()).status_code == 302
    assert signin.attempts_prune() == 0


def test_upkeep_forgets_what_has_ended_and_nothing_else(client: Client, user: User) -> None:
    assert post(client).status_code == 302
    other = Client()
    assert post(other).status_code == 302
    Session.objects.filter(pk=other.session.session_key).update(expire_date=timezone.now() - timedelta(seconds=1))
    for age in (signin.WINDOW - timedelta(minutes=1), signin.WINDOW + timedelta(minutes=1)):
        attempt = SignInAttempt.objects.create(email=EMAIL, address="192.0.2.1")
        SignInAttempt.objects.filter(pk=attempt.pk).update(at=timezone.now() - age)
    assert signin_upkeep() == {"attempts": 1, "sessions": 1, "answers": 0}
    assert signin_upkeep() == {"attempts": 0, "sessions": 0, "answers": 0}
    assert SESSION_KEY in client.session


def test_one_address_is_limited_over_many_emails(client: Client, user: User) -> None:
    for number in range(signin.MAX_PER_ADDRESS):
        SignInAttempt.objects.create(email=f"{number}@example.com", address="127.0.0.1")
    assert post(client).status_code == 429


@pytest.mark.django_db(transaction=True)
def test_parallel_guesses_count_each_other() -> None:
    """Sixteen guesses at the same moment: exactly as many passwords are checked as the limit allows."""
    user_create_first_admin(actor=Actor.command("test"), email=EMAIL, password=PASSWORD)
    start = threading.Barrier(16)
    statuses: list[int] = []

    def guess() -> None:
        try:
            start.wait(timeout=120)
            statuses.append(post(Client(), password="wrong").status_code)
        finally:
            connections.close_all()

    threads = [threading.Thread(target=guess) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=200)
    assert len(statuses) == 16
    assert statuses.count(400) == signin.MAX_PER_EMAIL_AND_ADDRESS
    assert statuses.count(400) + statuses.count(429) == 16


def test_a_form_without_its_token_is_refused(user: User) -> None:
    client = Client(enforce_csrf_checks=True)
    assert post(client).status_code == 403
    assert client.post("/logout/").status_code == 403


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        ("/overview/?a=1", "/overview/?a=1"),
        ("https://evil.example/", "/overview/"),
        ("//evil.example/", "/overview/"),
        ("javascript:alert(1)", "/overview/"),
        ("", "/overview/"),
    ],
)
def test_next_never_leaves_this_host(client: Client, user: User, wanted: str, taken: str) -> None:
    response = post(client, next=wanted)
    assert response["Location"] == taken


def test_wrong_methods(client: Client, user: User) -> None:
    assert client.put("/login/").status_code == 405
    assert client.get("/logout/").status_code == 405


def test_signing_out_ends_the_session_and_is_audited(client: Client, user: User) -> None:
    post(client)
    old = client.cookies["sessionid"].value
    response = client.post("/logout/")
    assert (response.status_code, response["Location"]) == (302, "/login/")
    assert SESSION_KEY not in client.session
    assert len(audited("session.close")) == 1
    fresh = Client()
    fresh.cookies["sessionid"] = old
    assert fresh.get("/login/").status_code == 200
    assert client.post("/logout/").status_code == 302
    assert len(audited("session.close")) == 1
