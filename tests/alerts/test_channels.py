"""Channels: what each sends to a real receiver, and what each answer means."""

from __future__ import annotations

import base64
import hashlib
import hmac
from collections.abc import Iterator
from typing import Any

import pytest

from apps.alerts.channels import CHANNELS
from apps.alerts.channels.base import Again, Doubtful, Message, NotDelivered, Receiver, Refused
from apps.alerts.channels.ntfy import split
from apps.alerts.deliveries import open_guarded
from apps.contracts.webhooks import secret_key, secret_made
from tests.alerts.telling import PostOffice
from tests.alerts.telling import Receiver as Server

SECRET = secret_made()
HOSTILE = "route <!channel> & *co*"


@pytest.fixture
def server() -> Iterator[Server]:
    with Server().running() as running:
        yield running


def message(what: str = "firing", **more: Any) -> Message:
    facts: dict[str, Any] = {
        "what": what,
        "key": "group-1",
        "at": "2026-03-04T12:00:00Z",
        "severity": "critical",
        "title": f"Critical: Chat fails: {HOSTILE}",
        "text": "Error rate is 8 %.",
        "organisation": "main",
        "environment": "test",
        "alerts": [{"id": "a1"}],
        "url": "https://bulkhead.example.com/alerts/a1/",
        "answer_url": "https://bulkhead.example.com/alerts/a1/answer/",
        "links": [("Runbook", "https://wiki.example.com/chat")],
    }
    return Message(**{**facts, **more})


def send(kind: str, server: Server, what: str = "firing", *, path: str = "/x", secret: str = "", **more: Any) -> str:
    to = Receiver("delivery-1", f"{server.url}{path}", secret, allow_private=True)
    return CHANNELS[kind].send(message(what, **more), to, open_client=open_guarded)


