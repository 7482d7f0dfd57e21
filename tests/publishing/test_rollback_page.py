"""Rolling back through its page: measured, asked why, done once, shown as it spreads; and every way it is refused."""

from __future__ import annotations

import re
from html import unescape

import pytest
from django.db import connection
from django.http import HttpResponse
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.accounts.models import Organisation
from apps.publishing.models import FragmentRow, Version
from apps.publishing.services import publish
from apps.routes.models import Route
from apps.routes.services import route_update
from tests.publishing.installation import ACTOR, proxy_make, route_make

URL = "/config/1/rollback/"


@pytest.fixture(autouse=True)
def _two_versions(main: Organisation) -> None:
    route_update(actor=ACTOR, route=Route.objects.get(), max_attempts=5)
    publish(actor=ACTOR, reason="second")
    proxy_make("front", 2)
    proxy_make("back", 2)


def text(response: HttpResponse) -> str:
    return unescape(response.content.decode())


def form_of(response: HttpResponse) -> dict[str, str]:
    pairs = re.findall(r'<input type="hidden" name="(revision|submission|reviewed|publish)" value="([^"]*)">', response.content.decode())
    return {name: unescape(value) for name, value in pairs}


def test_it_is_measured_and_asks_with_verb_and_object(admin: Client) -> None:
    response = admin.get(URL)
    page = text(response)
    assert response.status_code == 200 and "Roll back the config to v1?" in page and "<dialog" in page
    assert "1 object changes on 2 proxies" in page and "Captures, credentials and keys stay as they are" in page
    assert "<del>5</del>" in page and "<ins>3</ins>" in page
    assert Version.objects.count() == 2 and Route.objects.get().max_attempts == 5


def test_it_is_done_once_with_its_reason(admin: Client) -> None:
    form = form_of(admin.get(URL)) | {"reason": "v2 is slow"}
    response = admin.post(URL, form)
    assert (response.status_code, response["Location"]) == (302, "/config/3/")
    version = Version.objects.first()
    assert version is not None and (version.restores, version.reason, version.actor_name) == (1, "v2 is slow", "ada@example.test")
    assert Route.objects.get().max_attempts == 3
    page = text(admin.get("/config/3/"))
    assert "0 of 2 have it" in page and "Rolled back to v1, published as v3" in page and "Brings back" in page
    again = admin.post(URL, form)
    assert again["Location"] == "/config/3/" and Version.objects.count() == 3
    assert admin.post("/config/3/undo/").status_code == 302 and Route.objects.get().max_attempts == 5


def test_without_a_reason_nothing_happens(admin: Client) -> None:
    response = admin.post(URL, form_of(admin.get(URL)) | {"reason": "  "})
    assert response.status_code == 400 and "say why" in text(response) and Version.objects.count() == 2


def test_what_somebody_published_meanwhile_is_measured_again(admin: Client, main: Organisation) -> None:
    form = form_of(admin.get(URL)) | {"reason": "why"}
    route_make(main, "meanwhile")
    publish(actor=ACTOR)
    response = admin.post(URL, form)
    assert response.status_code == 409 and "Somebody published meanwhile" in text(response)
    assert Version.objects.count() == 3 and Route.objects.filter(name="meanwhile").exists()


def test_what_cannot_come_back_is_refused_whole_and_said(admin: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    from apps.audit.errors import ServiceError

    def refuse(**kwargs: object) -> None:
        raise ServiceError("Nothing was rolled back. The <b>provider</b> is gone.")

    form = form_of(admin.get(URL)) | {"reason": "why"}
    monkeypatch.setattr("apps.publishing.views.rollback", refuse)
    response = admin.post(URL, form)
    assert response.status_code == 400 and "The <b>provider</b> is gone." in text(response) and "rollback-dialog" not in text(response)
    assert b"The <b>provider" not in response.content and Version.objects.count() == 2


def test_what_cannot_be_read_any_more_is_said_before_anything_is_asked(admin: Client) -> None:
    with connection.cursor() as cursor:
        cursor.execute(f"UPDATE {FragmentRow._meta.db_table} SET body = 'no fragment' WHERE section = 'routes' AND version = 1")
    response = admin.get(URL)
    assert response.status_code == 400 and "cannot be read any more" in text(response) and "rollback-dialog" not in text(response)


def test_looking_neither_locks_publishing_nor_asks_more_for_more_objects(admin: Client, main: Organisation) -> None:
    def asked() -> list[str]:
        with CaptureQueriesContext(connection) as queries:
            admin.get(URL)
        return [query["sql"] for query in queries]

    before = asked()
    for at in range(30):
        route_make(main, f"more-{at}")
    publish(actor=ACTOR)
    asked()  # reads the new version once
    after = asked()
    assert len(after) <= len(before) <= 12 and not any("pg_advisory" in sql or sql.startswith(("INSERT", "UPDATE")) for sql in after)
    assert "31 objects change" in text(admin.get(URL))


def test_the_running_version_has_nothing_to_bring_back(admin: Client) -> None:
    assert "proxies already run what v2 says" in text(admin.get("/config/2/rollback/"))


def test_the_wrong_person_method_and_version(admin: Client, viewer: Client, outsider: Client) -> None:
    for client in (viewer, outsider):
        assert client.get(URL).status_code == client.post(URL).status_code == 403
    assert Client().post(URL).status_code in (302, 401)
    assert admin.put(URL).status_code == 405
    assert admin.get("/config/77/rollback/").status_code == admin.post("/config/77/rollback/").status_code == 404
    assert Version.objects.count() == 2
