"""Versions and people in the command palette: found by those who may see them, in one query each."""

from __future__ import annotations

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from apps.accounts.models import Membership, Organisation, User
from apps.accounts.palette import people_for_palette
from apps.publishing.palette import versions_for_palette


@pytest.fixture
def outside(main: Organisation) -> User:
    user = User.objects.create(email="olga@example.test")
    Membership.objects.create(user=user, organisation=Organisation.objects.create(name="Other", slug="other"), role="admin")
    return user


@pytest.mark.parametrize("query", ["v1", "1", "FIRST"])
def test_versions(main: Organisation, outside: User, query: str) -> None:
    user = User.objects.get(email="vic@example.test")
    with CaptureQueriesContext(connection) as queries:
        (hit,) = versions_for_palette(user, query, 6)
    assert (hit.title, hit.url, len(queries)) == ("Config v1", "/config/1/", 1)
    assert versions_for_palette(outside, query, 6) == []


def test_odd_queries(main: Organisation) -> None:
    user = User.objects.get(email="vic@example.test")
    for query in ("9" * 40, "%_\\", "<script>", "v", "١"):
        assert versions_for_palette(user, query, 6) == [] or query == "v"
        people_for_palette(user, query, 6)


def test_people(main: Organisation, outside: User) -> None:
    user = User.objects.get(email="vic@example.test")
    with CaptureQueriesContext(connection) as queries:
        (hit,) = people_for_palette(user, "ADA exam", 6)
    assert (hit.title, hit.subtitle, len(queries)) == ("ada@example.test", "Ada", 1)
    assert people_for_palette(outside, "ada", 6) == []
    assert len(people_for_palette(user, "example", 2)) == 2
