"""Pages of captures, a sample on its request, and the one box that finds requests."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID

import msgspec
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.accounts.models import Organisation
from apps.accounts.scope import Scope
from apps.audit.actors import Actor
from apps.audit.models import AuditEvent
from apps.contracts.captures import Sample
from apps.contracts.identifiers import uuid7_bytes
from apps.contracts.traceparent import TraceContext
from apps.contracts.usage import UsageRecord
from apps.keys.services import key_create
from apps.providers.rules import EndpointSpec
from apps.providers.services import provider_ensure
from apps.routes.rules import TargetSpec
from apps.routes.services import route_ensure
from apps.usage import capture_services as services
from apps.usage.capture_models import CapturePatterns, CaptureRule
from tests.people import client_of, member
from tests.usage.test_spend import attempt, record, settle

COUNTS = Path(__file__).with_name("query_counts.json")
TRACE = TraceContext(bytes(range(16, 32)), bytes(range(1, 9)), 1)
ACTOR = Actor.system("tests")


def record_of(organisation: Organisation, at: datetime, **facts: object) -> UsageRecord:
    found = record(Scope(str(organisation.pk), organisation.simulated), at, [attempt(1)])
    found.id = uuid7_bytes(int(at.timestamp() * 1000))
    return msgspec.structs.replace(found, **facts)


def counted(client: Client, name: str, url: str) -> str:
    """The page's text; it asks no more queries than committed."""
    client.get(url)
    with CaptureQueriesContext(connection) as queries:
        text = client.get(url).content.decode()
    allowed = json.loads(COUNTS.read_text()).get(name, 0)
    assert len(queries) <= allowed <= 12, (f"{name}: {len(queries)}", [query["sql"][:110] for query in queries])
    return text


@pytest.fixture
def manager(organisation: Organisation) -> Client:
    return client_of(member(organisation, "manager"))


def published(client: Client, url: str, **fields: str) -> str:
    """The form filled in, reviewed and published; where it led."""
    opened = client.get(url)
    sent = {name: opened.context[name] for name in ("revision", "submission")} | fields
    reviewed = client.post(url, sent)
    assert reviewed.status_code == 200, reviewed.content[:2000]
    done = client.post(url, {**sent, "reviewed": reviewed.context["reviewed"], "publish": "1", "reason": "looking for odd answers"})
    assert done.status_code == 302, done.content[:2000]
    return str(done["location"])


def test_a_route_and_a_key_are_captured_and_ended_from_pages(manager: Client, organisation: Organisation) -> None:
    endpoint = EndpointSpec("main", "https://api.example.com/v1")
    provider_ensure(actor=ACTOR, organisation=organisation, name="east", kind="openai", endpoints=[endpoint])
    route = route_ensure(actor=ACTOR, organisation=organisation, name="chat", targets=[TargetSpec("east", "m")])
    key, _ = key_create(actor=ACTOR, organisation=organisation, name="app")
    assert "Nothing is captured" in manager.get("/captures/").content.decode()
    assert f'value="{route.name}"' in manager.get(f"/captures/route/?route={route.pk}").content.decode()
    assert published(manager, "/captures/route/", route="chat", percent="2.5", days="3") == "/captures/"
    assert published(manager, f"/captures/key/?key={key.pk}", key="app", requests="20", minutes="60", days="7") == "/captures/"
    by_route, by_key = CaptureRule.objects.filter(organisation=organisation).order_by("created_at")
    assert (by_route.route_id, by_route.percent, by_route.days) == (str(route.pk), 2.5, 3)
    assert (by_key.key_id, by_key.wanted, by_key.reason) == (str(key.pk), 20, "looking for odd answers")
    page = counted(manager, "/captures/", "/captures/")
    assert "2.5 %" in page and "next 20" in page
    assert manager.post(f"/captures/{by_key.pk}/end/").status_code == 302
    assert CaptureRule.objects.get(pk=by_key.pk).ended_at is not None
    assert manager.get(f"/captures/{by_key.pk}/end/").status_code == 405


