"""The API of telling: policies as people write them, trying a channel, deliveries, notes on alerts and providers."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from apps.accounts.models import Organisation
from apps.alerts.channel_models import AlertChannel, Delivery, NotificationPolicy
from apps.alerts.channel_services import channel_create
from apps.alerts.models import AlertEvent, ProviderNote
from apps.audit.models import AuditEvent
from apps.providers.rules import EndpointSpec
from apps.providers.services import provider_ensure
from tests.alerts.telling import COMMAND, fired, minutes, rule_of
from tests.api.conftest import Caller
from tests.api.conftest import caller as caller_of
from tests.people import member

pytestmark = pytest.mark.django_db
AT = "organisations/main/"


@pytest.fixture
def ada(organisation: Organisation) -> Caller:
    return caller_of(member(organisation))


def tagged(caller: Caller, method: str, path: str, body: Any = None) -> Any:
    return caller(method, path, body, If_Match=caller("get", path)["ETag"])


def test_a_policy_from_making_to_removing(organisation: Organisation, ada: Caller) -> None:
    channel_create(actor=COMMAND, organisation=organisation, name="ops", kind="email", address="ops@example.test")
    body = {"name": "night", "steps": ["0 channel ops", "10 next"], "labels": {"layer": "proxy"}, "days": "mon-fri", "from_time": "08:00"}
    made = ada("post", f"{AT}notification-policies/", {**body, "reason": "who is told"})
    assert made.status_code == 201, made.content
    told = made.json()
    assert {name: told[name] for name in body} == body and (told["position"], told["to_time"], told["severity"]) == (0, "24:00", "")
    path = f"{AT}notification-policies/night/"
    assert ada("post", f"{AT}notification-policies/", body).json()["error"]["field"] == "name"
    for wrong, field in (({"steps": ["10 next"]}, "steps"), ({"from_time": "8"}, "from_time"), ({"team": "gone"}, "team")):
        assert tagged(ada, "patch", path, wrong).json()["error"]["field"] == field
    changed = tagged(ada, "patch", path, {"severity": "critical", "steps": ["0 on-call"]}).json()
    assert (changed["severity"], changed["steps"], changed["days"]) == ("critical", ["0 on-call"], "mon-fri")
    assert ada("patch", path, {"severity": ""}).status_code == 428
    assert caller_of(member(organisation, "viewer"))("patch", path, {"severity": ""}, If_Match="*").status_code == 403
    assert tagged(ada, "delete", path).status_code == 204 and not NotificationPolicy.objects.exists()
    assert AuditEvent.objects.filter(subject_kind="notification_policy", subject_id=told["id"]).count() == 3


def test_a_channel_is_tried_and_what_failed_is_sent_again(organisation: Organisation, ada: Caller) -> None:
    channel_create(actor=COMMAND, organisation=organisation, name="ops", kind="email", address="ops@example.test")
    tried = ada("post", f"{AT}alert-channels/ops/test/", {})
    assert tried.status_code == 202 and tried.json()["state"] == "waiting"
    path = f"{AT}alert-deliveries/{tried.json()['id']}/"
    assert ada("post", path, {}).status_code == 400, "it waits: nothing to send again"
    Delivery.objects.update(state="failed", told="it answered 500")
    assert ada("get", f"{AT}alert-deliveries/?state=failed").json()["items"][0]["told"] == "it answered 500"
    assert ada("post", path, {"reason": "it is back"}).json()["state"] == "waiting"
    assert ada("get", f"{AT}alert-deliveries/?state=odd").status_code == 400
    viewer = caller_of(member(organisation, "viewer"))
    assert viewer("post", f"{AT}alert-channels/ops/test/", {}).status_code == 403 and Delivery.objects.count() == 1
    assert AlertChannel.objects.get().address not in str(ada("get", f"{AT}alert-deliveries/").content)


def test_notes_on_alerts_and_on_providers(organisation: Organisation, ada: Caller) -> None:
    alert = fired(rule_of(organisation), at=timezone.now() - minutes(5))
    path = f"{AT}alerts/{alert.pk}/events/"
    written = ada("post", path, {"note": "their status page says so"}, Idempotency_Key="n1")
    again = ada("post", path, {"note": "their status page says so"}, Idempotency_Key="n1")
    assert (written.status_code, written.json()["kind"], again["Idempotent-Replayed"]) == (201, "note", "true")
    assert AlertEvent.objects.filter(kind="note").count() == 1
    assert [item["kind"] for item in ada("get", path).json()["items"]] == ["note", "fired"]
    assert ada("post", path, {"note": " "}).status_code == 400
    assert ada("get", f"{AT}alerts/{AlertEvent().alert_id or organisation.pk}/events/").status_code == 404

    provider_ensure(
        actor=COMMAND, organisation=organisation, name="near", kind="openai", endpoints=[EndpointSpec("a", "https://a.test/v1")]
    )
    note = ada("post", f"{AT}provider-notes/", {"provider": "near", "state": "down", "text": "status page"})
    assert note.status_code == 201 and note.json()["until"] is None, note.content
    assert ada("post", f"{AT}provider-notes/", {"provider": "far", "state": "down", "text": "x"}).json()["error"]["field"] == "provider"
    viewer = caller_of(member(organisation, "viewer"))
    assert [item["state"] for item in viewer("get", f"{AT}provider-notes/").json()["items"]] == ["down"]
    assert viewer("delete", f"{AT}provider-notes/{note.json()['id']}/").status_code == 403
    assert ada("delete", f"{AT}provider-notes/{note.json()['id']}/").status_code == 204
    assert ProviderNote.objects.get().ended_at is not None and ada("get", f"{AT}provider-notes/").json()["items"] == []
