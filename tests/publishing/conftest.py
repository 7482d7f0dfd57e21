"""The table that stands for all apps' rows, in the test's transaction or, for tests that commit, for real."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.test import Client

from apps.accounts.models import Organisation, User
from apps.publishing import state
from tests.people import client_of, member
from tests.publishing.installation import installation_make
from tests.publishing.rows import create_table, drop_table


@pytest.fixture
def rows(db: None) -> None:
    create_table()


@pytest.fixture
def committed_rows(transactional_db: None) -> Iterator[None]:
    create_table()
    yield
    drop_table()


@pytest.fixture(autouse=True)
def _cold_cache() -> None:
    state.remember(state.ConfigState())


@pytest.fixture
def main(db: None) -> Organisation:
    """Organisation ``main`` with a provider and a route, published as v1, and an admin and a viewer."""
    return installation_make()


@pytest.fixture
def admin(main: Organisation) -> Client:
    """A signed-in admin of ``main``."""
    return client_of(User.objects.get(email="ada@example.test"))


@pytest.fixture
def viewer(main: Organisation) -> Client:
    """A signed-in viewer of ``main``."""
    return client_of(User.objects.get(email="vic@example.test"))


@pytest.fixture
def outsider(main: Organisation) -> Client:
    """An admin of another organisation, who has no say in the installation."""
    return client_of(member(Organisation.objects.create(name="Other", slug="other"), email="olga@example.test"))