def test_a_webhook_gets_a_signed_cloud_event(server: Server) -> None:
    assert send("webhook", server, secret=SECRET) == "200"
    ((path, headers, body),) = server.got
    (event,) = server.documents()
    assert (path, headers["content-type"]) == ("/x", "application/cloudevents+json; charset=utf-8")
    required = {name: event[name] for name in ("specversion", "id", "source", "type")}
    assert required == {
        "specversion": "1.0", "id": "delivery-1", "source": "/bulkhead/test/main", "type": "io.bulkhead.alert.firing.v1",
    }  # fmt: skip
    assert (event["time"], event["subject"], event["datacontenttype"]) == ("2026-03-04T12:00:00Z", "group-1", "application/json")
    assert event["data"]["alerts"] == [{"id": "a1"}] and event["data"]["severity"] == "critical"
    signed = f"{headers['webhook-id']}.{headers['webhook-timestamp']}.".encode() + body
    wanted = base64.b64encode(hmac.new(base64.b64decode(SECRET.removeprefix("whsec_")), signed, hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{wanted}" and headers["webhook-id"] == event["id"]


def test_slack_gets_an_attachment_in_which_nobody_is_mentioned(server: Server) -> None:
    send("slack", server)
    (document,) = server.documents()
    assert set(document) == {"text", "attachments"} and "<!" not in document["text"] and "&lt;!channel&gt; &amp;" in document["text"]
    (attachment,) = document["attachments"]
    assert attachment["color"] == "#c62828" and attachment["title_link"].endswith("/alerts/a1/")
    assert "<https://bulkhead.example.com/alerts/a1/answer/|Acknowledge or silence>" in attachment["text"]
    send("slack", server, "resolved")
    assert server.documents()[1]["attachments"][0]["color"] == "#2e7d32"


def test_pagerduty_joins_what_is_told_of_one_group(server: Server) -> None:
    for what in ("firing", "escalation", "acknowledged", "resolved"):
        send("pagerduty", server, what, path="/v2/enqueue", secret="R0UT1NG")
    sent = server.documents()
    assert [document["event_action"] for document in sent] == ["trigger", "trigger", "acknowledge", "resolve"]
    assert {document["dedup_key"] for document in sent} == {"group-1"} and {document["routing_key"] for document in sent} == {"R0UT1NG"}
    payload = sent[0]["payload"]
    assert {"summary", "source", "severity"} <= payload.keys() and payload["severity"] in ("critical", "error", "warning", "info")
    assert "payload" not in sent[3] and {"href": "https://wiki.example.com/chat", "text": "Runbook"} in sent[0]["links"]
    send("pagerduty", server, "firing", title="x" * 3000)
    assert len(server.documents()[4]["payload"]["summary"]) == 1024


def test_a_test_leaves_no_incident_open(server: Server) -> None:
    send("pagerduty", server, "test", secret="R0UT1NG")
    assert [document["event_action"] for document in server.documents()] == ["trigger", "resolve"]


def test_ntfy_gets_a_push_that_is_answered_with_one_tap(server: Server) -> None:
    send("ntfy", server, path="/on/call", secret="tk_1")
    ((path, headers, _),) = server.got
    (document,) = server.documents()
    assert (path, headers["authorization"], document["topic"], document["priority"]) == ("/on/", "Bearer tk_1", "call", 5)
    answer = "https://bulkhead.example.com/alerts/a1/answer/"
    assert document["actions"] == [{"action": "view", "label": "Acknowledge", "url": answer, "clear": True}]
    send("ntfy", server, "resolved", path="/call")
    assert server.documents()[1]["priority"] == 2 and "actions" not in server.documents()[1]
    with pytest.raises(Refused):
        split("https://ntfy.sh/")


@pytest.mark.parametrize(
    ("status", "headers", "raised", "after"),
    [
        (503, {}, Again, 0),
        (429, {"Retry-After": "120"}, Again, 120),
        (429, {"Retry-After": "999999"}, Again, 3600),
        (400, {}, Refused, 0),
        (302, {"Location": "http://127.0.0.1/elsewhere"}, Refused, 0),
        (0, {}, Doubtful, 0),
    ],
)
def test_what_an_answer_means(server: Server, status: int, headers: dict[str, str], raised: type[Exception], after: float) -> None:
    server.answers = [(status, headers)]
    with pytest.raises(raised) as caught:
        send("slack", server, path="/s3cret")
    assert "s3cret" not in str(caught.value) and len(server.got) == 1
    assert not isinstance(caught.value, Again) or caught.value.after == after


def test_nothing_is_sent_where_a_channel_may_not_call(server: Server) -> None:
    to = Receiver("delivery-1", f"{server.url}/x")
    with pytest.raises(Refused, match="private networks"):
        CHANNELS["slack"].send(message(), to, open_client=open_guarded)
    assert server.got == []


def test_a_receiver_that_is_away_is_tried_again(server: Server) -> None:
    gone = Server()
    with gone.running():
        pass
    with pytest.raises(Again):
        send("slack", gone)
    with pytest.raises(Again, match="not known"):
        CHANNELS["slack"].send(message(), Receiver("1", "https://nobody.invalid/x"), open_client=open_guarded)


@pytest.fixture
def office(settings: Any) -> Iterator[PostOffice]:
    with PostOffice().running() as running:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT, settings.EMAIL_TIMEOUT = "127.0.0.1", running.server_address[1], 60
        settings.EMAIL_USE_TLS = settings.EMAIL_USE_SSL = False
        settings.EMAIL_HOST_USER = settings.EMAIL_HOST_PASSWORD = ""
        settings.DEFAULT_FROM_EMAIL = "bulkhead@example.test"
        yield running


def mail(what: str = "firing") -> str:
    return CHANNELS["email"].send(message(what), Receiver("delivery-1", "ona@example.test, ops@example.test"), open_client=open_guarded)


def test_an_email_each_and_a_thread_for_all(office: PostOffice) -> None:
    assert mail() == ""
    assert [to for to, _ in office.got] == ["ona@example.test", "ops@example.test"]
    first, second = (text for _, text in office.got)
    assert "Auto-Submitted: auto-generated" in first and "ops@example.test" not in first
    assert "Message-ID: <delivery-1.0.alerts@bulkhead>" in first and "Message-ID: <delivery-1.1.alerts@bulkhead>" in second
    assert "Acknowledge or silence: https://bulkhead.example.com/alerts/a1/answer/" in first
    mail("resolved")
    threads = [next(line for line in text.splitlines() if line.startswith("References:")) for _, text in office.got]
    assert len(set(threads)) == 1


@pytest.mark.parametrize(("said", "raised"), [(b"550 no such user", Refused), (b"451 later", Again)])
def test_a_mail_server_that_says_no(office: PostOffice, said: bytes, raised: type[NotDelivered]) -> None:
    office.refuse = said
    with pytest.raises(raised):
        mail()
    assert office.got == []


def test_without_a_mail_server_nothing_is_tried(settings: Any) -> None:
    settings.EMAIL_HOST = ""
    with pytest.raises(Refused, match="BULKHEAD_SMTP_URL"):
        mail()


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_c2hvcnQ=", "whsec_***", "plain"])
def test_what_is_no_signing_secret(secret: str) -> None:
    with pytest.raises(ValueError, match="whsec_"):
        secret_key(secret)
