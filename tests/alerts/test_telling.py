"""Who is told of an alert, when, and that nobody is told the same twice, whatever is killed in between."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from django.core import mail
from django.db.models import Q

from apps.accounts.models import Organisation, User
from apps.alerts import channel_choices as choices
from apps.alerts import services
from apps.alerts.channel_checks import StepWords
from apps.alerts.channel_models import AlertChannel, Delivery, Notification, Unreachable
from apps.alerts.channel_services import channel_create
from apps.alerts.deliveries import CLAIM, deliveries_due, deliveries_recover, delivery_again, delivery_send
from apps.alerts.escalation import notifications_run
from apps.alerts.models import Alert, AlertEvent
from apps.alerts.notifying import alert_changed, severity_told
from apps.alerts.policy_services import policy_set
from apps.alerts.reachability import gaps_of, reachability_watch
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import Event
from apps.ownership.care_services import sla_set
from apps.ownership.owned import owner_assign
from apps.ownership.services import service_ensure, team_ensure
from apps.providers.models import Provider
from tests.alerts.telling import COMMAND, NOON, Receiver, fired, minutes, on_call, over, person, rule_of

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def clock(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Telling goes by this clock: it is noon until the test says otherwise."""
    settings.EMAIL_HOST = "localhost"

    class Clock:
        now = NOON

        def to(self, after: float) -> datetime:
            self.now = NOON + minutes(after)
            return self.now

    held = Clock()
    monkeypatch.setattr("apps.alerts.notifying.clock.now", lambda: held.now)
    return held


@pytest.fixture
def ona(organisation: Organisation) -> User:
    return person(organisation, "ona")


@pytest.fixture
def max_(organisation: Organisation) -> User:
    return person(organisation, "max")


def run(now: datetime) -> list[tuple[str, str]]:
    """What workers do at one moment; (what, receiver) of all that was handed over then, or could not be."""
    notifications_run(now)
    for pk in deliveries_due(now):
        delivery_send(pk, now=now)
    return told(Delivery.objects.filter(Q(claimed_at=now) | Q(kind="", created_at=now)))


def told(rows: Any = None) -> list[tuple[str, str]]:
    found = (Delivery.objects.all() if rows is None else rows).order_by("created_at", "about", "receiver")
    return sorted((row.what, row.name) for row in found)


def settled(after: float = 0.5) -> datetime:
    """Past the wait for others of a group."""
    return NOON + minutes(after)


def test_whoever_is_on_is_told_then_whoever_is_next_then_the_leads(organisation: Organisation, ona: User, max_: User, clock: Any) -> None:
    boss = person(organisation, "boss", "admin")
    on_call(organisation, ona, max_)
    alert = fired(rule_of(organisation))
    assert run(NOON) == [], "others of the group are waited for"
    assert run(settled()) == [("firing", "Ona (e-mail)")]
    assert run(settled(5)) == []
    assert run(settled(11)) == [("escalation", "Max (e-mail)")]
    assert run(settled(21)) == [("escalation", f"{boss.name} (e-mail)")]
    assert run(settled(50)) == [] and run(settled(82)) == [("reminder", "Ona (e-mail)")]
    assert [message.to for message in mail.outbox] == [
        ["ona@example.test"],
        ["max@example.test"],
        ["boss@example.test"],
        ["ona@example.test"],
    ]
    first = mail.outbox[0]
    assert first.subject == "[Bulkhead] Critical: Chat fails: route chat" and "Error rate of route chat is 8 %, threshold 5 %" in first.body
    clock.to(100)
    services.alert_acknowledge(actor=Actor.of_user(ona), alert=alert, note="on it")
    assert run(settled(200)) == [("acknowledged", "Boss (e-mail)"), ("acknowledged", "Max (e-mail)")], "nobody tells Ona what she did"


def test_what_is_over_is_told_to_those_who_know_and_nobody_else(organisation: Organisation, ona: User, max_: User, clock: Any) -> None:
    on_call(organisation, ona, max_)
    rule = rule_of(organisation)
    alert, quick = fired(rule), fired(rule, "search", group_key="other")
    over(quick, at=NOON)
    assert run(settled()) == [("firing", "Ona (e-mail)")], "what was over before it was told is told to nobody"
    clock.to(5)
    over(alert, at=settled(5))
    assert run(settled(6)) == [("resolved", "Ona (e-mail)")] and "Over: Critical" in mail.outbox[-1].subject
    assert run(settled(60)) == [] and not Notification.objects.filter(closed_at=None).exists()
    again = fired(rule, at=settled(70))
    clock.to(70)
    assert again.pk != alert.pk and run(settled(71)) == [("firing", "Ona (e-mail)")], "the next episode is told anew"


