"""A session that ends in the middle of a form: nothing is done, and nothing that was typed is lost."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html import unescape

import pytest
from django.core import signing
from django.http import HttpResponse
from django.test import Client, override_settings

from apps.accounts.carried import SALT, carried_from
from apps.accounts.models import User
from apps.providers.rules import EndpointSpec
from apps.providers.services import provider_ensure
from apps.publishing.services import publish
from apps.routes.models import Route
from apps.routes.rules import TargetSpec
from apps.routes.services import route_ensure
from tests.accounts.conftest import PASSWORD

TYPED = {
    "name": "chat",
    "targets": "sim/m",
    "max_attempts": "7",
    "revision": "r@2026-01-01T00:00:00",
    "submission": "n" * 22,
    "reviewed": "",
}
EDIT = "/edit/chat/edit/"


@pytest.fixture(autouse=True)
def _urls(ada: User) -> Iterator[None]:
    from apps.accounts.models import Organisation
    from apps.audit.actors import Actor

    actor, organisation = Actor.command("test"), Organisation.objects.get(slug="main")
    endpoint = EndpointSpec("a", "https://api.openai.com/v1")
    provider_ensure(actor=actor, organisation=organisation, name="sim", kind="openai", endpoints=[endpoint])
    route_ensure(actor=actor, organisation=organisation, name="chat", targets=[TargetSpec("sim", "m")])
    publish(actor=actor)
    with override_settings(ROOT_URLCONF="tests.publishing.editing_pages"):
        yield


def hidden(response: HttpResponse) -> dict[str, str]:
    found = re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)"', response.content.decode())
    return {name: unescape(value) for name, value in found if name != "csrfmiddlewaretoken"}


def sign_in_with(client: Client, carried: str, password: str = PASSWORD) -> HttpResponse:
    return client.post("/login/", {"email": "ada@example.com", "password": password, "carried": carried})


def test_the_form_comes_back_with_everything_typed() -> None:
    client = Client()
    client.get("/?org=main")
    lost = client.post(EDIT, TYPED)
    assert lost.status_code == 401 and b"is not lost" in lost.content and "no-store" in lost["Cache-Control"]
    carried = hidden(lost)["carried"]
    wrong = sign_in_with(client, carried, password="wrong")
    assert wrong.status_code == 400 and hidden(wrong)["carried"] == carried, "a typing mistake in the password loses nothing either"
    back = sign_in_with(client, carried)
    assert back.status_code == 200 and b"data-resume" in back.content and f'action="{EDIT}"' in back.content.decode()
    client.get("/proxies/?org=main")
    shown = client.post(EDIT, hidden(back))
    page = unescape(shown.content.decode())
    assert shown.status_code == 200 and "everything you typed is here" in page and 'value="7"' in page
    assert Route.objects.get().max_attempts == 3


def test_any_other_form_is_shown_and_sent_by_hand() -> None:
    client = Client()
    back = sign_in_with(client, hidden(client.post("/edit/chat/disable/", {"reason": "why <b>", "password": "hunter2"}))["carried"])
    page = back.content.decode()
    assert "data-resume" not in page and "Send it again" in page and "why &lt;b&gt;" in page
    assert "hunter2" not in re.sub(r"<input[^>]*>", "", page), "a secret is sent along and never shown"
    assert Route.objects.get().enabled


def test_a_form_older_than_the_sign_in_is_kept_too() -> None:
    client = Client(enforce_csrf_checks=True, headers={"Origin": "http://testserver"})
    client.force_login(User.objects.get(email="ada@example.com"))
    response = client.post(EDIT, TYPED | {"csrfmiddlewaretoken": "x" * 64})
    assert response.status_code == 403 and b"older than your session" in response.content and hidden(response)["max_attempts"] == "7"


def test_a_form_from_elsewhere_is_never_shown() -> None:
    for origin in ("https://evil.example", "null", ""):
        client = Client(enforce_csrf_checks=True, headers={"Origin": origin} if origin else {})
        client.force_login(User.objects.get(email="ada@example.com"))
        response = client.post(EDIT, TYPED)
        assert response.status_code == 403 and b"max_attempts" not in response.content


@pytest.mark.parametrize(
    "text",
    ["", "nonsense", signing.dumps(["https://evil.example/", []], salt=SALT), signing.dumps(["/x", []])],
    ids=["nothing", "nonsense", "elsewhere", "signed for something else"],  # a signature holds the second it was made in
)
def test_what_was_not_carried_by_us_is_not_believed(text: str) -> None:
    assert carried_from(text) is None
    assert sign_in_with(Client(), text)["Location"] == "/"


def test_a_poll_without_a_session_goes_to_the_sign_in_page() -> None:
    response = Client().post("/edit/chat/disable/", {"reason": "x"}, headers={"HX-Request": "true"})
    assert response.status_code == 401 and response["HX-Redirect"] == "/login/"


def test_signing_out_without_a_session_is_not_a_lost_form() -> None:
    assert Client().post("/logout/").status_code == 302
