"""A pasted id finds its request, for people of its organisation only, and anything else asks the database nothing."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.accounts.models import Organisation, User
from apps.contracts.identifiers import uuid7
from apps.dashboard.palette import requests_for_palette
from apps.usage.models import UsageRequest
from tests.dashboard.generate import usage_generate


def test_a_pasted_id_finds_its_request(person: User, organisation: Organisation) -> None:
    usage_generate(organisation=organisation, count=3)
    record = UsageRequest.objects.filter(organisation=str(organisation.pk)).first()
    assert record is not None
    with CaptureQueriesContext(connection) as queries:
        (hit,) = requests_for_palette(person, str(record.id), 6)
    assert len(queries) == 2 and hit.url == f"/requests/{record.id}/"


def test_another_organisations_request_is_not_there(person: User, other: Organisation) -> None:
    usage_generate(organisation=other, count=3)
    record = UsageRequest.objects.filter(organisation=str(other.pk)).first()
    assert record is not None and requests_for_palette(person, str(record.id), 6) == []


@pytest.mark.parametrize("query", ["", "chat", "019a4c1e", "not-a-uuid-at-all-not-a-uuid-at-all"])
def test_what_is_no_id_asks_nothing(person: User, query: str) -> None:
    with CaptureQueriesContext(connection) as queries:
        assert requests_for_palette(person, query, 6) == []
    assert len(queries) == 0


def test_an_id_of_nothing_finds_nothing(person: User) -> None:
    assert requests_for_palette(person, str(uuid7()), 6) == []
