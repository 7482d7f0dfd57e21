from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from django.db import models
from django.test import Client
from django.utils import timezone

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.contracts.histogram import index_of
from apps.flags.models import Flag
from apps.flags.services import flag_set
from apps.providers.prices import prices_set
from apps.providers.rules import EndpointSpec, PriceSpec
from apps.providers.services import provider_ensure
from apps.publishing.services import publish
from apps.routes.models import Route
from apps.routes.rules import TargetSpec
from apps.routes.services import route_ensure
from apps.usage.models import UsageRollup10s
from tests.people import client_of, member


@dataclass
class Switches:
    """An organisation with a route from east to west by the flag ``chat-fallback``, and a stop for east."""

    organisation: Organisation
    route: Route
    fallback: Flag
    stop: Flag

    def work(
        self, provider: str, requests: int, *, cost: int = 0, ttft_ms: float = 100, at: datetime | None = None, route: str = "chat"
    ) -> None:
        """Requests that a target answered, in one bucket of ten seconds (ten minutes ago, where ``at`` is not said)."""
        when = at or timezone.now() - timedelta(minutes=10)
        histogram = {str(index_of(ttft_ms * 1000)): requests}
        known: dict[str, Any] = {
            "bucket": when.replace(second=when.second // 10 * 10, microsecond=0), "dimensions": uuid4(), "simulated": True,
            "organisation": str(self.organisation.pk), "route": route, "provider": provider, "endpoint": "main", "model": "m",
            "requests": requests, "ok": requests, "attempts": requests, "tokens_input": 100 * requests, "tokens_output": 10 * requests,
            "cost_nano": cost, "total_us": 500_000 * requests, "h_total": histogram, "h_first_token": histogram,
        }  # fmt: skip
        for column in UsageRollup10s._meta.concrete_fields:
            known.setdefault(column.name, {} if isinstance(column, models.JSONField) else 0)
        UsageRollup10s.objects.create(**known)


@pytest.fixture
def switches(db: None, actor: Actor) -> Switches:
    organisation = Organisation.objects.create(name="Flips", slug="flips", simulated=True)
    for name, price in (("east", 1), ("west", 2)):
        endpoint = EndpointSpec(name="main", base_url=f"https://{name}.example.test/v1")
        provider = provider_ensure(actor=actor, organisation=organisation, name=name, kind="openai", endpoints=[endpoint], simulated=True)
        prices_set(actor=actor, provider=provider, model="m", prices=[PriceSpec(input=price * 10**9, output=price * 5 * 10**9)])
    route = route_ensure(
        actor=actor, organisation=organisation, name="chat", targets=[TargetSpec("east", "m")], fallback=[TargetSpec("west", "m")]
    )
    east = organisation.providers.get(name="east")
    common: dict[str, Any] = {"actor": actor, "organisation": organisation}
    fallback = flag_set(
        **common, name="chat-fallback", kind="fallback", subject_kind="route", subject_id=route.pk, purpose="when east is down"
    )
    stop = flag_set(**common, name="stop-east", kind="kill", subject_kind="provider", subject_id=east.pk)
    publish(actor=actor, reason="first")
    return Switches(organisation, route, fallback, stop)


@pytest.fixture
def signed_in(switches: Switches) -> Callable[..., Client]:
    """``signed_in("viewer")``: the client of a person with that role."""
    return lambda role="admin": client_of(member(switches.organisation, role))