def test_a_group_is_one_message_and_what_joins_is_told_to_the_same_people(organisation: Organisation, ona: User, clock: Any) -> None:
    on_call(organisation, ona)
    rule = rule_of(organisation)
    alerts = [fired(rule, name, severity="warning") for name in ("chat", "search", "mail")]
    assert run(settled()) == [("firing", "Ona (e-mail)")]
    assert "and 2 more" in mail.outbox[0].subject and all(alert.subject in mail.outbox[0].body for alert in alerts)
    clock.to(3)
    fired(rule, "images", severity="warning")
    assert run(settled(4)) == [("firing", "Ona (e-mail)")]
    for alert in alerts:
        over(alert, at=settled(5))
    assert run(settled(6)) == [], "one of the group is still out"
    over(Alert.objects.get(subject="images"), at=settled(7))
    assert run(settled(8)) == [("resolved", "Ona (e-mail)")]


def test_silence_keeps_people_from_being_told_and_loses_no_end(organisation: Organisation, ona: User, clock: Any) -> None:
    on_call(organisation, ona)
    alert = fired(rule_of(organisation))
    assert run(settled()) == [("firing", "Ona (e-mail)")]
    services.alert_silence(actor=COMMAND, alert=alert, until=NOON + minutes(30), reason="known", now=NOON + minutes(1))
    assert run(settled(15)) == run(settled(29)) == []
    assert run(settled(31)) != [], "it still fires: the ladder goes on where it stood"
    services.alert_silence(actor=COMMAND, alert=alert, until=NOON + minutes(90), reason="known", now=NOON + minutes(32))
    clock.to(40)
    alert.refresh_from_db()
    over(alert, at=NOON + minutes(40), muted=True)
    assert ("resolved", "Ona (e-mail)") in run(settled(41))


def test_what_is_muted_or_explained_is_not_told(organisation: Organisation, ona: User) -> None:
    on_call(organisation, ona)
    rule = rule_of(organisation)
    worse = fired(rule, "upstream", group_key="w")
    alert = fired(rule, "chat", group_key="c")
    Alert.objects.filter(pk=alert.pk).update(inhibited_by=worse)
    assert run(settled()) == [("firing", "Ona (e-mail)")] and "upstream" in mail.outbox[0].body
    assert run(settled(3)) == []
    Alert.objects.filter(pk=alert.pk).update(inhibited_by=None)
    assert run(settled(5)) == [("firing", "Ona (e-mail)")] and "route chat" in mail.outbox[1].body


def test_the_owning_teams_rotation_and_a_policy_come_first(organisation: Organisation, ona: User, max_: User) -> None:
    team = team_ensure(actor=COMMAND, organisation=organisation, slug="payments", name="Payments")
    on_call(organisation, ona)
    on_call(organisation, max_, team=team, name="payments-weekly")
    rule = rule_of(organisation, owner=team, labels={"layer": "provider"})
    channel, _ = channel_create(
        actor=COMMAND, organisation=organisation, name="ops", kind="slack", address="https://hooks.example.com/s3cret"
    )
    steps = [StepWords(0, "on-call"), StepWords(0, "channel", "ops"), StepWords(5, "on-call", "weekly")]
    policy_set(actor=COMMAND, organisation=organisation, name="providers", steps=steps, labels={"layer": "provider"})
    fired(rule)
    fired(rule_of(organisation, "latency", owner=team), "search")
    notifications_run(settled())
    assert told() == [("firing", "Max (e-mail)"), ("firing", "Max (e-mail)"), ("firing", "ops")]
    notifications_run(settled(6))
    assert told()[0] == ("escalation", "Ona (e-mail)")
    assert "s3cret" not in str(list(Delivery.objects.values())) and "s3cret" not in str(AlertChannel.objects.values().get(pk=channel.pk))


def test_who_owns_the_thing_is_told_where_the_rule_has_no_owner(organisation: Organisation, ona: User, max_: User) -> None:
    team = team_ensure(actor=COMMAND, organisation=organisation, slug="payments", name="Payments")
    provider = Provider.objects.create(organisation=organisation, name="upstream", kind="openai")
    owner_assign(actor=COMMAND, organisation=organisation, things=[("provider", str(provider.pk))], team=team)
    on_call(organisation, ona)
    on_call(organisation, max_, team=team, name="payments-weekly")
    fired(rule_of(organisation, "trouble", scope={"by": "provider"}, series="provider_state", warn=1, critical=2), "upstream")
    assert run(settled()) == [("firing", "Max (e-mail)")] and "Owner: Payments." in mail.outbox[0].body


