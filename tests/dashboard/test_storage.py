"""The page of storage: what takes room, for how long it is kept, who may change that."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.accounts.models import Organisation
from apps.accounts.services import organisation_ensure
from apps.audit.actors import Actor
from apps.usage import storage
from apps.usage.retention import Retention, retention
from tests.dashboard.test_boards import COUNTS
from tests.people import client_of, member

URL = "/settings/storage/"
KEPT = {"request_days": "30", "minute_days": "90", "hour_days": "730"}


@pytest.fixture
def main(db: None, actor: Actor, monkeypatch: pytest.MonkeyPatch) -> Organisation:
    monkeypatch.delenv("BULKHEAD_USAGE_RETENTION_DAYS", raising=False)
    return organisation_ensure(actor=actor, slug="main", name="Main")


@pytest.fixture
def admin(main: Organisation) -> Client:
    return client_of(member(main))


def test_sizes_growth_and_forecast_are_told(admin: Client) -> None:
    text = admin.get(URL).content.decode()
    assert "Requests, one by one" in text and "Growth is told once 3 days were measured" in text
    with connection.cursor() as cursor:
        for ago in range(5):
            for name, (size, rows) in storage.sizes_now().items():
                cursor.execute("INSERT INTO usage_storage VALUES (current_date - %s, %s, %s, %s)", [ago, name, size - ago * 2**20, rows])
    with CaptureQueriesContext(connection) as queries:
        text = admin.get(URL).content.decode()
    assert len(queries) <= COUNTS[URL] <= 12, [query["sql"][:140] for query in queries]
    assert "1.0\u202fMiB a day" in text and "figure-storage" in text and "Growth is told once" not in text


def test_keeping_less_takes_a_reason_and_a_word(admin: Client) -> None:
    assert admin.post(URL, {**KEPT, "request_days": "60"}).status_code == 302
    less = {**KEPT, "request_days": "7"}
    for more, says in (
        ({}, "say why less is kept"),
        ({"reason": "room"}, "older than 7 days"),
        ({"reason": "room", "confirmation": "yes"}, "for good"),
    ):
        response = admin.post(URL, {**less, **more})
        assert response.status_code == 400 and says in response.content.decode()
    assert retention() == Retention(60, 90, 730)
    assert admin.post(URL, {**less, "reason": "room", "confirmation": "Delete"}).status_code == 302
    assert retention().request_days == 7
    assert admin.post(URL, {**KEPT, "hour_days": "12"}).status_code == 400


def test_who_may_look_may_not_change(main: Organisation) -> None:
    auditor = client_of(member(main, "auditor"))
    text = auditor.get(URL).content.decode()
    assert "An admin of the installation can change it" in text and 'name="request_days"' not in text
    assert auditor.post(URL, {**KEPT, "request_days": "60"}).status_code == 403
    assert client_of(member(main, "viewer")).get(URL).status_code == 403
