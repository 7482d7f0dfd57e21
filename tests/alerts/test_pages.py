"""Pages of alerts: what they show, what people do there, whom they refuse, how many queries they take."""

from __future__ import annotations

import json
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.accounts.models import Organisation
from apps.accounts.rules import Role
from apps.alerts.channel_checks import StepWords
from apps.alerts.channel_models import AlertChannel, Delivery, NotificationPolicy, Unreachable
from apps.alerts.channel_services import channel_create
from apps.alerts.models import Alert, AlertRule, ProviderNote, Silence, Slo
from apps.alerts.policy_services import policy_set
from apps.alerts.services import alert_silence, slo_create
from apps.flags.services import flag_set
from apps.ownership.models import Rotation
from apps.ownership.runbook_seeds import runbook_ensure
from apps.ownership.services import team_ensure
from apps.providers.prices import prices_set
from apps.providers.rules import EndpointSpec, PriceSpec
from apps.providers.services import provider_ensure
from apps.publishing.services import publish
from apps.routes.rules import TargetSpec
from apps.routes.services import route_ensure
from tests.alerts.telling import COMMAND, fired, minutes, on_call, person, rule_of
from tests.ownership.conftest import person_of
from tests.ownership.test_pages import page, send
from tests.people import client_of, member

pytestmark = pytest.mark.django_db
COUNTS = json.loads(Path(__file__).with_name("query_counts.json").read_text())


@pytest.fixture
def admin(organisation: Organisation) -> Client:
    return client_of(member(organisation))


@pytest.fixture
def alert(organisation: Organisation) -> Alert:
    """Errors of a route, with a provider that could be stopped."""
    endpoint = EndpointSpec("a", "https://api.example.com/v1")
    provider = provider_ensure(actor=COMMAND, organisation=organisation, name="upstream", kind="openai", endpoints=[endpoint])
    prices_set(actor=COMMAND, provider=provider, model="m", prices=[PriceSpec(input=1, output=1)])
    route = route_ensure(actor=COMMAND, organisation=organisation, name="chat", targets=[TargetSpec("upstream", "m")])
    flag_set(
        actor=COMMAND,
        organisation=organisation,
        name="chat-short",
        kind="degrade",
        subject_kind="route",
        subject_id=route.pk,
        level="limited",
    )
    flag_set(actor=COMMAND, organisation=organisation, name="stop-up", kind="kill", subject_kind="provider", subject_id=provider.pk)
    team = team_ensure(actor=COMMAND, organisation=organisation, slug="payments", name="Payments")
    rule = rule_of(organisation, owner=team, runbook="https://wiki.example.com/chat")
    publish(actor=COMMAND, reason="first")
    return fired(rule, at=timezone.now() - minutes(9), evidence={"samples": 120, "samples_of": "requests", "failed": 10})


def test_an_alert_says_what_it_is_who_owns_it_and_what_helps(admin: Client, alert: Alert) -> None:
    text = page(admin, "/alerts/")
    assert "Chat fails" in text and "route chat" in text and "Firing" in text and "Payments" in text
    text = page(admin, f"/alerts/{alert.pk}/")
    for said in ("Error rate of route chat", "threshold 5 %", "120 requests", "https://wiki.example.com/chat", "Payments", "Fired at 8 %"):
        assert said in text, said
    for link in ("/flags/chat-short/on/", "/flags/stop-up/on/", "/routes/"):
        assert f'href="{link}' in text, link
    assert text.index("chat-short") < text.index("stop-up"), "what costs users least comes first"


def test_from_the_phone_in_two_taps(organisation: Organisation, alert: Alert) -> None:
    ona = client_of(person(organisation, "ona"))
    text = page(ona, f"/alerts/{alert.pk}/answer/")  # the first tap leads here
    assert f'action="/alerts/{alert.pk}/acknowledge/"' in text and "Turn on chat-short" in text
    assert ona.post(f"/alerts/{alert.pk}/acknowledge/").status_code == 302
    alert.refresh_from_db()
    assert (alert.state, alert.acked_by) == ("acknowledged", "ona@example.test")
    text = page(ona, f"/alerts/{alert.pk}/answer/")
    assert "looks after it" in text and f'action="/alerts/{alert.pk}/acknowledge/"' not in text
    ona.post(f"/alerts/{alert.pk}/silence/", {"length": "4h", "reason": "known"})
    (silence,) = Silence.objects.all()
    assert silence.reason == "known" and "silenced" in page(ona, "/alerts/")
    ona.post(f"/alerts/{alert.pk}/silence/", {"length": "for ever", "reason": "known"})
    assert "is no length of time" in page(ona, f"/alerts/{alert.pk}/")
    ona.post(f"/alerts/{alert.pk}/note/", {"reason": "Upstream knows."})
    ona.post(f"/alerts/{alert.pk}/resolve/", {"reason": "fixed"})
    text = page(ona, f"/alerts/{alert.pk}/")
    assert "Upstream knows." in text and "Resolved" in text


