"""Signed-in people of a small installation, for tests of pages."""

from __future__ import annotations

import pytest
from django.test import Client

from apps.accounts.models import Membership, Organisation, User
from apps.accounts.services import organisation_ensure, user_create_first_admin
from apps.audit.actors import Actor
from tests.people import client_of, member

PASSWORD = "correct horse battery"


@pytest.fixture
def ada(db: None) -> User:
    """The first admin, of ``main`` and of the simulated ``demo``."""
    user = user_create_first_admin(actor=Actor.command("test"), email="ada@example.com", password=PASSWORD)
    organisation_ensure(actor=Actor.command("test"), slug="demo", name="Demo", simulated=True)
    return user


@pytest.fixture
def admin(ada: User) -> Client:
    """Ada, signed in through the page."""
    client = Client()
    assert client.post("/login/", {"email": ada.email, "password": PASSWORD}).status_code == 302
    return client


@pytest.fixture
def vic(ada: User) -> User:
    """A viewer of ``main``."""
    user = User(email="vic@example.com", name="Vic")
    user.set_password(PASSWORD)
    user.save()
    Membership.objects.create(user=user, organisation=Organisation.objects.get(slug="main"), role="viewer")
    return user


@pytest.fixture
def viewer(vic: User) -> Client:
    """Vic, signed in through the page."""
    client = Client()
    assert client.post("/login/", {"email": vic.email, "password": PASSWORD}).status_code == 302
    return client


@pytest.fixture
def outsider(ada: User) -> Client:
    """An admin of another organisation only."""
    return client_of(member(Organisation.objects.create(name="Other", slug="other"), email="olga@example.com"))
