"""What goes wrong is said with what to do: who can give a permission, under which id the log has it, what is away and what goes on."""

from __future__ import annotations

import logging
from html import unescape
from unittest import mock

import pytest
from django.conf import LazySettings
from django.db import OperationalError
from django.http import HttpResponse
from django.test import Client
from psycopg import errors as postgres

from apps.accounts.models import Membership, Organisation, User
from apps.dashboard import redis_watch
from apps.publishing.models import ProxyProcess
from apps.ui.requestid import RequestIdFilter
from tests.publishing.installation import installation_make, proxy_make


@pytest.fixture
def viewer(db: None) -> Client:
    installation_make()
    client = Client(raise_request_exception=False)
    client.force_login(User.objects.get(email="vic@example.test"))
    return client


def text(response: HttpResponse) -> str:
    return unescape(response.content.decode())


def test_403_names_the_permission_and_who_can_give_it(viewer: Client) -> None:
    response = viewer.get("/config/1/rollback/")
    assert response.status_code == 403 and "config.rollback" in text(response) and "ada@example.test" in text(response)
    User.objects.filter(email="ada@example.test").update(is_active=False)
    assert "ada@example.test" not in text(viewer.get("/config/1/rollback/"))


def test_403_of_an_organisation_names_its_own_admins_first(viewer: Client) -> None:
    other = Organisation.objects.create(name="Other <b>", slug="other")
    for email, role in (("vic@example.test", "viewer"), ("own@example.test", "admin")):
        user, _ = User.objects.get_or_create(email=email)
        Membership.objects.create(user=user, organisation=other, role=role)
    page = text(viewer.post("/settings/organisation/?org=other", {"name": "x"}))
    assert page.index("own@example.test") < page.index("ada@example.test")


def test_404_says_what_and_leads_up(viewer: Client) -> None:
    response = viewer.get("/config/99/")
    assert response.status_code == 404 and "There is no version 99." in text(response) and 'href="/config/"' in text(response)
    assert b"<script>" not in viewer.get("/no/<script>alert(1)</script>/").content


def test_500_shows_the_id_that_the_log_has(viewer: Client, caplog: pytest.LogCaptureFixture) -> None:
    caplog.handler.addFilter(RequestIdFilter())
    with mock.patch("apps.publishing.views.History", side_effect=ValueError("broken")), caplog.at_level(logging.ERROR):
        response = viewer.get("/config/")
    found = response["X-Request-Id"]
    assert response.status_code == 500 and len(found) == 16 and found in text(response)
    assert any(getattr(record, "request_id", "") == f"[{found}] " for record in caplog.records)
    assert viewer.get("/config/", headers={"X-Request-Id": "mine"})["X-Request-Id"] not in ("mine", found)


def test_a_deadlock_is_this_page_s_failure_and_not_an_outage(viewer: Client) -> None:
    refused = OperationalError("deadlock detected")
    refused.__cause__ = postgres.DeadlockDetected()
    with mock.patch("apps.publishing.views.History", side_effect=refused):
        assert viewer.get("/config/").status_code == 500
    gone = OperationalError("terminating connection")
    gone.__cause__ = postgres.AdminShutdown()
    with mock.patch("apps.publishing.views.History", side_effect=gone):
        page = viewer.get("/config/")
    assert page.status_code == 503 and "proxies answer from their last good configuration" in text(page)


def test_proxies_that_are_silent_are_a_banner_and_none_at_all_is_not(viewer: Client) -> None:
    assert "No proxy has been heard of" not in text(viewer.get("/config/"))
    proxy_make("a", 1, seen_seconds_ago=900)
    proxy_make("b", 1, seen_seconds_ago=600)
    assert "No proxy has been heard of" in text(viewer.get("/config/"))
    proxy_make("c", 1)
    assert "No proxy has been heard of" not in text(viewer.get("/config/"))
    assert ProxyProcess.objects.count() == 3


def test_redis_away_is_a_banner_with_since_when(viewer: Client, settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_watch, "_state", redis_watch.RedisState(watched=False))
    monkeypatch.setattr(redis_watch, "_asked_at", -1e9)
    assert "Redis does not answer" not in text(viewer.get("/config/"))
    settings.REDIS_WATCHED = "redis://127.0.0.1:1/0"
    page = text(viewer.get("/config/"))
    assert "Redis does not answer" in page and "Apps' requests go on" in page
    first = redis_watch.redis_state(fresh=True).since
    assert first is not None and redis_watch.redis_state(fresh=True).since == first, "since the first time, not the last"


def test_a_redis_that_is_back_is_no_banner(redis_server: object, settings: LazySettings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redis_watch, "_state", redis_watch.RedisState(True, None))
    settings.REDIS_WATCHED = redis_server.url  # type: ignore[attr-defined]
    assert not redis_watch.redis_state(fresh=True).away and redis_watch.redis_state().version
    redis_server.kill()  # type: ignore[attr-defined]
    assert redis_watch.redis_state(fresh=True).away
    redis_server.start()  # type: ignore[attr-defined]
    settings.REDIS_WATCHED = redis_server.url  # type: ignore[attr-defined]
    assert not redis_watch.redis_state(fresh=True).away