def test_roles(organisation: Organisation, alert: Alert) -> None:
    viewer, ona = client_of(member(organisation, "viewer")), client_of(person(organisation, "ona"))
    assert "Acknowledge" not in page(viewer, f"/alerts/{alert.pk}/answer/")
    for act in ("acknowledge", "silence", "resolve", "note"):
        assert viewer.post(f"/alerts/{alert.pk}/{act}/", {"reason": "x", "length": "1h"}).status_code == 403
    assert ona.get("/alerts/rules/new/").status_code == 403 and ona.get("/alerts/routing/new/").status_code == 403
    team = alert.rule.owner
    assert team is not None
    lead = client_of(person_of(team, Role.MANAGER))
    assert "/edit/" in page(lead, f"/alerts/rules/{alert.rule_id}/")
    lead.post(f"/alerts/rules/{alert.rule_id}/switch/", {"reason": "noisy"})
    assert not AlertRule.objects.get(pk=alert.rule_id).enabled, "managers edit the rules of their teams"
    other = rule_of(organisation, "other")
    lead.post(f"/alerts/rules/{other.pk}/switch/", {"reason": "noisy"})
    assert AlertRule.objects.get(pk=other.pk).enabled


def test_a_rule_is_made_after_its_last_days_were_looked_at(admin: Client, organisation: Organisation) -> None:
    fields = {
        "name": "slow", "title": "Slow", "series": "latency_p95", "by": "route", "comparison": "above", "warn": "2s", "window_s": "300",
        "for_s": "5m", "hold_s": "5m", "min_samples": "20", "on_missing": "hold", "enabled": "on", "values": "chat\nsearch",
    }  # fmt: skip
    opened = admin.get("/alerts/rules/new/").context
    reviewed = admin.post("/alerts/rules/new/", {**fields, "revision": opened["revision"], "submission": opened["submission"]})
    assert "It would not have fired in the last 7 days" in unescape(reviewed.content.decode())
    where = send(admin, "/alerts/rules/new/", fields)
    rule = AlertRule.objects.get(organisation=organisation, name="slow")
    assert where == f"/alerts/rules/{rule.pk}/" and (rule.warn, rule.values) == (2_000_000.0, ("chat", "search"))
    send(admin, f"{where}edit/", {**fields, "warn": "800ms"})
    rule.refresh_from_db()
    assert rule.warn == 800_000.0
    refused = admin.post(f"{where}edit/", {**fields, "warn": "much", "revision": "", "submission": "x"})
    assert refused.status_code in (400, 409)
    admin.post(f"{where}delete/", {"reason": "gone"})
    assert "Slow" not in page(admin, "/alerts/rules/?q=slow").split("No rules match")[0].split("Rule Slow deleted")[-1]


def test_an_slo_shows_what_is_left(admin: Client, organisation: Organisation) -> None:
    fields = {
        "name": "chat",
        "title": "Chat answers",
        "indicator": "availability",
        "objective": "99.9",
        "window_days": "30",
        "min_requests": "1",
    }
    where = send(admin, "/alerts/slos/new/", fields)
    text = page(admin, where)
    assert "Too little counted" in text and "14.4×" in text and "99.9 % promised" in text
    send(admin, f"{where}edit/", {**fields, "objective": "99"})
    assert Slo.objects.get(organisation=organisation).objective_text == "99" and "99 %" in page(admin, "/alerts/slos/")
    admin.post(f"{where}delete/", {"reason": "gone"})
    assert "No SLO yet" in page(admin, "/alerts/slos/")


def test_channels_keep_their_secrets_and_are_tried(organisation: Organisation, admin: Client, settings: Any) -> None:
    settings.EMAIL_HOST = "localhost"
    fields = {"name": "mine", "kind": "email", "whose": "me", "address": "ada@example.test", "enabled": "on"}
    send(admin, "/alerts/channels/new/", fields)
    channel = AlertChannel.objects.get(name="mine")
    assert channel.person is not None and "ada@example.test" not in channel.address
    admin.post(f"/alerts/channels/{channel.pk}/test/")
    assert "mine took the test" in page(admin, "/alerts/channels/") and Delivery.objects.get().state == "sent"
    hook = {"name": "hook", "kind": "webhook", "address": "https://hooks.example.com/s3cret", "enabled": "on"}
    opened = admin.get("/alerts/channels/new/").context
    offered = admin.post("/alerts/channels/new/", {**hook, "revision": opened["revision"], "submission": opened["submission"]})
    assert offered.status_code == 400
    secret = unescape(offered.content.decode()).partition("paste it here: ")[2].split("<")[0].strip()
    send(admin, "/alerts/channels/new/", {**hook, "secret": secret})
    text = page(admin, "/alerts/channels/")
    assert "https://hooks.example.com/…" in text and "s3cret" not in text and secret not in text
    ona = client_of(person(organisation, "ona"))
    row = AlertChannel.objects.get(name="hook")
    ona.post(f"/alerts/channels/{row.pk}/delete/", {"reason": "x"})
    assert AlertChannel.objects.filter(pk=row.pk).exists(), "on-call sets its own channels only"
    for wrong, said in [
        ("http://10.0.0.1/x", "private"),
        ("nowhere", "Write an address"),
        ("https://user:pw@example.com/", "without a user"),
    ]:
        sent = {**hook, "name": "odd", "secret": secret, "address": wrong, "revision": "", "submission": "y"}
        assert said in unescape(admin.post("/alerts/channels/new/", sent).content.decode()), wrong


