"""Checks against real loopback servers: states, events once per change, the credential sent and never shown."""

from __future__ import annotations

from collections.abc import Iterator
from http.server import ThreadingHTTPServer

import pytest

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.models import Event
from apps.providers import services
from apps.providers.models import ProviderCheck
from apps.providers.rules import EndpointSpec
from apps.providers.tasks import providers_check
from tests.serving import QuietHandler, serving

SECRET = "sk-live-2718281828"


class Upstream(ThreadingHTTPServer):
    status = 200
    seen: list[tuple[str, str | None]]


class Handler(QuietHandler):
    server: Upstream

    def do_GET(self) -> None:
        self.server.seen.append((self.path, self.headers.get("authorization")))
        self.send_response(self.server.status)
        if self.server.status == 302:
            self.send_header("location", "http://127.0.0.1:9/steal")
        self.send_header("content-length", "0")
        self.end_headers()


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    server = Upstream(("127.0.0.1", 0), Handler)
    server.seen = []
    with serving(server):
        yield server


def test_states_events_and_the_credential(organisation: Organisation, actor: Actor, upstream: Upstream) -> None:
    services.credential_set(actor=actor, organisation=organisation, name="c", value=SECRET)
    url = f"http://127.0.0.1:{upstream.server_port}/v1"
    provider = services.provider_ensure(
        actor=actor,
        organisation=organisation,
        name="p",
        kind="openai",
        endpoints=[EndpointSpec("default", url, credential="c")],
        allow_private_addresses=True,
    )
    endpoint = str(provider.endpoints.get().pk)
    for status, state in ((200, "up"), (200, "up"), (401, "refused"), (500, "failing"), (302, "failing"), (200, "up")):
        upstream.status = status
        assert providers_check() == {endpoint: state}
    row = ProviderCheck.objects.get()
    assert row.state == "up" and row.status == 200 and row.latency_us is not None and row.latency_us > 0
    assert {path for path, _ in upstream.seen} == {"/v1/models"} and len(upstream.seen) == 6
    assert {header for _, header in upstream.seen} == {f"Bearer {SECRET}"}
    events = list(Event.objects.filter(kind="provider.check").order_by("id"))
    assert [(event.data["from"], event.data["to"]) for event in events] == [
        ("", "up"),
        ("up", "refused"),
        ("refused", "failing"),
        ("failing", "up"),
    ]
    assert SECRET not in repr([event.data for event in events]) + row.detail
    services.provider_update(actor=actor, provider=provider, enabled=False)
    assert providers_check() == {}


def test_nobody_there(organisation: Organisation, actor: Actor, upstream: Upstream) -> None:
    port = upstream.server_port
    upstream.server_close()
    services.provider_ensure(
        actor=actor,
        organisation=organisation,
        name="p",
        kind="openai",
        allow_private_addresses=True,
        endpoints=[
            EndpointSpec("closed", f"http://127.0.0.1:{port}/v1"),
            EndpointSpec("no-ca", "https://127.0.0.1:1/v1", ca_file="/nonexistent/ca.pem"),
        ],
    )
    assert set(providers_check().values()) == {"down"}
    for row in ProviderCheck.objects.all():
        assert row.status is None and row.latency_us is None and row.detail


def test_a_credential_that_no_longer_opens_is_a_state_and_not_a_crash(
    organisation: Organisation, actor: Actor, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
) -> None:
    services.credential_set(actor=actor, organisation=organisation, name="c", value=SECRET)
    url = f"http://127.0.0.1:{upstream.server_port}/v1"
    services.provider_ensure(
        actor=actor,
        organisation=organisation,
        name="p",
        kind="openai",
        allow_private_addresses=True,
        endpoints=[EndpointSpec("sealed", url, credential="c"), EndpointSpec("open", url)],
    )
    monkeypatch.setenv("BULKHEAD_MASTER_KEY", "b3RoZXItbWFzdGVyLWtleS0zMi1ieXRlcy1sb25nLS0=")
    assert sorted(providers_check().values()) == ["refused", "up"]
    assert "BULKHEAD_MASTER_KEY" in ProviderCheck.objects.get(endpoint__name="sealed").detail
