"""People, providers whose models packages know, and one that serves a list of models of our own."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from typing import Any

import pytest
from django.test import Client

from apps.accounts.models import Organisation, User
from apps.audit.actors import Actor
from apps.providers.models import Provider
from apps.providers.rules import EndpointSpec
from apps.providers.services import provider_ensure
from apps.routes.resilience import TargetSpec
from apps.routes.services import route_ensure
from tests.people import member
from tests.serving import QuietHandler, serving


class Upstream(ThreadingHTTPServer):
    """Answers with ``told``: path -> (status, document), anything else with 404."""

    told: dict[str, tuple[int, Any]]
    seen: list[str]


class _Handler(QuietHandler):
    server: Upstream

    def do_GET(self) -> None:
        self.server.seen.append(self.path)
        status, document = self.server.told.get(self.path, (404, {"error": {"message": "not here"}}))
        body = document if isinstance(document, bytes) else json.dumps(document).encode()
        self.send_response(status)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    server = Upstream(("127.0.0.1", 0), _Handler)
    server.told, server.seen = {}, []
    with serving(server):
        yield server


@pytest.fixture
def admin(organisation: Organisation) -> User:
    return member(organisation, email="ada@example.test")


@pytest.fixture
def viewer(organisation: Organisation) -> User:
    return member(organisation, "viewer", email="vic@example.test")


@pytest.fixture
def signed(client: Client, admin: User) -> Client:
    client.force_login(admin)
    return client


@pytest.fixture
def openai(organisation: Organisation, actor: Actor) -> Provider:
    """A provider whose models packages know."""
    endpoint = EndpointSpec("default", "https://api.openai.com/v1", region="us")
    return provider_ensure(actor=actor, organisation=organisation, name="openai", kind="openai", endpoints=[endpoint])


Serve = Callable[..., Provider]


@pytest.fixture
def serve(organisation: Organisation, actor: Actor, upstream: Upstream) -> Serve:
    """A provider at the loopback server, whose list is the rows given."""

    def made(*rows: dict[str, Any], name: str = "local", kind: str = "openai") -> Provider:
        upstream.told["/v1/models"] = (200, {"object": "list", "data": list(rows)})
        return provider_ensure(
            actor=actor,
            organisation=organisation,
            name=name,
            kind=kind,
            endpoints=[EndpointSpec("default", f"http://127.0.0.1:{upstream.server_port}/v1")],
            allow_private_addresses=True,
        )

    return made


def routed(actor: Actor, organisation: Organisation, provider: Provider, model: str, name: str = "chat", **facts: Any) -> None:
    """A route that targets a model."""
    route_ensure(actor=actor, organisation=organisation, name=name, targets=[TargetSpec(provider=provider.name, model=model)], **facts)
