"""Sudden changes of prices, from the price book's versions: of models in use, once, with what they mean a day."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db.models import F

from apps.accounts.models import Organisation
from apps.accounts.scope import Scope
from apps.audit.actors import Actor
from apps.prices.changes import USED_DAYS, changes_keep
from apps.providers.models import Price, Provider
from apps.providers.prices import prices_set
from apps.providers.rules import EndpointSpec, PriceSpec
from apps.providers.services import provider_ensure
from apps.usage.choices import PRICE_CHANGE
from apps.usage.models import SpendAnomaly
from tests.usage.test_spend import attempt, record, settle

MILLION = 10**6


@pytest.fixture
def now() -> datetime:
    return datetime.now(UTC)


@pytest.fixture
def provider(organisation: Organisation, actor: Actor, now: datetime) -> Provider:
    """``east`` with model ``m`` at 10 and 20 since a month, used with 5 tokens in and 10 out in every of 700 requests."""
    endpoint = EndpointSpec("main", "https://api.example.com/v1")
    made = provider_ensure(actor=actor, organisation=organisation, name="east", kind="openai", endpoints=[endpoint])
    prices_set(actor=actor, provider=made, model="m", prices=[PriceSpec(input=10 * MILLION, output=20 * MILLION)])
    Price.objects.update(created_at=now - timedelta(days=30))
    settle([record(Scope(str(organisation.pk), False), now - timedelta(hours=2), [attempt(100)]) for _ in range(700)])
    return made


def test_a_price_that_doubles_is_kept_once_with_what_a_day_costs(provider: Provider, actor: Actor, now: datetime) -> None:
    assert changes_keep(now=now) == 0
    prices_set(actor=actor, provider=provider, model="m", prices=[PriceSpec(input=20 * MILLION, output=40 * MILLION)])
    after = datetime.now(UTC) + timedelta(minutes=1)
    assert (changes_keep(now=after), changes_keep(now=after)) == (1, 0)
    row = SpendAnomaly.objects.get()
    assert (row.kind, row.subject, row.simulated) == (PRICE_CHANGE, "east/m", False)
    found = row.evidence
    assert (found["before_input"], found["after_output"], found["percent"]) == (10 * MILLION, 40 * MILLION, 100.0)
    assert (found["tokens_input_day"], found["tokens_output_day"]) == (3_500 // USED_DAYS, 7_000 // USED_DAYS)
    assert found["before_day"] == 500 * 10 + 1_000 * 20 and found["after_day"] == 2 * found["before_day"]
    assert found["before"] != found["after"] != ""


def test_small_changes_first_prices_and_unused_models_are_nothing(provider: Provider, actor: Actor) -> None:
    prices_set(actor=actor, provider=provider, model="m", prices=[PriceSpec(input=11 * MILLION, output=22 * MILLION)])
    prices_set(actor=actor, provider=provider, model="new", prices=[PriceSpec(input=10**12, output=10**12)])
    assert changes_keep(now=datetime.now(UTC) + timedelta(minutes=1)) == 0


def test_a_validity_that_begins_or_ends_is_a_change_at_its_moment(provider: Provider, actor: Actor, now: datetime) -> None:
    turn = now - timedelta(hours=1)
    prices = [
        PriceSpec(input=10 * MILLION, output=20 * MILLION, valid_to=turn),
        PriceSpec(input=2 * MILLION, output=4 * MILLION, valid_from=turn),
    ]
    prices_set(actor=actor, provider=provider, model="m", prices=prices)
    Price.objects.update(created_at=now - timedelta(days=9))
    Price.objects.exclude(retired_at=None).update(retired_at=F("created_at") + timedelta(seconds=1))
    assert changes_keep(now=now) == 1
    row = SpendAnomaly.objects.get()
    assert (row.starts_at, row.evidence["percent"]) == (turn, -80.0)

    Price.objects.filter(retired_at=None, valid_from=turn).update(valid_to=now - timedelta(minutes=10))
    assert changes_keep(now=now) == 1
    ended = SpendAnomaly.objects.exclude(pk=row.pk).get()
    assert (ended.evidence["after"], ended.evidence["after_day"], ended.starts_at) == ("", 0, now - timedelta(minutes=10))
