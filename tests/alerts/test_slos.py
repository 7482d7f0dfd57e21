"""SLOs: their rules, what they count, how late records correct them, and what is said where nothing is known."""

from __future__ import annotations

from datetime import timedelta

import pytest

from apps.accounts.models import Organisation
from apps.accounts.scope import Scope
from apps.alerts.evaluation import minute_judge
from apps.alerts.models import Alert, AlertRule
from apps.alerts.services import rule_delete, rule_update, slo_create, slo_delete, slo_update
from apps.alerts.slo_history import slo_history
from apps.alerts.sources.slos import BUDGET_USED, counted_by, slower
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from tests.alerts.minutes import happened, judged, minute, only, requests, traffic
from tests.budgets.performance_usage import settle

pytestmark = pytest.mark.django_db
FACTS = {"title": "Chat answers", "indicator": "availability", "objective": "99.9", "by": "route", "subject": "chat"}


def test_an_slo_makes_changes_and_deletes_its_rule(organisation: Organisation, actor: Actor) -> None:
    slo = slo_create(actor=actor, organisation=organisation, name="chat", **FACTS)  # type: ignore[arg-type]
    rule = slo.rule
    assert (rule.name, rule.series, rule.by, rule.values, rule.warn, rule.critical) == (
        "slo-chat",
        "slo_burn",
        "route",
        ("chat",),
        1.0,
        6.0,
    )
    assert slo.objective_text == "99.9"
    slo_update(actor=actor, slo=slo, title="Chat is there", subject="chat-2")
    rule.refresh_from_db()
    assert rule.title.startswith("Chat is there") and rule.values == ("chat-2",)
    with pytest.raises(ServiceError, match="belongs to an SLO"):
        rule_update(actor=actor, rule=rule, warn="2")
    with pytest.raises(ServiceError, match="delete the SLO"):
        rule_delete(actor=actor, rule=rule)
    assert rule_update(actor=actor, rule=rule, labels={"tier": "gold"}).labels == {"tier": "gold"}
    slo_delete(actor=actor, slo=slo)
    slo_delete(actor=actor, slo=slo)
    assert AlertRule.objects.get(pk=rule.pk).deleted_at is not None


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({"objective": "100"}, "objective"),
        ({"indicator": "speed"}, "indicator"),
        ({"indicator": "latency"}, "threshold_ms"),
        ({"threshold_ms": 800}, "threshold_ms"),
        ({"subject": ""}, "subject"),
        ({"by": "user"}, "by"),
        ({"window_days": 31}, "window_days"),
        ({"min_requests": "few"}, "min_requests"),
    ],
)
def test_a_promise_that_cannot_be_kept_is_refused(organisation: Organisation, actor: Actor, facts: dict[str, object], field: str) -> None:
    with pytest.raises(ServiceError) as refused:
        slo_create(actor=actor, organisation=organisation, name="chat", **{**FACTS, **facts})  # type: ignore[arg-type]
    assert refused.value.field == field


def test_a_fast_burn_is_critical_and_late_records_correct_it(organisation: Organisation, actor: Actor) -> None:
    slo = slo_create(actor=actor, organisation=organisation, name="chat", **FACTS)  # type: ignore[arg-type]
    only(organisation)
    traffic(organisation, -20, 2, ok=15)
    judged(organisation, 2)
    alerts = Alert.objects.filter(rule=slo.rule)
    assert not alerts.exists()
    settle(requests(organisation, -20, 1, failed=1))  # minutes that were judged already
    judged(organisation, 3)
    [alert] = alerts
    assert (alert.severity, alert.state, alert.subject, alert.threshold) == ("critical", "firing", "chat", 14.4)
    assert happened(alert) == [(3, "fired")]
    assert alert.evidence[BUDGET_USED] == pytest.approx(100 * (22 / 367) / 0.001, rel=0.001)
    assert [pair["burning"] for pair in alert.evidence["pairs"]][:2] == [True, True]


def test_a_latency_promise_counts_what_took_longer(organisation: Organisation, actor: Actor) -> None:
    slo = slo_create(
        actor=actor, organisation=organisation, name="quick", title="Quick", indicator="ttft", objective="95", threshold_ms=500
    )
    traffic(organisation, 1, 2, ok=30, us=300_000)
    traffic(organisation, 1, 2, ok=10, us=900_000)
    scope = Scope(str(organisation.pk), organisation.simulated)
    [counted] = counted_by(scope, [slo], minute(5))[slo.pk].values()
    assert counted == (80, 20)
    assert slower('{"600": 3},{"601": 2, "700": 5}', 10**12) == (10, 0)


def test_a_history_says_where_nothing_is_known(organisation: Organisation, actor: Actor) -> None:
    slo = slo_create(actor=actor, organisation=organisation, name="chat", window_days=7, **FACTS)  # type: ignore[arg-type]
    traffic(organisation, -118, -117, ok=50)
    traffic(organisation, 1, 2, ok=40, failed=10)
    points = slo_history(slo, now=minute(30))
    known = [point for point in points if point.burn is not None]
    assert [(point.counted, round(point.burn or 0)) for point in known] == [((100, 0), 0), ((100, 20), 200)]
    assert known[0].left == 1.0 and known[1].left == 0.0
    assert len(points) == 7 * 24 + 1 and points[0].left is None and points[1].at - points[0].at == timedelta(hours=1)


def test_a_promise_without_traffic_where_there_was_some_is_missing_data(organisation: Organisation, actor: Actor) -> None:
    slo = slo_create(actor=actor, organisation=organisation, name="chat", **FACTS)  # type: ignore[arg-type]
    AlertRule.objects.filter(pk=slo.rule.pk).update(for_s=0)
    day = 24 * 60
    only(organisation)
    traffic(organisation, -day - 50, -day + 15, ok=1)
    for n in (0, 10):
        minute_judge(organisation, minute(n))
    [alert] = Alert.objects.filter(rule=slo.rule)
    assert alert.state == "firing" and alert.evidence["missing"] == "no request in the last hour"
