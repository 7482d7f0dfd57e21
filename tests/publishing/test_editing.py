"""The editing flow: form, review, publish; refusals beside their fields; two tabs; sending twice; changing after the review."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Iterator
from html import unescape
from typing import Any

import pytest
from django.db import connections
from django.http import HttpResponse
from django.test import Client, override_settings

from apps.accounts.models import User
from apps.audit.actors import Actor
from apps.audit.models import AuditEvent
from apps.publishing.models import Version
from apps.publishing.services import publish
from apps.publishing.submissions import submissions_prune
from apps.routes.models import Route
from apps.routes.services import route_update
from tests.publishing.installation import installation_make

ACTOR = Actor.command("test")


@pytest.fixture(autouse=True)
def _urls() -> Iterator[None]:
    with override_settings(ROOT_URLCONF="tests.publishing.editing_pages"):
        yield


def hidden(response: HttpResponse) -> dict[str, str]:
    """The hidden fields of the page's editing form."""
    pairs = re.findall(r'<input type="hidden" name="(revision|submission|reviewed)" value="([^"]*)">', response.content.decode())
    return {name: unescape(value) for name, value in pairs}


def text(response: HttpResponse) -> str:
    return unescape(response.content.decode())


def opened(client: Client, url: str = "/edit/chat/edit/") -> dict[str, str]:
    response = client.get(url)
    assert response.status_code == 200 and "no-store" in response["Cache-Control"]
    return hidden(response)


FORM = {"name": "chat", "targets": "sim/m", "max_attempts": "5"}


def reviewed(client: Client, form: dict[str, str], url: str = "/edit/chat/edit/") -> dict[str, str]:
    """What the page would send back with *Publish*."""
    response = client.post(url, opened(client, url) | form)
    assert response.status_code == 200, text(response)
    return form | hidden(response) | {"publish": "1"}


def test_review_shows_the_diff_and_publishes_nothing(admin: Client) -> None:
    response = admin.post("/edit/chat/edit/", opened(admin) | FORM)
    page = text(response)
    assert "Review what proxies will get" in page and "compared with v1" in page
    assert re.search(r"max attempts</th>.*<del>3</del>.*<ins>5</ins>", page)
    assert Version.objects.count() == 1 and Route.objects.get().max_attempts == 3


def test_publish_does_it_with_reason_toast_and_undo(admin: Client) -> None:
    response = admin.post("/edit/chat/edit/", reviewed(admin, FORM) | {"reason": "because <b>"})
    assert (response.status_code, response["Location"]) == (302, "/done/chat/")
    version = Version.objects.first()
    assert version is not None and (version.number, version.reason, version.actor_name) == (2, "because <b>", "ada@example.test")
    assert Route.objects.get().max_attempts == 5
    toasts = text(admin.get("/proxies/"))
    assert "Route chat published" in toasts and 'action="/config/2/undo/"' in toasts
    assert AuditEvent.objects.filter(action="route.update", reason="because <b>").exists()
    assert admin.post("/config/2/undo/").status_code == 302
    assert Route.objects.get().max_attempts == 3 and Version.objects.count() == 3


def test_creating_has_no_revision_and_shows_the_new_object(admin: Client) -> None:
    form = {"name": "new", "targets": "sim/m", "max_attempts": "3"}
    response = admin.post("/edit/new/", opened(admin, "/edit/new/") | form)
    assert "New" in text(response) and "<b" in text(response)
    response = admin.post("/edit/new/", form | hidden(response) | {"publish": "1"})
    assert response["Location"] == "/done/new/"


def test_nothing_to_change_offers_no_publishing(admin: Client) -> None:
    response = admin.post("/edit/chat/edit/", opened(admin) | FORM | {"max_attempts": "3"})
    assert "Nothing changes" in text(response) and 'name="publish"' not in text(response)


