"""Every rule that ships: from which figure on it fires, which figures are too few, that it does not flap, and what it is fed by."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest

from apps.accounts.models import Organisation
from apps.alerts.choices import ON_MISSING, RESOLVED
from apps.alerts.evaluation import minute_judge
from apps.alerts.judging import judge
from apps.alerts.models import Alert, AlertRule
from apps.alerts.rules import Before, Episode, Terms, step
from apps.alerts.seeds import SEEDS, Seed, defaults_ensure
from apps.alerts.series import SERIES, Sample, comparisons_of
from apps.alerts.services import provider_note_set
from apps.audit.actors import Actor
from apps.providers.models import Endpoint, Provider, ProviderCheck
from apps.usage.gauges import Sample as GaugeSample
from apps.usage.gauges import gauges_record
from apps.usage.models import SpendAnomaly
from tests.alerts.minutes import happened, judged, minute, only, requests, told, traffic
from tests.budgets.performance_usage import settle

ROUTE_US = 400_000.0

# name -> (a sample of so much, warning from, critical from, a bit less than a threshold, too few measurements to say anything)
Sampled = Callable[[float], Sample]
FIGURES: dict[str, tuple[Sampled, float, float | None, float, Sample | None]] = {
    "latency": (lambda x: Sample(x * ROUTE_US, 50, baseline=ROUTE_US), 2.0, 5.0, 0.01, Sample(100 * ROUTE_US, 49, baseline=ROUTE_US)),
    "errors": (lambda x: Sample(x, 1_000, round(1_000 * x)), 0.01, 0.05, 0.001, Sample(1.0, 19, 19)),
    "queue": (lambda x: Sample(x, 1), 1_000.0, 10_000.0, 1.0, None),
    "celery-queue": (lambda x: Sample(x, 1), 1_000.0, 10_000.0, 1.0, None),
    "daily-spend": (lambda x: Sample(x, 1), 120.0, 150.0, 0.1, None),
    "key-spend": (lambda x: Sample(x, 12), 1.0, 3.0, 0.01, None),
    "provider": (lambda x: Sample(x, 20, 3), 1.0, 2.0, 0.5, None),
    "no-traffic": (lambda x: Sample(x / 60, 30), 0.0, None, -0.1, None),
}


def rule_of(seed: Seed) -> AlertRule:
    """As every organisation has it, in memory."""
    return AlertRule(name=seed.name, **seed.fields)


def played(seed: Seed, course: list[Sample]) -> list[tuple[int, str]]:
    """(minute, what happened), of the machine that evaluation moves alerts by."""
    rule, log = rule_of(seed), []
    now: Episode | None = None
    before: Before | None = None
    for n, sample in enumerate(course):
        judgement = judge(rule, SERIES[rule.series], sample)
        now, happened_then = step(now, judgement, minute(n), Terms(rule.for_s, rule.hold_s), before=before)
        log += [(n, kind) for kind in happened_then]
        if now is not None and now.state == RESOLVED:
            before, now = Before(minute(n), now.flaps), None
    return log


def test_there_are_figures_of_every_rule_that_ships() -> None:
    assert sorted(FIGURES) == sorted(seed.name for seed in SEEDS)
    for seed in SEEDS:
        series = SERIES[seed.series]
        assert seed.by in series.scopes and seed.comparison in comparisons_of(series) and seed.on_missing in ON_MISSING
        assert seed.labels and seed.hold_s >= 300, "it is routed by what it concerns, and ends after five calm minutes only"


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: seed.name)
def test_it_fires_from_its_thresholds_on_and_by_nothing_less(seed: Seed) -> None:
    sampled, warn, critical, less, few = FIGURES[seed.name]
    rule, series = rule_of(seed), SERIES[seed.series]
    assert (seed.warn, seed.critical) == (warn, critical)
    assert judge(rule, series, sampled(warn)).level == "warning"
    assert judge(rule, series, sampled(warn - less)).level == ""
    if critical is not None:
        assert judge(rule, series, sampled(critical)).level == "critical"
        assert judge(rule, series, sampled(critical - less)).level == "warning"
    if few is not None:
        assert not judge(rule, series, few).measured
    assert not judge(rule, series, Sample(None, missing="nothing was measured")).measured


def test_small_figures_are_no_reason_however_large_they_are_beside_their_thresholds() -> None:
    latency, errors = (next(seed for seed in SEEDS if seed.name == name) for name in ("latency", "errors"))
    assert judge(rule_of(latency), SERIES["latency_p95"], Sample(100_000, 500, baseline=10_000)).level == "", "ten times nothing"
    assert judge(rule_of(errors), SERIES["error_rate"], Sample(0.1, 20, 2)).level == "", "two failures"


@pytest.mark.parametrize("seed", SEEDS, ids=lambda seed: seed.name)
def test_it_fires_once_however_its_figure_swings_and_ends_once(seed: Seed) -> None:
    sampled, warn, _, less, _ = FIGURES[seed.name]
    over, under = sampled(warn), sampled(warn - less)
    first = -(-seed.for_s // 60)
    swing = [over] * (first + 1) + [under, over, under, under, over] * 12
    log = played(seed, [*swing, *[under] * 70])
    assert [kind for _, kind in log if kind != "pending"] == ["fired", "resolved"]
    assert (first, "fired") in log, "as soon as it held for as long as it must"
    brief = played(seed, [over] * first + [under] * 70)
    assert [kind for _, kind in brief] == (["pending", "cleared"] if first else []), "what is shorter than that fires nothing"


@pytest.mark.django_db
def test_queues_of_celery_keys_that_run_away_and_checks_of_providers_reach_their_rules(organisation: Organisation) -> None:
    only(organisation, "celery-queue", "key-spend", "provider", for_s=0, hold_s=60)
    provider = Provider.objects.create(organisation=organisation, name="east", kind="openai")
    endpoint = Endpoint.objects.create(provider=provider, position=0, name="default", base_url="https://p.example.test/v1")
    ProviderCheck.objects.create(endpoint=endpoint, state="failing", checked_at=minute(2), since=minute(-10))
    evidence = {"spent": 900, "allowed": 300, "requests": 12}
    SpendAnomaly.objects.create(
        organisation=organisation, simulated=False, kind="runaway_key", subject="k-1", starts_at=minute(0), ends_at=minute(60),
        evidence=evidence,
    )  # fmt: skip
    for n, depth in enumerate((999.0, 1_000.0, 10_000.0)):
        gauges_record(at=minute(n) + timedelta(seconds=30), samples={"celery_queue_depth": [GaugeSample("", "alerts", depth)]})
    for n in (1, 2, 3):
        minute_judge(organisation, minute(n))
    alerts = {alert.rule.name: alert for alert in Alert.objects.filter(organisation=organisation).select_related("rule")}
    assert happened(alerts["celery-queue"]) == [(2, "fired"), (3, "worsened")] and alerts["celery-queue"].subject == "alerts"
    assert (alerts["key-spend"].subject, alerts["key-spend"].severity, alerts["key-spend"].evidence["spent_nano"]) == (
        "k-1",
        "critical",
        900,
    )
    assert (alerts["provider"].subject, alerts["provider"].severity) == ("east", "warning")
    assert [reason["source"] for reason in alerts["provider"].evidence["reasons"]] == ["check"]
    assert defaults_ensure(organisation) == 0


@pytest.mark.django_db
def test_a_note_on_a_provider_that_answers_well_warns_before_any_figure_does(organisation: Organisation, actor: Actor) -> None:
    only(organisation, "provider")
    provider = Provider.objects.create(organisation=organisation, name="p", kind="openai")
    traffic(organisation, -5, 3, ok=10)
    provider_note_set(actor=actor, provider=provider, state="degraded", text="their status page says so", now=minute(0))
    judged(organisation, 0)
    judged(organisation, 3)
    [alert] = Alert.objects.filter(organisation=organisation)
    assert (alert.severity, happened(alert), told(alert)) == ("warning", [(0, "pending"), (1, "fired")], ["fired"])


@pytest.mark.django_db
def test_busy_traffic_that_stops_is_missed_after_twenty_minutes(organisation: Organisation) -> None:
    only(organisation, "no-traffic")
    day = 24 * 60
    settle(requests(organisation, -day - 10, -day + 20, ok=4))
    traffic(organisation, -5, 0, ok=4)
    for n in (0, 9, 10, 15, 20):
        minute_judge(organisation, minute(n))
    [alert] = Alert.objects.filter(organisation=organisation)
    assert happened(alert) == [(10, "pending"), (20, "fired")] and alert.rule.name == "no-traffic"
