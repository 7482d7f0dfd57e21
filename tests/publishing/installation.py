"""A small installation through the real services: what tests of pages stand on."""

from __future__ import annotations

from datetime import timedelta

from django.utils import timezone

from apps.accounts.models import Organisation
from apps.accounts.services import organisation_ensure
from apps.audit.actors import Actor
from apps.contracts.identifiers import uuid7
from apps.providers.rules import EndpointSpec
from apps.providers.services import provider_ensure
from apps.publishing.models import ProxyProcess
from apps.publishing.services import publish
from apps.routes.models import Route
from apps.routes.rules import TargetSpec
from apps.routes.services import route_ensure
from tests.people import member

ACTOR = Actor.command("test")


def installation_make() -> Organisation:
    """Organisation ``main`` with provider ``sim`` and route ``chat``, published as v1; Ada (admin) and Vic (viewer)."""
    organisation = organisation_ensure(actor=ACTOR, slug="main", name="Main")
    endpoint = EndpointSpec("a", "https://api.openai.com/v1")
    provider_ensure(actor=ACTOR, organisation=organisation, name="sim", kind="openai", endpoints=[endpoint])
    route_make(organisation, "chat")
    publish(actor=ACTOR, reason="the first config")
    for email, role in (("ada@example.test", "admin"), ("vic@example.test", "viewer")):
        member(organisation, role, email=email)
    return organisation


def route_make(organisation: Organisation, name: str, **changes: object) -> Route:
    """A route to the provider, not published yet."""
    return route_ensure(actor=ACTOR, organisation=organisation, name=name, targets=[TargetSpec("sim", "m")], **changes)  # type: ignore[arg-type]


def proxy_make(name: str, version: int, *, seen_seconds_ago: float = 0, state: str = "ready") -> ProxyProcess:
    """A proxy process that said it runs ``version``."""
    now = timezone.now()
    return ProxyProcess.objects.create(
        boot_id=uuid7(), name=name, host="h", pid=1, public_url="", admin_url="", state=state, detail={}, version=version, acked_at=now,
        registered_at=now, last_seen_at=now - timedelta(seconds=seen_seconds_ago),
    )  # fmt: skip
