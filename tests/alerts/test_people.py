"""What people do to alerts, who may, the second time; what silences and worse alerts keep quiet; rules that make no sense."""

from __future__ import annotations

from datetime import timedelta

import pytest

from apps.accounts.models import Organisation
from apps.accounts.rules import PermissionRefused
from apps.alerts.choices import ACKNOWLEDGED, RESOLVED
from apps.alerts.evaluation import minute_judge
from apps.alerts.models import Alert, AlertRule, ProviderNote, Silence
from apps.alerts.services import (
    alert_acknowledge,
    alert_note,
    alert_resolve,
    alert_silence,
    provider_note_end,
    provider_note_set,
    rule_create,
    rule_delete,
    rule_update,
    silence_end,
)
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.ownership.models import Team
from apps.providers.models import Provider
from apps.routes.models import Route, RouteTarget
from tests.alerts.minutes import happened, judged, minute, only, requests, told, traffic
from tests.budgets.performance_usage import settle
from tests.people import member

pytestmark = pytest.mark.django_db


@pytest.fixture
def firing(organisation: Organisation) -> Alert:
    """Route chat fails critically, told at minute 2."""
    only(organisation, "errors", for_s=0, hold_s=60)
    traffic(organisation, 1, 2, failed=10)
    judged(organisation, 2)
    return Alert.objects.get(organisation=organisation, rule__name="errors")


def actions(subject_kind: str, subject_id: object) -> list[str]:
    return list(
        AuditEvent.objects.filter(subject_kind=subject_kind, subject_id=str(subject_id)).order_by("at").values_list("action", flat=True)
    )


def test_acknowledging_is_audited_and_a_second_time_changes_nothing(firing: Alert, actor: Actor) -> None:
    alert_acknowledge(actor=actor, alert=firing, note="on it", now=minute(3))
    again = alert_acknowledge(actor=Actor.command("somebody else"), alert=firing)
    assert (again.state, again.acked_by, again.acked_at) == (ACKNOWLEDGED, "test", minute(3))
    assert actions("alert", firing.pk) == ["alert.acknowledge"]
    assert happened(firing) == [(2, "fired"), (3, "acknowledged")]


def test_what_is_over_or_has_not_fired_cannot_be_acknowledged(organisation: Organisation, firing: Alert, actor: Actor) -> None:
    alert_resolve(actor=actor, alert=firing, note="a test", now=minute(3))
    with pytest.raises(ServiceError, match="over"):
        alert_acknowledge(actor=actor, alert=firing)
    AlertRule.objects.filter(pk=firing.rule_id).update(for_s=60)
    judged(organisation, 3)  # it holds on: the next episode begins
    pending = Alert.objects.exclude(state=RESOLVED).get(organisation=organisation)
    with pytest.raises(ServiceError, match="not fired yet"):
        alert_acknowledge(actor=actor, alert=pending)
    assert pending.flaps == 1


def test_resolving_by_hand_needs_a_reason_and_tells(firing: Alert, actor: Actor) -> None:
    with pytest.raises(ServiceError, match="say why"):
        alert_resolve(actor=actor, alert=firing, note=" ")
    alert_resolve(actor=actor, alert=firing, note="it was the load test", now=minute(3))
    alert_resolve(actor=actor, alert=firing, note="again", now=minute(4))
    assert told(firing) == ["fired", "resolved"]
    alert_note(actor=actor, alert=firing, note="see the runbook")
    assert actions("alert", firing.pk) == ["alert.resolve", "alert.note"]


def test_who_may(organisation: Organisation, firing: Alert) -> None:
    viewer, oncall = (Actor.of_user(member(organisation, role)) for role in ("viewer", "on-call"))
    for act in (
        lambda: alert_acknowledge(actor=viewer, alert=firing),
        lambda: alert_resolve(actor=viewer, alert=firing, note="no"),
        lambda: alert_silence(actor=viewer, alert=firing, until=minute(99999), reason="no"),
        lambda: rule_update(actor=oncall, rule=firing.rule, warn="3%"),
    ):
        with pytest.raises(PermissionRefused):
            act()
    assert alert_acknowledge(actor=oncall, alert=firing).state == ACKNOWLEDGED
    manager = Actor.of_user(member(organisation, "manager"))
    assert rule_update(actor=manager, rule=firing.rule, warn="3%").warn == 0.03


