"""Where series come from besides requests: budgets, keys that run away, providers' checks; and what a rule would have done."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from apps.accounts.models import Organisation
from apps.alerts.budget_days import ALSO_TOLD
from apps.alerts.models import AlertRule
from apps.alerts.preview import rule_preview
from apps.alerts.sources import anomalies, budgets, providers
from apps.alerts.sources.budgets import today
from apps.alerts.sources.look import Look
from apps.audit.actors import Actor
from apps.budgets.forecast import Standing, reached
from apps.budgets.services import budget_set
from apps.providers.models import Endpoint, Provider, ProviderCheck
from apps.usage.models import SpendAnomaly
from tests.alerts.minutes import minute, requests, traffic
from tests.budgets.performance_usage import settle

pytestmark = pytest.mark.django_db


def rule(organisation: Organisation, series: str, by: str, **facts: object) -> AlertRule:
    return AlertRule(organisation=organisation, name="r", title="R", series=series, scope={"by": by}, **{"warn": 1.0, **facts})


def test_a_budget_stands_where_its_own_alerts_say_and_names_its_own_ways(organisation: Organisation, actor: Actor, settings: Any) -> None:
    settings.EMAIL_HOST = "localhost"
    for name, window, owner in (("told", "month", "owner@example.test"), ("untold", "quarter", "")):
        budget_set(
            actor=actor, organisation=organisation, name=name, scope="organisation", scope_id=organisation.pk, window=window,
            limit_nano=30_000_000_000, kind="soft", owner_email=owner,
        )  # fmt: skip
    of = rule(organisation, "budget_day_share", "budget")
    found = budgets.read(Look(organisation, timezone.now()), [of])[of.pk]
    assert {name: sample.value for name, sample in found.items()} == {"told": 0.0, "untold": 0.0}
    assert found["told"].evidence[ALSO_TOLD] == ["E-mail"] and ALSO_TOLD not in found["untold"].evidence
    past = budgets.read(Look(organisation, minute(0)), [of])[of.pk]
    assert past["told"].value is None and "not known" in past["told"].missing


def test_a_days_share_is_what_budgets_alert_of() -> None:
    start = minute(-720)
    day = Standing(
        start - timedelta(days=9), start + timedelta(days=21), minute(0), 3_000, 700, start, start + timedelta(days=1), 550, False, True
    )
    spent, whole = today(day)
    assert (spent, whole) == (150, 100)
    assert [(one.kind, one.share) for one in reached(day, [100]) if one.kind == "pace"] == [("pace", 120), ("pace", 150)]


def test_a_key_that_runs_away_is_told_until_somebody_says_that_it_is_all_right(organisation: Organisation) -> None:
    anomaly = SpendAnomaly.objects.create(
        organisation=organisation, simulated=False, kind="runaway_key", subject="k-1", starts_at=minute(0), ends_at=minute(60),
        evidence={"spent": 900, "allowed": 300, "requests": 12},
    )  # fmt: skip
    of = rule(organisation, "key_spend_times", "key")
    look = Look(organisation, minute(20), {of.pk: frozenset({"k-2"})})
    assert {key: sample.value for key, sample in anomalies.read(look, [of])[of.pk].items()} == {"k-1": 3.0, "k-2": 0.0}
    assert anomalies.read(Look(organisation, minute(80)), [of])[of.pk] == {}
    SpendAnomaly.objects.filter(pk=anomaly.pk).update(acknowledged_at=minute(10))
    assert anomalies.read(Look(organisation, minute(20)), [of])[of.pk] == {}


@pytest.mark.parametrize(
    ("state", "since", "failed", "value"),
    [
        ("up", -60, 0, 0.0),
        ("down", -5, 0, 1.0),  # it answers our requests: its check may be wrong
        ("down", -5, 30, 2.0),
        ("down", 0, 0, 0.0),  # found once only
        ("refused", 0, 0, 1.0),
        ("failing", -10, 2, 1.0),
    ],
)
def test_a_provider_is_as_its_checks_and_our_traffic_say(
    organisation: Organisation, state: str, since: int, failed: int, value: float
) -> None:
    provider = Provider.objects.create(organisation=organisation, name="p", kind="openai")
    endpoint = Endpoint.objects.create(provider=provider, position=0, name="default", base_url="https://p.example.test/v1")
    ProviderCheck.objects.create(endpoint=endpoint, state=state, checked_at=minute(0), since=minute(since))
    traffic(organisation, 1, 1, ok=20, failed=failed)
    of = rule(organisation, "provider_state", "provider")
    sample = providers.read(Look(organisation, minute(1)), [of])[of.pk]["p"]
    assert sample.value == value
    assert [reason["source"] for reason in sample.evidence["reasons"]] == [
        source for source, is_one in (("traffic", failed > 2), ("check", state != "up" and (state == "refused" or since < 0))) if is_one
    ]


def test_a_provider_that_nobody_has_heard_of_is_unknown(organisation: Organisation) -> None:
    Provider.objects.create(organisation=organisation, name="p", kind="openai")
    Provider.objects.create(organisation=organisation, name="off", kind="openai", enabled=False)
    of = rule(organisation, "provider_state", "provider")
    found = providers.read(Look(organisation, minute(1)), [of])[of.pk]
    assert list(found) == ["p"] and found["p"].value is None


def test_a_preview_plays_the_last_days_by_the_same_machine_and_writes_nothing(organisation: Organisation) -> None:
    day = 24 * 60
    for days in (1, 3):
        settle(requests(organisation, -days * day + 1, -days * day + 2, failed=30))
        settle(requests(organisation, -days * day + 30, -days * day + 30, ok=100))
        settle(requests(organisation, -days * day + 60, -days * day + 60, ok=100))
    settle(requests(organisation, -9, -8, failed=30))
    tried = rule(organisation, "error_rate", "route", warn=0.01, critical=0.5, min_samples=20, for_s=0)
    found = rule_preview(tried, now=minute(10))
    assert found.words == "It would have fired 3 times in the last 7 days"
    assert [(one.subject, one.severity, one.ended is None) for one in found.fired] == [
        ("chat", "critical", value) for value in (True, False, False)
    ]
    assert not AlertRule.objects.filter(organisation=organisation, name="r").exists()
    assert rule_preview(rule(organisation, "error_rate", "route", warn=1.0, min_samples=500), now=minute(10)).fired == []
    assert not rule_preview(rule(organisation, "provider_state", "provider")).known