def test_warnings_wait_for_their_hours_and_slas_decide_what_is_worth_a_word(organisation: Organisation, ona: User) -> None:
    team = team_ensure(actor=COMMAND, organisation=organisation, slug="payments", name="Payments")
    on_call(organisation, ona, team=team)
    policy_set(
        actor=COMMAND,
        organisation=organisation,
        name="day",
        steps=[StepWords(0, "on-call")],
        days=31,
        from_minute=13 * 60,
        to_minute=18 * 60,
    )
    fired(rule_of(organisation, owner=team), severity="warning")
    assert run(settled()) == [] and run(settled(59)) == []
    assert run(settled(60)) == [("firing", "Ona (e-mail)")]
    sla_set(actor=COMMAND, team=team, availability=99_900, warn_percent=50, page_percent=90)
    burning = rule_of(organisation, "slo-chat", owner=team, series="slo_burn", scope={"by": ""}, warn=1.0, critical=6.0)
    fired(burning, "", severity="warning", evidence={"budget_used_percent": 20.0}, group_key="a")
    assert run(settled(70)) == [], "below the warning boundary of the owner's SLA"
    other = rule_of(organisation, "slo-mail", owner=team, series="slo_burn", scope={"by": ""}, warn=1.0, critical=6.0)
    fired(other, "", severity="warning", evidence={"budget_used_percent": 95.0}, group_key="b")
    assert run(settled(700)) == [("firing", "Ona (e-mail)")], "past the page boundary it is told at any hour, the other warning waits"


def test_nobody_there_is_not_waited_for(organisation: Organisation, ona: User, settings: Any) -> None:
    boss = person(organisation, "boss", "admin")
    gone = person(organisation, "gone")
    on_call(organisation, gone, ona)
    gone.is_active = False
    gone.save()
    fired(rule_of(organisation))
    assert run(settled()) == [("escalation", "Ona (e-mail)"), ("firing", "Nobody")]
    assert Delivery.objects.get(name="Nobody").told == "Nobody is on call on the rotation weekly."
    assert run(settled(11)) == [] and run(settled(21)) == [("escalation", "Boss (e-mail)")]
    assert reachability_watch(now=NOON) == 1 and reachability_watch(now=settled()) == 1
    (row,) = Unreachable.objects.all()
    assert (row.why, row.since) == ("Nobody is on.", NOON) and Event.objects.filter(
        kind="alert.unreachable", subject_id=row.pk
    ).count() == 1
    gone.is_active = True
    gone.save()
    assert gaps_of(organisation, at=NOON) == [] and reachability_watch(now=settled()) == 0 and not Unreachable.objects.exists()
    settings.EMAIL_HOST = ""
    (gap,) = gaps_of(organisation, at=NOON)
    assert "Gone has no channel of their own" in gap.why and boss.is_active


@pytest.fixture
def server() -> Iterator[Receiver]:
    with Receiver().running() as running:
        yield running


def channel_of(organisation: Organisation, server: Receiver, kind: str = "webhook") -> AlertChannel:
    channel, _ = channel_create(
        actor=COMMAND, organisation=organisation, name=f"{kind}-1", kind=kind, address=f"{server.url}/hook", allow_private=True
    )
    policy_set(actor=COMMAND, organisation=organisation, name="all", steps=[StepWords(0, "channel", channel.name), StepWords(30, "leads")])
    return channel


class Killed(BaseException):
    """What a worker is when SIGKILL reaches it: nothing after it runs."""


@pytest.mark.parametrize(("kind", "sent"), [("webhook", 2), ("slack", 1)])
def test_one_delivery_although_the_worker_is_killed_in_the_middle(
    organisation: Organisation, server: Receiver, kind: str, sent: int
) -> None:
    person(organisation, "boss", "admin")
    channel_of(organisation, server, kind)
    fired(rule_of(organisation))
    notifications_run(settled())
    (pk,) = deliveries_due(settled())

    def dies(allow_private: bool) -> httpx.Client:
        def after(response: httpx.Response) -> None:
            raise Killed

        return httpx.Client(event_hooks={"response": [after]}, trust_env=False)

    with pytest.raises(Killed):
        delivery_send(pk, now=settled(), open_client=dies)
    assert len(server.got) == 1 and Delivery.objects.get(pk=pk).state == choices.SENDING
    for _ in range(2):  # others look, and find it taken
        assert delivery_send(pk, now=settled()) == "" and deliveries_due(settled(2)) == [] and deliveries_recover(settled(2)) == 0
    late = settled() + CLAIM + timedelta(seconds=1)
    assert deliveries_recover(late) == 1
    for due in deliveries_due(late):
        delivery_send(due, now=late)
    row = Delivery.objects.get(pk=pk)
    assert (len(server.got), row.state) == (sent, choices.SENT if sent == 2 else choices.UNKNOWN)
    if kind == "webhook":
        assert len({document["id"] for document in server.documents()}) == 1, "the receiver can tell that it is the same"
    else:
        assert run(late + minutes(0.1)) == [("escalation", "Boss (e-mail)")], (
            "nobody knows whether it arrived: the next level is told at once"
        )