def test_patterns_are_changed_on_their_page(manager: Client, organisation: Organisation) -> None:
    assert published(manager, "/captures/patterns/", patterns="case = case-*\n\nemployee = EMP-####") == "/captures/"
    assert CapturePatterns.objects.get(organisation=organisation).patterns == [["case", "case-*"], ["employee", "EMP-####"]]
    refused = manager.post("/captures/patterns/", {"patterns": "*", "revision": manager.get("/captures/patterns/").context["revision"]})
    assert refused.status_code == 400 and "Line 1: write a kind" in refused.content.decode()


@pytest.mark.parametrize(
    ("url", "fields", "message"),
    [
        ("/captures/route/", {"route": "nothing", "percent": "1", "days": "7"}, "There is no route"),
        ("/captures/key/", {"key": "nothing", "requests": "5", "minutes": "5", "days": "7"}, "There is no key"),
    ],
)
def test_what_is_not_there_cannot_be_captured(manager: Client, url: str, fields: dict[str, str], message: str) -> None:
    assert message in manager.post(url, fields).content.decode()


def test_a_sample_is_read_on_its_request_and_the_page_says_by_whom(
    manager: Client, page: Callable[..., str], organisation: Organisation
) -> None:
    now = datetime.now(UTC)
    asked = record_of(organisation, now)
    settle([asked])
    rule = services.capture_route_set(actor=ACTOR, organisation=organisation, route_id=str(UUID(int=5)), route_name="chat", percent=5)
    request = UUID(bytes=asked.id)
    services.sample_store(
        sample=Sample(
            id=asked.id, started_us=asked.started_us, organisation=str(organisation.pk), route="chat", key_id="key", rule=str(rule.pk),
            status=200, stream=False, request='{"messages":"<b>[email]</b>"}', answer="four words of it", found={"email": 1},
        )
    )  # fmt: skip
    url = f"/requests/{request}/sample/"
    assert "Read it" in manager.get(f"/requests/{request}/").content.decode() and manager.get(url)["location"] == f"/requests/{request}/"
    read = manager.post(url)
    text = read.content.decode()
    assert "&lt;b&gt;[email]&lt;/b&gt;" in text and "four words of it" in text and "Mia" in text and "no-store" in read["Cache-Control"]
    assert AuditEvent.objects.filter(action="sample.view", subject_id=str(request)).count() == 1
    assert "Mia" in counted(manager, "/requests/<id>/ captured", f"/requests/{request}/")
    seen = page(f"/requests/{request}/")
    assert "Reading it takes another role" in seen and "Read it" not in seen and "four words of it" not in seen
    stranger = Organisation.objects.create(name="Stranger", slug="stranger-tests")
    assert client_of(member(stranger, "admin")).post(url).status_code == 404
    assert AuditEvent.objects.filter(action="sample.view", subject_id=str(request)).count() == 1


def test_one_box_finds_a_request_a_trace_a_user_and_an_input(page: Callable[..., str], client: Client, organisation: Organisation) -> None:
    now = datetime.now(UTC)
    traced = record_of(organisation, now - timedelta(days=2), trace=TRACE.packed(), input_hash="ab" * 16)
    other = record_of(organisation, now - timedelta(hours=1), user="ada")
    settle([traced, other])
    one, two = UUID(bytes=traced.id), UUID(bytes=other.id)
    trace = TRACE.trace_id.hex()
    page("/requests/")

    def goes(text: str) -> str:
        return str(client.get("/requests/", {"q": text, "sort": "slowest"})["location"])

    assert goes(str(one)) == goes(one.hex) == goes(one.hex.upper()) == f"/requests/{one}/"
    assert goes(trace) == f"/requests/?sort=slowest&trace={trace}&from=now-30d"
    assert goes("ab" * 16) == f"/requests/?sort=slowest&input={'ab' * 16}&from=now-30d"
    assert goes("ada") == "/requests/?sort=slowest&user=ada"
    for text, found, left_out in ((trace, one, two), ("ab" * 16, one, two), ("ada", two, one)):
        shown = page(goes(text))
        assert str(found) in shown and str(left_out) not in shown
    detail = page(f"/requests/{one}/")
    assert f"?trace={trace}" in detail and TRACE.parent.hex() in detail and f"?input={'ab' * 16}" in detail
