"""The API of captures, samples and saved views: who may, what is audited, what is kept nowhere."""

from __future__ import annotations

from typing import Any

import pytest
from django.utils import timezone

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.audit.models import AuditEvent
from apps.contracts.captures import Sample
from apps.contracts.identifiers import uuid7
from apps.dashboard.models import SavedView
from apps.keys.services import key_create
from apps.ownership.services import team_ensure
from apps.providers.rules import EndpointSpec
from apps.providers.services import provider_ensure
from apps.publishing.models import Version
from apps.routes.rules import TargetSpec
from apps.routes.services import route_ensure
from apps.usage.capture_models import CaptureRule, CaptureSample
from apps.usage.capture_services import sample_store
from tests.api.conftest import Caller, failure
from tests.api.conftest import caller as caller_of
from tests.people import member

pytestmark = pytest.mark.django_db
AT = "organisations/demo-tests/"
ACTOR = Actor.command("test")


@pytest.fixture
def ada(organisation: Organisation) -> Caller:
    given: dict[str, Any] = {"actor": ACTOR, "organisation": organisation}
    provider_ensure(**given, name="near", kind="openai", endpoints=[EndpointSpec("a", "https://near.example.com/v1")])
    route_ensure(**given, name="chat", targets=[TargetSpec("near", "m")], unpriced="zero")
    key_create(**given, name="app")
    return caller_of(member(organisation))


def tagged(caller: Caller, method: str, path: str, body: Any = None) -> Any:
    return caller(method, path, body, If_Match=caller("get", path)["ETag"])


def kept(rule: CaptureRule, text: str = "hello there") -> CaptureSample:
    request_id = uuid7()
    sample = Sample(
        id=request_id.bytes, started_us=int(timezone.now().timestamp() * 1e6), organisation=str(rule.organisation_id), route="chat",
        key_id="k", rule=str(rule.pk), status=200, stream=False, request=text, answer="good day",
    )  # fmt: skip
    assert sample_store(sample=sample)
    return CaptureSample.objects.get(pk=request_id)


def test_a_route_is_captured_changed_and_ended(organisation: Organisation, ada: Caller) -> None:
    made = ada("post", f"{AT}captures/", {"route": "chat", "percent": 2.5, "reason": "odd answers"})
    assert made.status_code == 201 and made["Bulkhead-Config-Version"] == str(Version.objects.latest("number").number), made.content
    assert (made.json()["percent"], made.json()["keep_days"], made.json()["ended_at"]) == (2.5, 7, None)
    path = f"{AT}captures/chat/"
    wrong: list[tuple[dict[str, Any], str]] = [
        ({"route": "chat", "percent": 1}, "route"), ({"route": "chat"}, "route"), ({}, "route"), ({"route": "chat", "key": "app"}, "route"),
        ({"key": "app", "percent": 1, "reason": "x"}, "percent"), ({"key": "app"}, "reason"), ({"key": "gone", "reason": "x"}, "key"),
    ]  # fmt: skip
    for body, field in wrong:
        assert failure(ada("post", f"{AT}captures/", body), 400, "invalid")["field"] == field, body
    assert tagged(ada, "patch", path, {"percent": 0}).json()["error"]["field"] == "percent"
    assert tagged(ada, "patch", path, {"keep_days": 99}).json()["error"]["field"] == "keep_days"
    assert tagged(ada, "patch", path, {"percent": 5, "keep_days": 2}).json()["percent"] == 5
    failure(ada("patch", path, {"percent": 6}), 428, "precondition_required")
    failure(caller_of(member(organisation, "on-call"))("delete", path, If_Match="*"), 403, "permission_denied")
    narrow = caller_of(member(organisation, "manager"), ["usage:write", "routes:write"])
    assert failure(narrow("get", path), 403, "scope_missing")["details"]["scope"] == "captures:read"
    assert tagged(ada, "delete", path).status_code == 204
    assert ada("get", f"{AT}captures/").json()["items"] == [] and len(ada("get", f"{AT}captures/?ended=1").json()["items"]) == 1
    key = ada("post", f"{AT}captures/", {"key": "app", "requests": 3, "minutes": 5, "reason": "a bug"}).json()
    assert (key["key"], key["requests"], key["percent"]) == ("app", 3, None) and key["until"] is not None
    assert "ends by itself" in tagged(ada, "patch", f"{AT}captures/{key['id']}/", {"keep_days": 3}).json()["error"]["message"]


