from __future__ import annotations

from collections.abc import Callable

import pytest
from django.test import Client

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.providers.rules import EndpointSpec
from apps.providers.services import provider_ensure
from apps.routes.models import Route
from apps.routes.rules import TargetSpec
from apps.routes.services import route_ensure
from tests.people import client_of, member

EAST, WEST = TargetSpec("sim-east", "sim-chat"), TargetSpec("sim-west", "sim-chat")


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
    return lambda role="admin", organisation=demo: client_of(member(organisation, role))
