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
from apps.usage.models import UsageRollup1m, UsageRollup10s
from tests.people import client_of, member


@dataclass
class Switches:
    """An organisation with a route from east to west by the flag ``chat-fallback``, and a stop for east."""

    organisation: Organisation
    route: Route
    fallback: Flag
    stop: Flag

    def work(
        self, provider: str, requests: int, *, cost: int = 0, ttft_ms: float = 100, at: datetime | None = None, route: str = "chat",
        key: str = "",
    ) -> None:  # fmt: skip
        """Requests that a target answered, in one bucket of ten seconds (ten minutes ago, where ``at`` is not said). An empty provider:
        that were refused. key: of a key's own, in a bucket of a minute; refused before anybody knew their route."""
        when, answered = at or timezone.now() - timedelta(minutes=10), requests if provider else 0
        histogram = {str(index_of(ttft_ms * 1000)): requests} if provider else {}
        table: type[models.Model] = UsageRollup1m if key else UsageRollup10s
        second = 0 if key else when.second // 10 * 10
        known: dict[str, Any] = {
            "bucket": when.replace(second=second, microsecond=0), "dimensions": uuid4(), "simulated": not key or bool(provider),
            "organisation": str(self.organisation.pk), "route": route if provider or not key else "", "provider": provider,
            "endpoint": "main" if provider else "", "model": "m" if provider else "", "requests": requests, "ok": answered,
            "attempts": answered, "tokens_input": 100 * answered, "tokens_output": 10 * answered, "cost_nano": cost,
            "total_us": 500_000 * requests, "h_total": histogram, "h_first_token": histogram, "key_id": key,
        }  # fmt: skip
        columns = {column.name: column for column in table._meta.concrete_fields}
        for name, column in columns.items():
            known.setdefault(name, {} if isinstance(column, models.JSONField) else "" if isinstance(column, models.TextField) else 0)
        table._default_manager.create(**{name: value for name, value in known.items() if name in columns})


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
