"""The API of incidents: declared, read by number, changed, moved and merged by a program."""

from __future__ import annotations

import pytest

from apps.accounts.models import Organisation
from apps.audit.models import AuditEvent
from apps.postmortems.models import Incident
from tests.api.conftest import Caller
from tests.api.conftest import caller as caller_of
from tests.people import member

pytestmark = pytest.mark.django_db
AT = "organisations/main/incidents/"


@pytest.fixture
def ada(organisation: Organisation) -> Caller:
    return caller_of(member(organisation))


def test_an_incident_by_a_program(organisation: Organisation, ada: Caller) -> None:
    made = ada("post", AT, {"title": "Chat fails", "severity": "sev2", "routes": ["chat"]}, Idempotency_Key="one")
    assert made.status_code == 201 and (made.json()["reference"], made.json()["state"], made.json()["source"]) == ("INC-1", "triage", "api")
    assert (
        ada("post", AT, {"title": "Chat fails", "severity": "sev2", "routes": ["chat"]}, Idempotency_Key="one")["Idempotent-Replayed"]
        == "true"
    )
    assert ada("post", AT, {"severity": "sev2"}).json()["error"]["field"] == "title"
    assert ada("post", AT, {"title": "x", "severty": "sev2"}).status_code == 400
    got = ada("get", f"{AT}INC-1/")
    assert got.json()["id"] == made.json()["id"] and ada("get", f"{AT}INC-9/").status_code == 404
    changed = ada("patch", f"{AT}1/", {"severity": "sev1", "summary": "A pool was full.", "reason": "worse"}, If_Match=got["ETag"])
    assert changed.status_code == 200 and changed.json()["severity"] == "sev1"
    assert ada("patch", f"{AT}1/", {"severity": "sev3"}, If_Match=got["ETag"]).status_code == 412
    assert ada("post", f"{AT}1/updates/", {"text": "We look.", "public": True}).status_code == 200
    assert ada("post", f"{AT}1/notes/", {"text": "Restarted it."}).status_code == 200
    assert ada("post", f"{AT}1/roles/", {"role": "commander", "person": "nobody@example.test"}).json()["error"]["field"] == "person"
    given = ada("post", f"{AT}1/roles/", {"role": "commander", "person": "admin-main@example.test"})
    assert given.json()["commander"] == "admin-main@example.test"
    closed = ada("post", f"{AT}1/move/", {"state": "closed"})
    assert closed.status_code == 400 and "resolve it first" in closed.json()["error"]["message"]
    assert ada("post", f"{AT}1/move/", {"state": "mitigated", "text": "The fallback carries."}).json()["state"] == "mitigated"
    times = {name: got.json()[name] for name in ("started_at", "detected_at", "acknowledged_at")}
    wrong = ada("post", f"{AT}1/times/", {**times, "mitigated_at": "2020-01-01T00:00:00Z"})
    assert wrong.status_code == 400 and wrong.json()["error"]["field"] == "mitigated_at"
    entries = ada("get", f"{AT}1/timeline/?limit=200").json()["items"]
    assert [entry["text"] for entry in entries if entry["kind"] in ("note", "update")] == ["We look.", "Restarted it."]
    ada("post", AT, {"title": "The same"})
    assert ada("post", f"{AT}2/merge/", {"into": "INC-2"}).status_code == 400
    assert ada("post", f"{AT}2/merge/", {"into": "INC-1", "reason": "the same"}).json()["merged_into"] == "INC-1"
    assert [item["reference"] for item in ada("get", f"{AT}?open=1").json()["items"]] == ["INC-1"]
    assert ada("get", f"{AT}?state=odd").status_code == 400
    viewer = caller_of(member(organisation, "viewer"))
    assert viewer("get", f"{AT}1/").status_code == 200 and viewer("post", f"{AT}1/acknowledge/", {}).status_code == 403
    assert viewer("post", AT, {"title": "x"}).status_code == 403 and Incident.objects.count() == 2
    assert AuditEvent.objects.filter(action="incident.severity", subject_id=made.json()["id"]).count() == 1
