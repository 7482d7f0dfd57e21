"""The table that stands for all apps' rows, in the test's transaction or, for tests that commit, for real."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.test import Client

from apps.accounts.models import Membership, Organisation, User
from apps.publishing import state
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
def admin(main: Organisation, client: Client) -> Client:
    """A signed-in admin of ``main``."""
    client.force_login(User.objects.get(email="ada@example.test"))
    return client


@pytest.fixture
def viewer(main: Organisation) -> Client:
    """A signed-in viewer of ``main``."""
    client = Client()
    client.force_login(User.objects.get(email="vic@example.test"))
    return client


@pytest.fixture
def outsider(main: Organisation) -> Client:
    """An admin of another organisation, who has no say in the installation."""
    user = User.objects.create(email="olga@example.test")
    Membership.objects.create(user=user, organisation=Organisation.objects.create(name="Other", slug="other"), role="admin")
    client = Client()
    client.force_login(user)
    return client
