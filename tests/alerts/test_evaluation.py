"""Evaluating rules, minute by minute, on a clock of the test's own: what fires, when, once, and what becomes of it."""

from __future__ import annotations

from datetime import timedelta

import psycopg
import pytest
from django.db import connection

from apps.accounts.models import Organisation
from apps.alerts import evaluation, events
from apps.alerts.choices import OTHER, RESOLVED
from apps.alerts.models import Alert, AlertEvaluation, AlertEvent, AlertRule
from apps.alerts.rule_services import rule_create, rule_update
from apps.alerts.seeds import SEEDS, defaults_ensure
from apps.alerts.selectors import evaluation_health
from apps.alerts.services import alert_acknowledge
from apps.alerts.sources import SOURCES
from apps.alerts.sources import traffic as traffic_source
from apps.alerts.sources.look import Look, Samples
from apps.audit.actors import Actor
from apps.audit.models import Event
from apps.usage.gauges import Sample as GaugeSample
from apps.usage.gauges import gauges_record
from tests.alerts.minutes import NOON, happened, judged, minute, only, requests, told, traffic
from tests.budgets.performance_usage import settle

pytestmark = pytest.mark.django_db


def errors(organisation: Organisation) -> Alert:
    return Alert.objects.get(organisation=organisation, rule__name="errors")


def test_every_organisation_has_the_default_rules_once_and_keeps_what_a_person_made_of_them(
    organisation: Organisation, actor: Actor
) -> None:
    assert defaults_ensure(organisation) == len(SEEDS)
    rule_update(actor=actor, rule=AlertRule.objects.get(organisation=organisation, name="errors"), warn="2%", enabled=False)
    assert defaults_ensure(organisation) == 0
    rule = AlertRule.objects.get(organisation=organisation, name="errors")
    assert (rule.warn, rule.critical, rule.enabled, rule.is_default) == (0.02, 0.05, False, True)


def test_clean_minutes_fire_nothing(organisation: Organisation) -> None:
    traffic(organisation, -5, 6, ok=12)
    judged(organisation, 0)
    assert judged(organisation, 6).minutes == 6
    assert not Alert.objects.filter(organisation=organisation).exists()
    state = AlertEvaluation.objects.get(organisation=organisation)
    assert state.judged_until == minute(6) and state.error == "" and state.rules == len(SEEDS)


def test_errors_fire_after_their_minute_worsen_and_end_when_they_are_over(organisation: Organisation) -> None:
    only(organisation, "errors", hold_s=120)
    traffic(organisation, 1, 2, ok=20)
    traffic(organisation, 3, 5, ok=19, failed=1)
    traffic(organisation, 6, 7, ok=5, failed=15)
    traffic(organisation, 8, 16, ok=20)
    judged(organisation, 1)
    judged(organisation, 16)
    alert = errors(organisation)
    assert happened(alert) == [(5, "pending"), (6, "fired"), (14, "resolved")]
    assert told(alert) == ["fired", "resolved"]
    assert (alert.state, alert.by, alert.subject) == (RESOLVED, "route", "chat")
    assert alert.evidence["worst"]["value"] == 0.33 and alert.evidence["samples_of"] == "requests"
    facts = Event.objects.filter(subject_id=str(alert.pk)).order_by("at", "id")
    assert [(fact.kind, fact.at) for fact in facts] == [("alert.fired", minute(6)), ("alert.resolved", minute(14))]


def test_an_acknowledged_warning_that_becomes_critical_fires_again(organisation: Organisation, actor: Actor) -> None:
    only(organisation, "errors")
    traffic(organisation, 1, 4, ok=29, failed=1)
    judged(organisation, 2)
    judged(organisation, 4)
    alert = errors(organisation)
    assert alert.severity == "warning" and alert.state == "firing"
    alert_acknowledge(actor=actor, alert=alert, note="looking", now=minute(4))
    traffic(organisation, 5, 5, failed=30)
    judged(organisation, 5)
    alert.refresh_from_db()
    assert (alert.state, alert.severity) == ("firing", "critical")
    assert told(alert) == ["fired", "worsened"]


