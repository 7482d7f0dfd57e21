from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from apps.accounts.models import Membership, Organisation, User
from apps.accounts.services import organisation_ensure
from apps.audit.actors import Actor
from apps.providers.rules import EndpointSpec
from apps.providers.services import provider_ensure
from apps.routes.models import Route
from apps.routes.rules import TargetSpec
from apps.routes.services import route_ensure

EAST, WEST = TargetSpec("sim-east", "sim-chat"), TargetSpec("sim-west", "sim-chat")


@pytest.fixture
def actor() -> Actor:
    return Actor.command("test")


@pytest.fixture
def organisation(db: None, actor: Actor) -> Organisation:
    return organisation_ensure(actor=actor, slug="main", name="Main")


@pytest.fixture
def demo(db: None, actor: Actor) -> Organisation:
    """An organisation with two simulated providers."""
    demo = Organisation.objects.create(name="Demo", slug="demo-tests", simulated=True)
    for name in ("sim-east", "sim-west"):
        endpoint = EndpointSpec(name="main", base_url=f"https://{name}.example.test/v1")
        provider_ensure(actor=actor, organisation=demo, name=name, kind="openai", endpoints=[endpoint], simulated=True)
    return demo


@pytest.fixture
def route(demo: Organisation, actor: Actor) -> Route:
    return route_ensure(actor=actor, organisation=demo, name="demo-chat", targets=[EAST, WEST], aliases=["chat"])


@pytest.fixture
def signed_in(demo: Organisation) -> Callable[..., Client]:
    """``signed_in("viewer")``: the client of a person with that role in the demo organisation."""

    def sign_in(role: str = "admin", organisation: Organisation = demo) -> Client:
        user = User.objects.create(email=f"{role}-{organisation.slug}@example.test")
        Membership.objects.create(user=user, organisation=organisation, role=role)
        client = Client()
        client.force_login(user)
        return client

    return sign_in
