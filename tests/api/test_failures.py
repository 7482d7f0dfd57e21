"""Whatever fails has one shape, also what fails before or around any view."""

from __future__ import annotations

from typing import Any

import pytest
from django.db import OperationalError
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from apps.accounts.api import authentication, throttling
from apps.accounts.api import views as api_views
from apps.accounts.models import Organisation, User
from apps.audit.actors import Actor
from apps.keys.services import key_create
from apps.ui import outage
from tests.api.conftest import Caller, failure

KEYS = "organisations/main/keys/"


def test_who_is_not_known(db: None) -> None:
    response = Caller().get("me/")
    failure(response, 401, "not_authenticated")
    assert response["WWW-Authenticate"].startswith("Bearer")
    failure(Caller("bkp_nonsense").get("me/"), 401, "token_invalid")
    failure(Caller().get("no/such/place/"), 401, "not_authenticated")


def test_what_is_not_there_or_not_allowed(admin: Caller) -> None:
    failure(admin.get("no/such/place/"), 404, "not_found")
    assert "slash" in failure(admin.get("me"), 404, "not_found")["message"]
    failure(admin.get("organisations/nowhere/keys/"), 404, "not_found")
    failure(admin.get(f"{KEYS}nobody/"), 404, "not_found")
    failure(admin("put", "me/", {}), 405, "method_not_allowed")
    failure(admin.get("me/", Accept="text/turtle"), 406, "not_acceptable")


def test_bodies_that_cannot_be_read(admin: Caller, settings: Any) -> None:
    failure(admin.post(KEYS, b"{"), 400, "malformed_json")
    failure(admin.post(KEYS, b"[]"), 400, "invalid")
    failure(admin.post(KEYS, b'{"name": NaN}'), 400, "malformed_json")
    form = admin.client.post("/api/v1/" + KEYS, {"name": "x"}, headers=admin.headers)
    failure(form, 415, "unsupported_media_type")
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 50
    failure(admin.post(KEYS, {"name": "x" * 60}), 413, "too_large")


def test_every_field_that_is_wrong_is_named(admin: Caller) -> None:
    error = failure(admin.post(KEYS, {"environment": "moon", "expires_at": "soon"}), 400, "invalid")
    assert {row["field"] for row in error["details"]["fields"]} == {"name", "environment", "expires_at"}


def test_a_cursor_that_nobody_gave_out(admin: Caller) -> None:
    for cursor in ("nonsense", "cD1ub3RhdXVpZA==", "bz0tMQ==", "%00"):
        for path in (KEYS, "config/versions/"):
            response = admin.get(f"{path}?cursor={cursor}")
            assert response.status_code == 200 or failure(response, 400, "invalid")["field"] == "cursor"


def test_pages_hold_everything_once(admin: Caller, organisation: Organisation, actor: Actor) -> None:
    for n in range(5):
        key_create(actor=actor, organisation=organisation, name=f"key-{n}")
    seen, where = [], f"{KEYS}?limit=2"
    while where:
        page = admin.get(where.partition("testserver")[2] or where).json()
        seen += [row["name"] for row in page["items"]]
        where = page["next"]
    assert seen == [f"key-{n}" for n in range(5)]


def test_too_many_calls(admin: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr(throttling, "CALLS", throttling.Rate(per_minute=60, burst=3, clock=lambda: now[0]))
    assert [admin.get("me/").status_code for _ in range(4)] == [200, 200, 200, 429]
    response = admin.get("me/")
    assert failure(response, 429, "too_many_requests")["details"]["retry_after"] == int(response["Retry-After"]) == 1
    now[0] += 1
    assert admin.get("me/").status_code == 200


@given(gaps=st.lists(st.floats(min_value=0, max_value=20, allow_nan=False), max_size=60), burst=st.integers(1, 10))
def test_never_more_than_the_burst_and_the_rate(gaps: list[float], burst: int) -> None:
    now = [0.0]
    rate = throttling.Rate(per_minute=60, burst=burst, clock=lambda: now[0])
    taken: list[float] = []
    for gap in gaps:
        now[0] += gap
        wait = rate.take("one")
        if wait == 0:
            taken.append(now[0])
    for at, start in enumerate(taken):
        for after, end in enumerate(taken[at:]):
            assert after + 1 <= burst + (end - start) + 1e-6


def test_the_database_is_away(admin: Caller, monkeypatch: pytest.MonkeyPatch, ada: User) -> None:
    def away(*_: Any, **__: Any) -> None:
        raise OperationalError("connection refused")

    monkeypatch.setattr(outage, "_since", None)  # and as it was afterwards
    monkeypatch.setattr(authentication, "token_find", away)
    response = admin.get("me/")
    failure(response, 503, "database_unavailable")
    assert response["Retry-After"] == "5"
    client = Client(raise_request_exception=False)
    client.force_login(ada)
    monkeypatch.setattr("apps.accounts.middleware.session_seen", away)
    session = client.session
    session["seen"] = 1
    session.save()
    failure(client.get("/api/v1/me/"), 503, "database_unavailable")


def test_a_bug_says_nothing_but_where_to_look(admin: Caller, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(api_views, "permission_require", broken)
    error = failure(admin.get("audit/"), 500, "internal")
    assert "secret" not in str(error)


def test_a_session_needs_its_csrf_token(ada: User) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(ada)
    assert client.get("/api/v1/me/").json()["token"] is None
    response = client.post("/api/v1/" + KEYS, {"name": "x"}, content_type="application/json")
    failure(response, 403, "csrf_failed")
    client.cookies["csrftoken"] = token = "a" * 32
    response = client.post("/api/v1/" + KEYS, {"name": "x"}, content_type="application/json", headers={"X-CSRFToken": token})
    assert response.status_code == 201


def test_a_host_that_is_not_served(db: None, settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["testserver"]
    failure(Client().get("/api/v1/me/", headers={"Host": "evil.example"}), 400, "invalid")
