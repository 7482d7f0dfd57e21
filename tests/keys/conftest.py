from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from apps.accounts.models import Membership, Organisation, User
from apps.accounts.services import organisation_ensure
from apps.audit.actors import Actor
from apps.keys.models import VirtualKey
from apps.keys.services import key_create
from apps.providers.rules import EndpointSpec
from apps.providers.services import provider_ensure
from apps.routes.rules import TargetSpec
from apps.routes.services import route_ensure


@pytest.fixture
def actor() -> Actor:
    return Actor.command("test")


@pytest.fixture
def organisation(db: None, actor: Actor) -> Organisation:
    return organisation_ensure(actor=actor, slug="main", name="Main")


@pytest.fixture
def demo(db: None, actor: Actor) -> Organisation:
    """An organisation with two routes."""
    demo = Organisation.objects.create(name="Demo", slug="demo-tests", simulated=True)
    endpoint = EndpointSpec(name="main", base_url="https://sim.example.test/v1")
    provider_ensure(actor=actor, organisation=demo, name="sim", kind="openai", endpoints=[endpoint], simulated=True)
    for name in ("demo-chat", "demo-embed"):
        route_ensure(actor=actor, organisation=demo, name=name, targets=[TargetSpec("sim", name)])
    return demo


@pytest.fixture
def key(demo: Organisation, actor: Actor) -> VirtualKey:
    return key_create(actor=actor, organisation=demo, name="app", feature="search", tags=["beta"])[0]


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
