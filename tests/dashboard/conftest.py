"""People, organisations and signed-in clients for the dashboard's tests."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from apps.accounts.models import Organisation, User
from tests.people import member


@pytest.fixture
def organisation(db: None) -> Organisation:
    return Organisation.objects.create(name="Demo", slug="demo-tests", simulated=True)


@pytest.fixture
def other(db: None) -> Organisation:
    return Organisation.objects.create(name="Other", slug="other-tests")


@pytest.fixture
def person(organisation: Organisation) -> User:
    return member(organisation, "viewer", email="ada@example.test")


@pytest.fixture
def page(person: User, client: Client) -> Callable[..., str]:
    """``page("/requests/?route=x")``: the text of a page that answers 200."""
    client.force_login(person)

    def get(url: str, **headers: str) -> str:
        response = client.get(url, headers=headers)
        assert response.status_code == 200, (url, response.status_code, response.content[:400])
        return response.content.decode()

    return get