def test_a_worker_killed_before_the_conversation_loses_nothing(organisation: Organisation, server: Receiver) -> None:
    channel_of(organisation, server)
    alert = fired(rule_of(organisation))
    for _ in range(2):
        alert_changed(alert, AlertEvent.objects.get(alert=alert), now=NOON)  # handed over twice
    notifications_run(settled())
    notifications_run(settled())  # and the first one's messages were never handed out
    assert run(settled(0.6)) == [("firing", "webhook-1")] and run(settled(0.7)) == [] and len(server.got) == 1
    assert Delivery.objects.count() == Notification.objects.count() == 1


def test_a_busy_receiver_is_tried_less_and_less_and_then_the_log_says_so(organisation: Organisation, server: Receiver) -> None:
    channel_of(organisation, server)
    server.answers = [(503, {}), (429, {"Retry-After": "600"}), (500, {}), (503, {}), (503, {}), (503, {}), (503, {})]
    fired(rule_of(organisation))
    now = settled()
    run(now)
    row = Delivery.objects.get()
    waits = []
    while row.state == choices.WAITING:
        waits.append(int((row.due_at - now).total_seconds()))
        assert delivery_send(row.pk, now=now) in (choices.WAITING, choices.FAILED)
        now = max(now, row.due_at)
        row.refresh_from_db()
        if len(server.got) > 10:
            break
    assert (row.state, row.tries) == (choices.FAILED, 7) and "503; tried 7 times" in row.told and len(server.got) == 7
    delivery_again(actor=COMMAND, delivery=row)
    row.refresh_from_db()
    assert delivery_send(row.pk, now=now + timedelta(days=9000)) == choices.SENT
    with pytest.raises(ServiceError, match="Only what failed"):
        delivery_again(actor=COMMAND, delivery=Delivery.objects.get(pk=row.pk))


def test_what_cannot_be_delivered_wakes_the_next_level(organisation: Organisation, server: Receiver) -> None:
    person(organisation, "boss", "admin")
    channel = channel_of(organisation, server)
    server.answers = [(410, {})]
    fired(rule_of(organisation))
    assert run(settled()) == [("firing", "webhook-1")] and Delivery.objects.get().told == "it answered 410"
    assert run(settled(1)) == [("escalation", "Boss (e-mail)")]
    AlertChannel.objects.filter(pk=channel.pk).update(enabled=False)
    fired(rule_of(organisation, "latency"), "search")
    assert ("firing", "webhook-1") in run(settled(2)) and len(server.got) == 1, "what is off is not called"


def test_what_is_promised_of_times_decides_what_is_worth_a_word(organisation: Organisation) -> None:
    team = team_ensure(actor=COMMAND, organisation=organisation, slug="payments", name="Payments")
    service = service_ensure(actor=COMMAND, team=team, slug="checkout")
    promised = {"actor": COMMAND, "team": team, "availability": 99_900}
    sla_set(**promised, latency_ms=2_000, latency_warn_ms=3_000, latency_page_ms=6_000)  # type: ignore[arg-type]
    sla_set(**promised, service=service, ttft_ms=500, ttft_warn_ms=800, ttft_page_ms=900)  # type: ignore[arg-type]
    cases = [
        ("latency_p95", "route", "chat", 2.5e6, ""), ("latency_p95", "route", "chat", 3e6, "warning"),
        ("latency_p95", "team", "payments", 6e6, "critical"), ("latency_p50", "route", "chat", 2.5e6, "warning"),
        ("ttft_p95", "route", "chat", 1e3, "warning"), ("ttft_p95", "service", "checkout", 7e5, ""),
        ("ttft_p95", "service", "checkout", 9e5, "critical"), ("latency_p95", "service", "checkout", 1e6, "warning"),
    ]  # fmt: skip
    for at, (series, by, subject, value, told_as) in enumerate(cases):
        rule = rule_of(organisation, f"rule-{at}", series=series, scope={"by": by})
        alert = Alert(organisation=organisation, rule=rule, by=by, subject=subject, severity="warning", value=value)
        assert severity_told(alert, team) == told_as, (series, by, value)