def test_a_silence_keeps_quiet_and_never_loses_the_end(organisation: Organisation, actor: Actor) -> None:
    only(organisation, "errors", for_s=0, hold_s=60)
    judged(organisation, 1)
    silence = alert_silence(
        actor=actor,
        organisation=organisation,
        matcher={"rule": "errors", "subject": "ch*"},
        until=minute(4),
        reason="load test",
        now=minute(0),
    )
    traffic(organisation, 1, 4, failed=10)
    judged(organisation, 5)
    traffic(organisation, 6, 10, ok=10)
    judged(organisation, 11)
    alert = Alert.objects.get(organisation=organisation, rule__name="errors")
    assert told(alert) == ["unsilenced", "resolved"]
    assert happened(alert) == [(2, "silenced"), (2, "fired"), (4, "unsilenced"), (10, "resolved")]
    assert silence.matcher == {"rule": "errors", "subject": "ch*"}


def test_whoever_was_told_hears_of_the_end_also_during_a_silence(organisation: Organisation, firing: Alert, actor: Actor) -> None:
    alert_silence(actor=actor, alert=firing, until=minute(60), reason="known", now=minute(2))
    with pytest.raises(ServiceError, match="say why"):
        alert_silence(actor=actor, alert=firing, until=minute(60), reason="", now=minute(2))
    traffic(organisation, 3, 9, ok=10)
    judged(organisation, 9)
    assert told(firing) == ["fired", "resolved"]
    assert "silenced" in [kind for _, kind in happened(firing)]


def test_a_silence_that_a_person_ends_ends_with_the_next_minute(organisation: Organisation, firing: Alert, actor: Actor) -> None:
    silence = alert_silence(actor=actor, alert=firing, until=minute(60), reason="known", now=minute(2))
    traffic(organisation, 3, 4, failed=10)
    judged(organisation, 3)
    silence_end(actor=actor, silence=silence, reason="it is not known after all", now=minute(3) + timedelta(seconds=20))
    silence_end(actor=actor, silence=silence, now=minute(4))
    judged(organisation, 4)
    assert told(firing) == ["fired", "unsilenced"]
    assert actions("silence", silence.pk) == ["silence.create", "silence.end"]


@pytest.mark.parametrize(
    ("matcher", "until", "says"),
    [
        ({}, 5, "say which"),
        ({"severity": "bad"}, 5, "one of warning"),
        ({"team": "x"}, 5, "nothing else"),
        ({"rule": "errors"}, -1, "over"),
    ],
)
def test_a_silence_of_everything_or_of_the_past_is_refused(
    organisation: Organisation, actor: Actor, matcher: dict[str, str], until: int, says: str
) -> None:
    with pytest.raises(ServiceError, match=says):
        alert_silence(actor=actor, organisation=organisation, matcher=matcher, until=minute(until), reason="x", now=minute(0))
    assert not Silence.objects.filter(organisation=organisation).exists()


def test_a_provider_that_is_down_explains_its_routes(organisation: Organisation, actor: Actor) -> None:
    provider = Provider.objects.create(organisation=organisation, name="p", kind="openai")
    route = Route.objects.create(organisation=organisation, name="chat")
    RouteTarget.objects.create(route=route, chain="primary", position=0, provider=provider, model="m")
    only(organisation, "errors", "provider", for_s=0, hold_s=60)
    AlertRule.objects.filter(organisation=organisation, name="errors").update(min_samples=3)
    judged(organisation, 0)
    note = provider_note_set(actor=actor, provider=provider, state="down", text="their status page says so", now=minute(0))
    traffic(organisation, 2, 3, failed=10)
    traffic(organisation, 2, 3, failed=10, route="other")
    judged(organisation, 3)
    down = Alert.objects.get(organisation=organisation, rule__name="provider")
    assert (down.severity, told(down)) == ("critical", ["fired"])
    assert [reason["source"] for reason in down.evidence["reasons"]] == ["traffic", "note"]
    chat = Alert.objects.get(organisation=organisation, rule__name="errors", subject="chat")
    assert (chat.state, told(chat), chat.inhibited_by) == ("firing", [], down)
    assert told(Alert.objects.get(organisation=organisation, rule__name="errors", subject="other")) == ["fired"]
    provider_note_end(actor=actor, note=note, reason="it was not", now=minute(3))
    provider_note_end(actor=actor, note=ProviderNote.objects.get(pk=note.pk))
    for first, last in ((4, 10), (15, 20)):  # of the provider's attempts few fail, of the route's all
        settle(requests(organisation, first, last, failed=1))
        settle(requests(organisation, first, last, ok=30, route="calm"))
    for n in (4, 6, 9, 10, 19, 20):
        minute_judge(organisation, minute(n))
    down.refresh_from_db()
    assert (down.state, told(chat)) == (RESOLVED, ["uninhibited"]), "its provider is well again and it still fails"
    assert (20, "uninhibited") in happened(chat), "ten minutes after the provider's end"


