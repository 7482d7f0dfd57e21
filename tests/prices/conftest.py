"""People, providers with prices, and usage as the shipper stores it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import connection
from django.test import Client

from apps.accounts.models import Organisation, User
from apps.audit.actors import Actor
from apps.contracts.identifiers import uuid7_bytes
from apps.contracts.usage import Attempt, Tokens, UsageRecord
from apps.providers.models import Provider
from apps.providers.prices import prices_set
from apps.providers.rules import EndpointSpec, PriceSpec
from apps.providers.services import provider_ensure
from apps.usage import services as usage
from tests.people import member

YESTERDAY = (datetime.now(UTC) - timedelta(days=1)).replace(hour=10, minute=0, second=0, microsecond=0)


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
def local(organisation: Organisation, actor: Actor) -> Provider:
    """A provider that the price book knows nothing of, with one priced model ``m``: $1 in, $2 out."""
    provider = provider_ensure(
        actor=actor,
        organisation=organisation,
        name="local",
        kind="openai",
        endpoints=[EndpointSpec("default", "http://192.0.2.1/v1", region="eu")],
        allow_private_addresses=True,
    )
    prices_set(actor=actor, provider=provider, model="m", prices=[PriceSpec(input=10**9, output=2 * 10**9)])
    return provider


@pytest.fixture
def openai(organisation: Organisation, actor: Actor) -> Provider:
    """A provider whose prices the price book knows."""
    endpoint = EndpointSpec("default", "https://api.openai.com/v1", region="us")
    return provider_ensure(actor=actor, organisation=organisation, name="openai", kind="openai", endpoints=[endpoint])


Book = Callable[..., UsageRecord]


@pytest.fixture
def book(organisation: Organisation) -> Book:
    """Stores one request with the attempts given (or one of ``local/m``), as the shipper would."""

    def stored(*attempts: Attempt, at: datetime = YESTERDAY, **facts: Any) -> UsageRecord:
        tried = list(attempts) or [attempt()]
        record = UsageRecord(
            id=uuid7_bytes(int(at.timestamp() * 1000)),
            started_us=int(at.timestamp() * 1_000_000),
            organisation=str(organisation.pk),
            key_id="k-1",
            kind="chat",
            route="chat",
            requested_model="chat",
            stream=False,
            outcome=tried[-1].outcome,
            status=200,
            attempts=tried,
            tokens=tried[0].tokens if len(tried) == 1 else Tokens(),
            cost_nano=sum(one.cost_nano for one in tried),
            estimated=any(one.estimated for one in tried),
            **facts,
        )
        with connection.cursor() as cursor:
            usage.partitions_ensure(cursor=cursor, days=[usage.record_day(record)])
            usage.usage_settle(cursor=cursor, records=[record])
        return record

    return stored


def attempt(**facts: Any) -> Attempt:
    """A thousand tokens in and five hundred out of ``local/m``, booked at its price."""
    given: dict[str, Any] = {
        "provider": "local",
        "endpoint": "default",
        "model": "m",
        "region": "eu",
        "tokens": Tokens(input=1_000, output=500),
        "cost_nano": 2_000_000,
        "price_version": "manual:old",
        "status": 200,
    }
    return Attempt(**(given | facts))
