"""The API of alerts: what a program reads, takes and silences; rules, SLOs and channels as they are written."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from apps.accounts.models import Organisation
from apps.alerts.channel_models import AlertChannel
from apps.alerts.models import Alert, AlertRule, Slo
from apps.audit.models import AuditEvent
from apps.ownership.services import team_ensure
from tests.alerts.telling import COMMAND, fired, minutes, rule_of
from tests.api.conftest import Caller
from tests.api.conftest import caller as caller_of
from tests.people import member

pytestmark = pytest.mark.django_db
AT = "organisations/main/"


@pytest.fixture
def ada(organisation: Organisation) -> Caller:
    return caller_of(member(organisation))


def test_an_alert_is_read_taken_and_silenced(organisation: Organisation, ada: Caller) -> None:
    alert = fired(rule_of(organisation), at=timezone.now() - minutes(5))
    (item,) = ada("get", f"{AT}alerts/?state=firing").json()["items"]
    assert (item["id"], item["rule"], item["subject_kind"], item["subject"], item["unit"]) == (
        str(alert.pk),
        "errors",
        "route",
        "chat",
        "ratio",
    )
    until = (timezone.now() + minutes(60)).isoformat()
    silenced = ada("post", f"{AT}alerts/{alert.pk}/silence/", {"until": until, "reason": "known"})
    assert silenced.status_code == 200 and silenced.json()["silenced_until"] is not None
    taken = ada("post", f"{AT}alerts/{alert.pk}/acknowledge/", {"reason": "on it"}, Idempotency_Key="k1")
    assert (taken.status_code, taken.json()["state"], taken.json()["acknowledged_by"]) == (200, "acknowledged", "admin-main@example.test")
    again = ada("post", f"{AT}alerts/{alert.pk}/acknowledge/", {"reason": "on it"}, Idempotency_Key="k1")
    assert again["Idempotent-Replayed"] == "true" and AuditEvent.objects.filter(action="alert.acknowledge").count() == 1
    assert ada("post", f"{AT}alerts/{alert.pk}/resolve/", {}).json()["error"]["field"] == "note"
    assert ada("get", f"{AT}alerts/?state=odd").status_code == 400
    viewer = caller_of(member(organisation, "viewer"))
    assert viewer("post", f"{AT}alerts/{alert.pk}/acknowledge/", {}).status_code == 403
    assert Alert.objects.get(pk=alert.pk).state == "acknowledged"


def edited(caller: Caller, path: str, body: dict[str, Any]) -> Any:
    return caller("patch", path, body, If_Match=caller("get", path)["ETag"])


def test_rules_and_slos_are_written_as_people_write_them(organisation: Organisation, ada: Caller) -> None:
    team_ensure(actor=COMMAND, organisation=organisation, slug="payments", name="Payments")
    body = {"name": "slow", "title": "Slow", "series": "latency_p95", "by": "route", "warn": "2s", "critical": "5s", "owner": "payments"}
    made = ada("post", f"{AT}alert-rules/", body)
    assert (made.status_code, made.json()["warn"], made.json()["owner"]) == (201, "2s", "payments")
    assert edited(ada, f"{AT}alert-rules/slow/", {"warn": "800ms"}).json()["warn"] == "800ms"
    refused = edited(ada, f"{AT}alert-rules/slow/", {"warn": "much"})
    assert (refused.status_code, refused.json()["error"]["field"]) == (400, "warn")
    slo = {"name": "chat", "title": "Chat answers", "indicator": "availability", "objective": "99.9", "owner": "payments"}
    found = ada("post", f"{AT}slos/", slo).json()
    assert (found["objective"], found["budget"]["state"], found["budget"]["used"]) == ("99.9", "unknown", None)
    assert edited(ada, f"{AT}slos/chat/", {"objective": "99"}).json()["objective"] == "99"
    rule = edited(ada, f"{AT}alert-rules/slo-chat/", {"enabled": False})
    assert (rule.status_code, rule.json()["enabled"], rule.json()["slo"]) == (200, False, "chat")
    for path in ("slos/chat/", "alert-rules/slow/"):
        assert ada("delete", AT + path, If_Match=ada("get", AT + path)["ETag"]).status_code == 204
    assert not Slo.objects.filter(deleted_at=None).exists() and not AlertRule.objects.filter(deleted_at=None).exists()


def test_a_channel_never_shows_its_secret_but_once(organisation: Organisation, ada: Caller) -> None:
    body = {"name": "hook", "kind": "webhook", "address": "https://hooks.example.com/s3cret"}
    made = ada("post", f"{AT}alert-channels/", body).json()
    assert made["secret"].startswith("whsec_") and "s3cret" not in str(made)
    shown = ada("get", f"{AT}alert-channels/hook/").json()
    assert "secret" not in shown and (shown["sends_to"], shown["own"]) == ("https://hooks.example.com/…", False)
    kept = AlertChannel.objects.get().address
    assert edited(ada, f"{AT}alert-channels/hook/", {"enabled": False}).json()["enabled"] is False
    assert AlertChannel.objects.get().address == kept, "what is not given stays"
    assert edited(ada, f"{AT}alert-channels/hook/", {"kind": "slack"}).status_code == 400
    silence = {"matcher": {"rule": "errors"}, "until": (timezone.now() + minutes(9)).isoformat(), "reason": "known"}
    row = ada("post", f"{AT}silences/", silence).json()
    assert row["holds"] and ada("delete", f"{AT}silences/{row['id']}/").status_code == 204
    assert not ada("get", f"{AT}silences/{row['id']}/").json()["holds"]