def test_rules_are_made_changed_and_deleted_and_default_ones_stay(organisation: Organisation, actor: Actor) -> None:
    team = Team.objects.create(organisation=organisation, slug="payments", name="Payments")
    rule = rule_create(
        actor=actor, organisation=organisation, name="slow", title="Slow", series="latency_p95", by="route", values=["chat"],
        comparison="times_baseline", warn="2", critical="4x", window_s="10m", for_s="5m", min_samples=20, labels={"tier": "gold"},
        owner=team, runbook="slow-chat",
    )  # fmt: skip
    assert (rule.warn, rule.critical, rule.window_s, rule.for_s, rule.values) == (2.0, 4.0, 600, 300, ("chat",))
    before = rule.changed_at
    assert rule_update(actor=actor, rule=rule, warn="2x").changed_at == before, "the same again changes nothing"
    rule_update(actor=actor, rule=rule, title="Slow chat", owner=None)
    rule.refresh_from_db()
    assert (rule.title, rule.owner, rule.warn) == ("Slow chat", None, 2.0)
    rule_delete(actor=actor, rule=rule)
    rule_delete(actor=actor, rule=rule)
    assert actions("alert_rule", rule.pk) == ["alert_rule.create", "alert_rule.update", "alert_rule.delete"]
    only(organisation)
    with pytest.raises(ServiceError, match="switch it off"):
        rule_delete(actor=actor, rule=AlertRule.objects.get(organisation=organisation, name="errors"))


@pytest.mark.parametrize(
    ("facts", "field"),
    [
        ({"name": "Bad Name"}, "name"),
        ({"title": ""}, "title"),
        ({"series": "nothing"}, "series"),
        ({"by": "budget"}, "by"),
        ({"by": "", "values": ["chat"]}, "values"),
        ({"warn": None, "critical": None}, "warn"),
        ({"window_s": "7m"}, "window_s"),
        ({"for_s": "90s"}, "for_s"),
        ({"min_samples": "-1"}, "min_samples"),
        ({"on_missing": "zero"}, "on_missing"),
        ({"labels": {"Tier": "gold"}}, "labels"),
        ({"runbook": "ftp://x"}, "runbook"),
        ({"series": "latency_p95", "comparison": "times_baseline", "by": "model", "warn": "2"}, "by"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused_with_what_to_do(
    organisation: Organisation, actor: Actor, facts: dict[str, object], field: str
) -> None:
    given = {"name": "mine", "title": "Mine", "series": "error_rate", "by": "route", "warn": "1%", **facts}
    with pytest.raises(ServiceError) as refused:
        rule_create(actor=actor, organisation=organisation, **given)  # type: ignore[arg-type]
    assert refused.value.field == field and len(refused.value.message) > 20
    assert not AlertRule.objects.filter(organisation=organisation, name="mine").exists()


def test_two_rules_of_one_name_and_rules_on_the_installation_elsewhere_are_refused(organisation: Organisation, actor: Actor) -> None:
    facts = {"title": "Jobs wait", "series": "celery_queue_depth", "by": "queue", "warn": "10"}
    rule_create(actor=actor, organisation=organisation, name="jobs", **facts)  # type: ignore[arg-type]
    with pytest.raises(ServiceError, match="already"):
        rule_create(actor=actor, organisation=organisation, name="jobs", **facts)  # type: ignore[arg-type]
    other = Organisation.objects.create(slug="other", name="Other")
    with pytest.raises(ServiceError, match="organisation main"):
        rule_create(actor=actor, organisation=other, name="jobs", **facts)  # type: ignore[arg-type]