@pytest.mark.parametrize(
    ("wrong", "words", "field"),
    [
        ({"max_attempts": "many"}, "Enter a whole number.", "max_attempts"),
        ({"max_attempts": "99"}, "use 1 to 8 attempts", "max_attempts"),
        ({"targets": "nobody/m"}, "there is no provider 'nobody'", "targets"),
        ({"targets": "sim/m sim/m"}, "is listed twice", "targets"),
        ({"targets": ""}, "This field is required.", "targets"),
    ],
)
def test_a_refusal_stands_beside_its_field_and_keeps_the_text(admin: Client, wrong: dict[str, str], words: str, field: str) -> None:
    response = admin.post("/edit/chat/edit/", opened(admin) | FORM | wrong)
    assert response.status_code == 400
    assert any(words in error for error in response.context["form"].errors[field])
    assert words in text(response) and next(iter(wrong.values())) in text(response)
    assert Version.objects.count() == 1
    again = admin.post("/edit/chat/edit/", FORM | hidden(response))
    assert again.status_code == 200, "mended in the same page"


def test_what_does_not_compile_is_refused_in_the_review(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    form = opened(admin) | FORM

    def does_not_compile(*args: Any, **kwargs: Any) -> Any:
        from apps.proxy.compiler import CompileError

        raise CompileError("routes", "x", "targets[0].model", "has no meaning")

    monkeypatch.setattr("apps.proxy.compiler.compile_config", does_not_compile)
    response = admin.post("/edit/chat/edit/", form)
    assert response.status_code == 400 and "has no meaning" in str(response.context["form"].errors["targets"])


def test_two_tabs_editing_one_thing(admin: Client) -> None:
    mine = reviewed(admin, FORM)
    route_update(actor=Actor.command("bob"), route=Route.objects.get(), max_attempts=6, reason="urgent")
    publish(actor=ACTOR)
    response = admin.post("/edit/chat/edit/", mine)
    page = text(response)
    assert response.status_code == 409 and "It changed while you were editing" in page
    assert "bob" in page and "urgent" in page and re.search(r"max attempts</b>: <del>3</del> → <ins>6</ins>", page)
    assert 'value="5"' in page, "what was typed is kept"
    assert Route.objects.get().max_attempts == 6
    response = admin.post("/edit/chat/edit/", FORM | hidden(response))
    assert re.search(r"<del>6</del>.*<ins>5</ins>", text(response)), "reviewed again, against what is there now"
    response = admin.post("/edit/chat/edit/", FORM | hidden(response) | {"publish": "1"})
    assert response.status_code == 302 and Route.objects.get().max_attempts == 5


def test_the_same_form_sent_twice_is_done_once(admin: Client) -> None:
    form = reviewed(admin, FORM)
    first, second = admin.post("/edit/chat/edit/", form), admin.post("/edit/chat/edit/", form)
    assert (first.status_code, first["Location"]) == (second.status_code, second["Location"]) == (302, "/done/chat/")
    assert Version.objects.count() == 2
    assert submissions_prune() == 0


@pytest.mark.django_db(transaction=True)
def test_the_same_form_sent_at_the_same_moment_is_done_once() -> None:
    installation_make()
    form_client = Client()
    form_client.force_login(User.objects.get(email="ada@example.test"))
    form = reviewed(form_client, {"name": "twice", "targets": "sim/m", "max_attempts": "3"}, "/edit/new/")
    start, answers = threading.Barrier(2), []

    def send() -> None:
        try:
            start.wait(timeout=60)
            client = Client()
            client.cookies = form_client.cookies
            answers.append(client.post("/edit/new/", form))
        finally:
            connections.close_all()

    threads = [threading.Thread(target=send) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(timeout=120)
    assert [answer["Location"] for answer in answers] == ["/done/twice/"] * 2
    assert AuditEvent.objects.filter(action="route.create", subject_name="twice").count() == 1


def test_what_was_changed_after_the_review_is_reviewed_again(admin: Client) -> None:
    response = admin.post("/edit/chat/edit/", reviewed(admin, FORM) | {"max_attempts": "7"})
    assert response.status_code == 200 and "You changed the form after the review" in text(response)
    assert re.search(r"<ins>7</ins>", text(response)) and Version.objects.count() == 1


def test_a_required_reason_is_required_on_the_server(admin: Client) -> None:
    form = reviewed(admin, FORM, "/edit/chat/reasoned/")
    response = admin.post("/edit/chat/reasoned/", form | {"reason": "   "})
    assert response.status_code == 400 and "this needs a reason" in text(response) and Version.objects.count() == 1
    assert admin.post("/edit/chat/reasoned/", form | {"reason": "now"}).status_code == 302


def test_a_restored_form_is_judged_by_nobody(admin: Client) -> None:
    form = opened(admin) | FORM | {"max_attempts": "8", "publish": "1", "restored": "1"}
    response = admin.post("/edit/chat/edit/", form)
    assert response.status_code == 200 and "everything you typed is here" in text(response)
    assert 'value="8"' in text(response) and Version.objects.count() == 1


def test_a_button_that_reshapes_the_form(admin: Client) -> None:
    response = admin.post("/edit/chat/edit/", opened(admin) | FORM | {"add": "1"})
    assert "sim/more" in text(response) and "Review what" not in text(response)


def test_a_row_that_went_away(admin: Client) -> None:
    form = opened(admin) | FORM
    Route.objects.all().delete()
    assert admin.post("/edit/chat/edit/", form).status_code == 404


def test_the_wrong_person(client: Client, viewer: Client) -> None:
    assert client.get("/edit/chat/edit/")["Location"].startswith("/login/?next=/edit/chat/edit/")
    for method in (viewer.get, viewer.post):
        response = method("/edit/chat/edit/")
        assert response.status_code == 403 and "route.change" in text(response)


def test_the_wrong_method(admin: Client) -> None:
    assert admin.put("/edit/chat/edit/").status_code == 405
    assert admin.get("/edit/chat/disable/").status_code == 405


def test_names_of_any_kind_are_escaped(admin: Client) -> None:
    name = "<script>alert(1)</script>"
    response = admin.post("/edit/new/", opened(admin, "/edit/new/") | FORM | {"name": name})
    assert response.status_code == 400 and "<script>alert" not in response.content.decode()
    admin.post("/edit/new/", opened(admin, "/edit/new/") | FORM | {"name": "x" * 300})
    admin.post("/edit/new/", opened(admin, "/edit/new/") | FORM | {"name": "\x00"})


def test_an_action_takes_a_reason_and_publishes(admin: Client, client: Client) -> None:
    assert admin.post("/edit/chat/disable/", {"reason": " "})["Location"] == "/done/chat/"
    assert Route.objects.get().enabled and "say why" in text(admin.get("/proxies/"))
    assert admin.post("/edit/chat/disable/", {"reason": "maintenance"}).status_code == 302
    assert not Route.objects.get().enabled and Version.objects.count() == 2
    assert admin.post("/edit/chat/disable/", {"reason": "again"}).status_code == 302
    assert Version.objects.count() == 2, "the second time changes nothing"


def test_undo_refuses_what_was_changed_since(admin: Client, page_of: Callable[[Client], str]) -> None:
    admin.post("/edit/chat/edit/", reviewed(admin, FORM))
    route_update(actor=ACTOR, route=Route.objects.get(), max_attempts=6)
    publish(actor=ACTOR)
    admin.post("/config/2/undo/")
    assert "was changed again since v2" in page_of(admin) and Route.objects.get().max_attempts == 6
    admin.post("/config/77/undo/")
    assert "no version 77" in page_of(admin)


@pytest.fixture
def page_of() -> Callable[[Client], str]:
    return lambda client: text(client.get("/proxies/"))
