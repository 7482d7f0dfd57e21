"""The slash command: what it understands, whom it believes, what it does."""

from __future__ import annotations

import hmac
import time
from typing import Any
from urllib.parse import urlencode

import pytest
from django.test import Client

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.errors import ServiceError
from apps.audit.models import AuditEvent
from apps.postmortems import incident_chat
from apps.postmortems.incident_chat import Unsigned, asked, signature_check, signature_of
from apps.postmortems.incident_chat_services import chat_set
from apps.postmortems.models import Incident, IncidentChat

SECRET = "only-for-this-test"
COMMAND = Actor.command("test")


@pytest.mark.parametrize(
    ("text", "verb", "reference", "said", "severity", "state"),
    [
        ("chat is down", "declare", "", "chat is down", "", ""),
        ("declare SEV2: chat is down", "declare", "", "chat is down", "sev2", ""),
        ("sev1 all is down", "declare", "", "all is down", "sev1", ""),
        ("update INC-3 we look", "update", "3", "we look", "", ""),
        ("Note inc12: restarted\nit", "note", "12", "restarted\nit", "", ""),
        ("mitigated #7", "move", "7", "", "", "mitigated"),
        ("resolved 7 all good", "move", "7", "all good", "", "resolved"),
        ("take INC-3", "take", "3", "", "", ""),
        ("severity INC-3 sev1 it spreads", "severity", "3", "it spreads", "sev1", ""),
        ("resolve the chat mess", "declare", "", "resolve the chat mess", "", ""),
        ("list", "list", "", "", "", ""),
        ("", "help", "", "", "", ""),
    ],
)
def test_what_it_understands(text: str, verb: str, reference: str, said: str, severity: str, state: str) -> None:
    found = asked(text)
    assert (found.verb, found.reference, found.text, found.severity, found.state, found.wrong) == (
        verb,
        reference,
        said,
        severity,
        state,
        "",
    )


@pytest.mark.parametrize("text", ["update", "update it is fine", "note INC-3", "severity INC-3 bad", "resolved", "sev1", "declare"])
def test_what_is_unclear_is_asked_back(text: str) -> None:
    assert asked(text).wrong


def test_a_signature_holds_for_one_body_one_moment_and_one_secret() -> None:
    body, secret = b"team_id=T1&user_name=ona&text=chat+is+down", "shared"
    signed = "v0=" + hmac.new(b"shared", b"v0:1531420618:" + body, "sha256").hexdigest()
    facts: dict[str, Any] = {"secret": secret, "timestamp": "1531420618", "signature": signed, "body": body, "now": 1531420700.0}
    signature_check(**facts)
    for change in (
        {"now": 1531420618 + 301.0}, {"now": 1531420618 - 301.0}, {"timestamp": "x"}, {"timestamp": "1531420619"}, {"body": body + b"&"},
        {"secret": ""}, {"secret": "other"}, {"signature": ""}, {"signature": signed.upper()}, {"signature": "späte"},
    ):  # fmt: skip
        with pytest.raises(Unsigned):
            signature_check(**{**facts, **change})


@pytest.fixture
def chat(organisation: Organisation, monkeypatch: pytest.MonkeyPatch) -> IncidentChat:
    monkeypatch.setenv("INCIDENT_TEST_SECRET", SECRET)
    return chat_set(actor=COMMAND, organisation=organisation, secret="env:INCIDENT_TEST_SECRET", workspace="T1")


def call(text: str, *, at: int | None = None, secret: str = SECRET, slug: str = "main", **more: str) -> tuple[int, dict[str, str]]:
    stamp = str(int(time.time()) if at is None else at)
    body = urlencode({"team_id": "T1", "user_id": "U1", "user_name": "ona", "text": text, **more}).encode()
    headers = {"X-Slack-Request-Timestamp": stamp, "X-Slack-Signature": signature_of(secret, stamp, body)}
    found = Client().post(f"/incidents/chat/{slug}/", body, content_type="application/x-www-form-urlencoded", headers=headers)
    return found.status_code, found.json()


@pytest.mark.django_db
def test_an_incident_from_the_chat_alone(chat: IncidentChat) -> None:
    status, told = call("sev2 chat answers <!channel> & errors")
    row = Incident.objects.get()
    assert status == 200 and told["response_type"] == "in_channel" and "&lt;!channel&gt;" in told["text"], "it calls nobody"
    assert (row.title, row.severity, row.source, row.declared_by) == ("chat answers <!channel> & errors", "sev2", "chat", "ona (chat)")
    assert "looks after it" in call("take INC-1")[1]["text"]
    assert call("note 1 restarted the pool")[1]["response_type"] == "ephemeral"
    assert "mitigated" in call("mitigated INC-1 the fallback carries")[1]["text"]
    assert "Before INC-1 is closed" in call("closed INC-1 done")[1]["text"], "what is missing is said, and what was written comes back"
    assert "You wrote: update INC-9 hello" in call("update INC-9 hello")[1]["text"]
    assert "INC-1 SEV2 mitigated" in call("list")[1]["text"]
    row.refresh_from_db()
    assert row.acknowledged_at is not None and row.mitigated_at is not None
    texts = set(row.entries.values_list("text", flat=True))
    assert {"restarted the pool", "the fallback carries"} <= texts
    assert AuditEvent.objects.filter(action="incident.note", subject_id=str(row.pk), actor_name="ona (chat)").exists()


@pytest.mark.django_db
def test_only_its_workspace_is_believed_and_each_call_once(chat: IncidentChat, organisation: Organisation) -> None:
    now = int(time.time())
    assert call("chat is down", at=now)[0] == 200
    assert call("chat is down", at=now)[0] == 401, "the same signed request again is a replay"
    assert call("chat is down", at=now - 301)[0] == 401
    assert call("chat is down", secret="another")[0] == 401
    assert call("chat is down", team_id="T2")[0] == 401
    assert call("chat is down", slug="nobody")[0] == 401
    IncidentChat.objects.update(enabled=False)
    assert call("chat is down, really")[0] == 401
    assert Incident.objects.count() == 1


@pytest.mark.django_db
def test_the_secret_is_kept_by_reference_only(organisation: Organisation) -> None:
    refused = {
        SECRET: "env:SLACK_SIGNING_SECRET", "env:": "Name where", "env:HOME": "not an allowed variable",
        "env:BULKHEAD_SECRET_KEY": "never read by reference", "file:../secrets/master_key": "not allowed|own secrets",
    }  # fmt: skip
    for secret, said in refused.items():
        with pytest.raises(ServiceError, match=said):
            chat_set(actor=COMMAND, organisation=organisation, secret=secret)
    assert incident_chat.USAGE and not IncidentChat.objects.exists()
