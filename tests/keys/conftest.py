from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.keys.models import VirtualKey
from apps.keys.services import key_create
from apps.providers.rules import EndpointSpec
from apps.providers.services import provider_ensure
from apps.routes.rules import TargetSpec
from apps.routes.services import route_ensure
from tests.people import client_of, member


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
    return lambda role="admin", organisation=demo: client_of(member(organisation, role))