def test_the_same_minute_is_judged_once_however_often_and_a_rerun_finds_nothing_to_do(organisation: Organisation) -> None:
    only(organisation, "errors")
    traffic(organisation, 1, 3, failed=10)
    judged(organisation, 1)
    judged(organisation, 3)
    before = list(AlertEvent.objects.filter(alert__organisation=organisation).values_list("id", "kind"))
    assert judged(organisation, 3).minutes == 0
    assert evaluation.minute_judge(organisation, minute(2)) == 0
    assert list(AlertEvent.objects.filter(alert__organisation=organisation).values_list("id", "kind")) == before


def test_a_worker_that_dies_in_the_middle_leaves_nothing_and_the_next_one_does_it_all(
    organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    only(organisation, "errors")
    traffic(organisation, 1, 3, failed=10)
    judged(organisation, 1)

    def dies(*_: object) -> None:
        raise SystemExit("killed")

    with monkeypatch.context() as patched:
        patched.setattr(AlertEvaluation, "save", dies)
        with pytest.raises(SystemExit):
            judged(organisation, 2)
    assert not Alert.objects.filter(organisation=organisation).exists()
    judged(organisation, 3)
    assert [kind for _, kind in happened(errors(organisation))] == ["pending", "fired"]


def test_missed_minutes_are_made_up_for_with_their_own_times(organisation: Organisation) -> None:
    only(organisation, "errors", hold_s=60)
    traffic(organisation, 1, 12, ok=10)
    traffic(organisation, 2, 3, failed=20)
    judged(organisation, 1)
    assert judged(organisation, 12).minutes == 11
    alert = errors(organisation)
    assert (alert.fired_at, alert.resolved_at) == (minute(3), minute(9))


def test_of_a_long_absence_the_last_hour_is_made_up_for_and_the_rest_is_said_to_be_missing(organisation: Organisation) -> None:
    minutes, skipped = evaluation.due(minute(0), minute(200))
    assert (minutes[0], minutes[-1], len(minutes), skipped) == (minute(141), minute(200), 60, 140)
    only(organisation)
    judged(organisation, 0)
    evaluation.minute_judge(organisation, minute(141), skipped=skipped)
    assert AlertEvaluation.objects.get(organisation=organisation).skipped_minutes == 140


def test_a_clock_that_goes_back_is_believed(organisation: Organisation) -> None:
    only(organisation)
    judged(organisation, 30)
    assert judged(organisation, 27).minutes == 0, "a little: those minutes were judged"
    assert judged(organisation, 10).minutes == 1
    assert judged(organisation, 12).minutes == 2


def test_two_at_once_do_it_once(organisation: Organisation) -> None:
    only(organisation)
    with psycopg.connect(**{**connection.get_connection_params(), "cursor_factory": None}) as other:
        other.execute("SELECT pg_advisory_lock(%s # hashtextextended(%s, 0))", [evaluation.LOCK, str(organisation.pk)])
        assert judged(organisation, 1).minutes == 0
    assert judged(organisation, 1).minutes == 1


def test_an_event_that_cannot_be_handed_over_is_handed_over_with_the_next_minute(
    organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    from apps.alerts import notifying

    def breaks(*_: object) -> None:
        raise RuntimeError("telling is broken")

    only(organisation, "errors", for_s=0)
    traffic(organisation, 1, 3, failed=20)
    judged(organisation, 0)
    with monkeypatch.context() as patched:
        patched.setattr(notifying, "alert_changed", breaks)
        judged(organisation, 1)
    fired = AlertEvent.objects.get(alert__organisation=organisation, kind="fired")
    assert fired.handed_at is None and errors(organisation).state == "firing"
    taken: list[str] = []
    monkeypatch.setattr(notifying, "alert_changed", lambda alert, event: taken.append(event.kind))
    judged(organisation, 2)
    assert taken == ["fired"]
    fired.refresh_from_db()
    assert fired.handed_at is not None and events.events_hand(organisation.pk) == 0


def test_a_source_that_cannot_be_read_leaves_its_alerts_as_they_are_and_says_so(organisation: Organisation) -> None:
    only(organisation, "errors", for_s=0)
    traffic(organisation, 1, 1, failed=20)
    judged(organisation, 1)

    def broken(look: Look, rules: object) -> Samples:
        raise KeyError("figures")

    evaluation.evaluate(minute(2) + evaluation.SETTLES, organisations=[organisation], sources={**SOURCES, "traffic": broken})
    alert = errors(organisation)
    assert (alert.state, alert.judged_at) == ("firing", minute(1))
    assert "traffic could not be read" in AlertEvaluation.objects.get(organisation=organisation).error


def test_a_rule_that_is_switched_off_ends_its_alerts(organisation: Organisation, actor: Actor) -> None:
    only(organisation, "errors", for_s=0)
    traffic(organisation, 1, 1, failed=20)
    judged(organisation, 1)
    rule_update(actor=actor, rule=AlertRule.objects.get(organisation=organisation, name="errors"), enabled=False)
    judged(organisation, 2)
    alert = errors(organisation)
    assert alert.state == RESOLVED and told(alert) == ["fired", "resolved"]
    assert "switched off" in alert.events.order_by("id").last().note  # type: ignore[union-attr]


def test_a_thousand_subjects_never_make_a_thousand_alerts(organisation: Organisation, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traffic_source, "MOST_SUBJECTS", 2)
    rows = list(requests(organisation, 1, 2, failed=25))
    for number, row in enumerate(rows):
        row.route = f"route-{min(number % 8, 4)}"  # number 4 has most, the others are equal
    settle(rows)
    only(organisation, "errors", min_samples=3, for_s=0)
    judged(organisation, 2)
    found = Alert.objects.filter(organisation=organisation)
    assert sorted(found.values_list("subject", flat=True)) == [OTHER, "route-0", "route-4"]
    other = found.get(subject=OTHER)
    assert other.evidence["folded"] == 3 and other.evidence["requests"] == 19


def test_one_failure_of_few_is_no_error_rate(organisation: Organisation) -> None:
    only(organisation, "errors", for_s=0)
    traffic(organisation, 1, 5, ok=5, failed=0)
    traffic(organisation, 2, 2, failed=2)
    judged(organisation, 5)
    assert not Alert.objects.filter(organisation=organisation).exists(), "2 of 27 are 7 %, and two failures"


def test_slow_beside_its_own_weeks_fires_and_says_what_is_usual(organisation: Organisation) -> None:
    only(organisation, "latency", for_s=0)
    week = 7 * 24 * 60
    for back in (1, 2):
        traffic(organisation, 10 - back * week, 10 - back * week, ok=30, us=300_000)
    traffic(organisation, 1, 2, ok=25, us=1_000_000)
    judged(organisation, 2)
    alert = Alert.objects.get(organisation=organisation, rule__name="latency")
    assert (alert.severity, alert.state, alert.evidence["learning"]) == ("warning", "firing", False)
    assert alert.evidence["baseline"] == pytest.approx(300_000, rel=0.02)
    assert alert.threshold == pytest.approx(600_000, rel=0.02)


def test_until_two_weeks_are_known_the_day_before_stands_in_and_is_called_learning(organisation: Organisation) -> None:
    only(organisation, "latency", for_s=0)
    for hours in (3, 5, 7):
        traffic(organisation, -60 * hours, -60 * hours, ok=25, us=200_000)
    traffic(organisation, 1, 2, ok=25, us=1_100_000)
    judged(organisation, 2)
    alert = Alert.objects.get(organisation=organisation, rule__name="latency")
    assert (alert.severity, alert.evidence["learning"]) == ("critical", True)
    assert "learning" in alert.evidence["baseline_of"]


def test_silence_where_there_was_traffic_a_day_before_is_an_alert_of_its_own(organisation: Organisation) -> None:
    only(organisation, "no-traffic")
    day = 24 * 60
    traffic(organisation, -day - 30, -day + 20, ok=2)
    for n in (0, 1, 6, 11):
        evaluation.minute_judge(organisation, minute(n))
    alert = Alert.objects.get(organisation=organisation)
    assert (alert.rule.name, alert.severity, alert.value) == ("no-traffic", "warning", None)
    assert happened(alert) == [(0, "pending"), (11, "fired")] and "no request" in alert.evidence["missing"]
    traffic(organisation, 12, 18, ok=2)
    for n in (12, 18):
        evaluation.minute_judge(organisation, minute(n))
    alert.refresh_from_db()
    assert alert.state == RESOLVED


def test_silence_where_nothing_is_known_is_none(organisation: Organisation) -> None:
    only(organisation, "no-traffic", for_s=0)
    for n in (0, 15, 30):
        evaluation.minute_judge(organisation, minute(n))
    assert not Alert.objects.filter(organisation=organisation).exists()


def test_queues_pile_up_and_a_gauge_that_nobody_samples_any_more_is_missing(organisation: Organisation) -> None:
    def sampled(first: int, last: int, depth: float) -> None:
        for n in range(first, last + 1):
            sample = GaugeSample(str(organisation.pk), "route:chat", depth)
            gauges_record(at=minute(n) - timedelta(seconds=30), samples={"queue_depth": [sample] if depth else []})

    only(organisation, "queue", hold_s=60)
    sampled(1, 1, 0)
    sampled(2, 3, 12_000)
    sampled(4, 5, 0)
    judged(organisation, 1)
    judged(organisation, 5)
    alert = Alert.objects.get(organisation=organisation)
    assert alert.severity == "critical" and happened(alert) == [(2, "pending"), (3, "fired"), (5, "resolved")]
    for n in (6, 16):
        evaluation.minute_judge(organisation, minute(n))
    missing = Alert.objects.get(organisation=organisation, state="firing")
    assert missing.fired_at == minute(16) and missing.evidence["missing"] == "it was not sampled in the window"


def test_late_records_are_in_the_windows_from_then_on(organisation: Organisation) -> None:
    only(organisation, "errors")
    traffic(organisation, 1, 4, ok=20)
    judged(organisation, 2)
    settle(requests(organisation, 1, 2, failed=20))  # after their minutes were judged
    judged(organisation, 4)
    assert [kind for _, kind in happened(errors(organisation))] == ["pending", "fired"]


def test_the_dead_mans_switch_tells_when_evaluation_stops(organisation: Organisation) -> None:
    only(organisation)
    assert evaluation_health(organisation).status.value == "never"
    judged(organisation, 0)
    done = AlertEvaluation.objects.get(organisation=organisation).finished_at
    for minutes, state in ((1, "running"), (4, "late"), (11, "stopped")):
        found = evaluation_health(organisation, now=done + timedelta(minutes=minutes))
        assert (found.status.value, found.well) == (state, state == "running")
        assert found.judged_until == NOON


def test_a_rule_of_ones_own_looks_at_what_it_names(organisation: Organisation, actor: Actor) -> None:
    only(organisation)
    rule_create(
        actor=actor, organisation=organisation, name="embed-quiet", title="Embeddings stop", series="requests_per_s", by="route",
        values=["embed"], comparison="below", warn="0.2", window_s="1m", for_s="0m",
    )  # fmt: skip
    traffic(organisation, 1, 2, ok=30)
    traffic(organisation, 1, 1, ok=30, route="embed")
    traffic(organisation, 2, 2, ok=2, route="embed")
    judged(organisation, 2)
    alert = Alert.objects.get(organisation=organisation)
    assert (alert.subject, alert.value) == ("embed", pytest.approx(2 / 60))