def test_a_sample_is_opened_with_a_record_and_forgotten(organisation: Organisation, ada: Caller) -> None:
    ada("post", f"{AT}captures/", {"route": "chat", "percent": 100})
    sample = kept(CaptureRule.objects.get())
    path = f"{AT}samples/{sample.pk}/"
    for shown in (ada("get", f"{AT}samples/"), ada("get", path)):
        assert shown.status_code == 200 and b"hello there" not in shown.content
    assert not AuditEvent.objects.filter(action="sample.view").exists(), "a list opens nothing"
    opened = ada("post", f"{path}open/", {}, Idempotency_Key="o1")
    assert (opened.json(), opened["Cache-Control"]) == ({"request": "hello there", "answer": "good day"}, "no-store")
    ada("post", f"{path}open/", {}, Idempotency_Key="o1")
    looks = AuditEvent.objects.filter(action="sample.view", subject_id=str(sample.pk))
    assert looks.count() == 2 and all(event.actor_via.startswith("token tests") for event in looks), "each look is one, whatever its key"
    for role, may_open, may_delete in (("viewer", 403, 403), ("auditor", 200, 403), ("manager", 200, 204)):
        caller = caller_of(member(organisation, role))
        assert caller("post", f"{path}open/", {}).status_code == may_open, role
        assert caller("delete", f"{path}?reason=theirs", If_Match="*").status_code == may_delete, role
    assert not CaptureSample.objects.exists() and ada("get", path).status_code == 404
    assert AuditEvent.objects.get(action="sample.delete", subject_id=str(sample.pk)).reason == "theirs"


def test_what_is_taken_out_is_one_setting(organisation: Organisation, ada: Caller) -> None:
    path = f"{AT}capture-settings/"
    assert ada("get", path).json() == {"patterns": []}
    wanted = {"patterns": [{"kind": "employee", "template": "EMP-######"}]}
    failure(ada("put", path, wanted), 428, "precondition_required")
    done = tagged(ada, "put", path, {**wanted, "reason": "the works council asks"})
    assert done.status_code == 200 and done.json() == wanted and ada("get", path, If_None_Match=done["ETag"]).status_code == 304
    stale = failure(ada("put", path, wanted, If_Match='"other"'), 412, "changed_meanwhile")
    assert stale["details"]["current"] == wanted
    assert "looked for already" in tagged(ada, "put", path, {"patterns": [{"kind": "email", "template": "x"}]}).json()["error"]["message"]
    failure(caller_of(member(organisation, "viewer"))("put", path, wanted, If_Match="*"), 403, "permission_denied")


def test_views_are_kept_shared_and_led_elsewhere(organisation: Organisation, ada: Caller) -> None:
    team = team_ensure(actor=ACTOR, organisation=organisation, slug="search", name="Search")
    made = ada("post", f"{AT}saved-views/", {"name": "Errors", "url": "/requests/?outcome=error", "team": "search"})
    assert made.status_code == 201, made.content
    assert (made.json()["owner"], made.json()["team"]) == ("admin-demo-tests@example.test", "search")
    assert failure(ada("post", f"{AT}saved-views/", {"name": "Away", "url": "https://evil.example/"}), 400, "invalid")["field"] == "url"
    bo = caller_of(member(organisation, "member", email="bo@example.test"))
    own = bo("post", f"{AT}saved-views/", {"name": "Errors", "url": "/spend/"})
    assert own.status_code == 201 and [item["url"] for item in bo("get", f"{AT}saved-views/").json()["items"]] == [
        "/requests/?outcome=error", "/spend/",
    ]  # fmt: skip
    assert bo("get", f"{AT}saved-views/Errors/").json()["url"] == "/spend/", "of several, one's own"
    shared = f"{AT}saved-views/{made.json()['id']}/"
    for method, body in (("patch", {"url": "/spend/"}), ("delete", None)):
        failure(bo(method, shared, body, If_Match="*"), 403, "permission_denied")
    assert tagged(ada, "patch", shared, {"team": ""}).json()["error"]["field"] == "team"
    assert tagged(ada, "patch", shared, {"url": "/requests/"}).json()["url"] == "/requests/"
    taken = failure(caller_of(member(organisation, "on-call"))(
        "post", f"{AT}saved-views/", {"name": "Errors", "url": "/spend/", "team": "search"}
    ), 400, "invalid")  # fmt: skip
    assert "Search has a view named" in taken["message"]
    assert ada("delete", f"{AT}saved-views/{own.json()['id']}/", If_Match="*").status_code == 404, "nobody sees what another keeps"
    assert tagged(ada, "delete", shared).status_code == 204 and SavedView.objects.filter(team=team).count() == 0