def test_a_policy_is_read_as_it_is_written(organisation: Organisation, admin: Client) -> None:
    on_call(organisation, name="weekly")
    channel_create(actor=COMMAND, organisation=organisation, name="ops", kind="email", address="ops@example.test")
    fields = {
        "name": "night", "steps": "0 on-call weekly\n5 channel ops\n15 leads", "repeat_minutes": "30", "group_wait_s": "9",
        "days": "mon-fri", "from_time": "09:00", "to_time": "18:00", "zone": "Europe/Berlin", "enabled": "on", "labels": "layer = provider",
    }  # fmt: skip
    send(admin, "/alerts/routing/new/", fields)
    text = page(admin, "/alerts/routing/")
    for said in (
        "at once: whoever is on call of weekly",
        "after 5 min: channel ops",
        "mon-fri, 09:00 to 18:00 (Europe/Berlin)",
        "layer = provider",
    ):
        assert said in text, said
    policy = NotificationPolicy.objects.get()
    assert fields["steps"] in page(admin, f"/alerts/routing/{policy.pk}/edit/")
    for steps, said in [("5 on-call", "Begin with a step at 0"), ("0 nobody", "is no step"), ("0 channel gone", "There is no channel")]:
        sent = {**fields, "name": "odd", "steps": steps, "revision": "", "submission": "z"}
        assert said in unescape(admin.post("/alerts/routing/new/", sent).content.decode()), steps
    admin.post(f"/alerts/channels/{AlertChannel.objects.get().pk}/delete/", {"reason": "x"})
    assert "Routing uses it" in page(admin, "/alerts/channels/")


def test_silences_and_what_people_know_of_providers(organisation: Organisation, admin: Client, alert: Alert) -> None:
    wrong = admin.post("/alerts/silences/", {"length": "1h", "reason": "known"})
    assert "say which alerts" in unescape(wrong.content.decode())
    admin.post("/alerts/silences/", {"subject": "chat*", "length": "1h", "reason": "known"})
    (silence,) = Silence.objects.all()
    alert.refresh_from_db()
    assert alert.silenced_until == silence.until and "subject chat*" in page(admin, "/alerts/silences/")
    admin.post(f"/alerts/silences/{silence.pk}/end/")
    silence.refresh_from_db()
    assert silence.ended_at is not None
    provider = organisation.providers.get()  # type: ignore[attr-defined]
    admin.post("/alerts/notes/", {"provider": str(provider.pk), "state": "down", "text": "Status page says so."})
    assert "Status page says so." in page(admin, "/alerts/")
    admin.post(f"/alerts/notes/{ProviderNote.objects.get().pk}/end/")
    assert "Status page says so." not in page(admin, "/alerts/")


def test_every_page_says_that_nobody_can_be_reached(organisation: Organisation, admin: Client, alert: Alert) -> None:
    on_call(organisation, name="weekly")
    Unreachable.objects.create(rotation=Rotation.objects.get(), organisation=organisation, why="Nobody is on.", since=timezone.now())
    text = page(admin, "/prices/")
    assert "Nobody can be reached on 1 rotation" in text and "weekly: Nobody is on." in text and "1 open alert" in text


def test_pages_take_no_more_queries_than_committed(organisation: Organisation, admin: Client, alert: Alert) -> None:
    slo = slo_create(actor=COMMAND, organisation=organisation, name="chat", title="Chat", indicator="availability", objective="99")
    channel, _ = channel_create(actor=COMMAND, organisation=organisation, name="ops", kind="email", address="ops@example.test")
    policy_set(actor=COMMAND, organisation=organisation, name="all", steps=[StepWords(0, "channel", "ops")])
    alert_silence(actor=COMMAND, alert=alert, until=timezone.now() + minutes(60), reason="known")
    ids = {"<alert>": alert.pk, "<rule>": alert.rule_id, "<slo>": slo.pk, "<channel>": channel.pk}
    ours = runbook_ensure(organisation, "provider-down")  # one of ours takes more to find than an address
    AlertRule.objects.filter(pk=alert.rule_id).update(runbook=ours.name)
    assert f'href="/ownership/runbooks/{ours.pk}/"' in page(admin, f"/alerts/{alert.pk}/")
    found = {}
    for name in COUNTS:
        url = name
        for word, pk in ids.items():
            url = url.replace(word, str(pk))
        page(admin, url)
        with CaptureQueriesContext(
            connection,
        ) as queries:
            page(admin, url)
        found[name] = len(queries)
    assert found == COUNTS and max(found.values()) <= 12
