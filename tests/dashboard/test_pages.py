"""Every page: with nothing, with traffic, for the wrong person; scopes that never mix; query counts that may not rise."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.accounts.models import Membership, Organisation, User
from apps.contracts.identifiers import uuid7
from apps.publishing.models import ProxyProcess
from apps.publishing.selectors import fleet_status
from apps.usage.models import UsageRequest
from tests.dashboard.generate import usage_generate

COUNTS = Path(__file__).with_name("query_counts.json")
PAGES = (
    "/", "/overview/verdict/", "/overview/now/", "/overview/traffic/", "/overview/latency/", "/overview/routes/", "/overview/providers/",
    "/overview/keys/", "/requests/", "/spend/", "/spend/budgets/", "/spend/cost/", "/proxies/",
)  # fmt: skip


@pytest.mark.parametrize("url", PAGES)
def test_a_page_stands_without_any_data(page: Callable[..., str], url: str) -> None:
    text = page(url)
    assert "<h1" in text and "Simulated" in text


@pytest.mark.parametrize("url", PAGES)
def test_a_page_asks_no_more_queries_than_committed(page: Callable[..., str], organisation: Organisation, url: str) -> None:
    """A rise is either a mistake, or it is committed: write the number into query_counts.json. Twelve is the ceiling for all."""
    usage_generate(organisation=organisation, count=400)
    page(url)
    with CaptureQueriesContext(connection) as queries:
        page(url)
    allowed = json.loads(COUNTS.read_text()).get(url, 0)
    assert len(queries) <= allowed <= 12, (f"{url}: {len(queries)}", [query["sql"][:110] for query in queries])


def test_the_page_of_a_request_and_the_live_list_ask_no_more_than_committed(page: Callable[..., str], organisation: Organisation) -> None:
    usage_generate(organisation=organisation, count=120)
    record = UsageRequest.objects.filter(organisation=str(organisation.pk), attempt_count=2).first()
    assert record is not None
    allowed = json.loads(COUNTS.read_text())
    for name, url, headers in (
        ("/requests/<id>/", f"/requests/{record.id}/", {}),
        ("/requests/?provider=", "/requests/?provider=first-choice", {}),
        ("/requests/ fragment", "/requests/", {"HX-Request": "true"}),
        ("/ fragment", "/overview/now/", {"HX-Request": "true"}),
    ):
        with CaptureQueriesContext(connection) as queries:
            page(url, **headers)
        assert len(queries) <= allowed[name] <= 12, (f"{name}: {len(queries)}", [query["sql"][:110] for query in queries])


def test_the_bar_names_the_environment_and_counts_only_proxies_that_are_heard_of(page: Callable[..., str]) -> None:
    now = timezone.now()
    for name, ago in (("alive", 0), ("silent", 300)):
        ProxyProcess.objects.create(
            boot_id=uuid7(), name=name, host="h", pid=1, public_url="", admin_url="", state="ready", detail={}, version=0, acked_at=now,
            registered_at=now, last_seen_at=now - timedelta(seconds=ago),
        )  # fmt: skip
    text = page("/proxies/")
    assert ">local</span>" in text
    assert "1/2<" in text
    assert fleet_status()["label"].endswith("1/2")


def test_a_signed_out_person_is_sent_to_sign_in(client: Client, db: None) -> None:
    for url in PAGES:
        response = client.get(url)
        assert response.status_code == 302 and response["Location"].startswith("/login/?next=")


def test_a_person_without_organisation_is_told_so(client: Client, db: None) -> None:
    client.force_login(User.objects.create(email="none@example.test"))
    response = client.get("/")
    assert response.status_code == 403
    assert "belong to no organisation" in response.content.decode()


def test_another_organisation_is_refused_by_name_and_by_request(
    page: Callable[..., str], client: Client, other: Organisation, person: User
) -> None:
    usage_generate(organisation=other, count=10, simulated=False)
    page("/")
    assert client.get("/", {"org": other.slug}).status_code == 403
    record = UsageRequest.objects.filter(organisation=str(other.pk)).first()
    assert record is not None
    assert client.get(f"/requests/{record.id}/").status_code == 404


def test_real_and_simulated_traffic_never_mix(client: Client, person: User, other: Organisation) -> None:
    Membership.objects.create(user=person, organisation=other, role="viewer")
    usage_generate(organisation=other, count=30, simulated=False, routes=("real-route",))
    usage_generate(organisation=other, count=40, simulated=True, routes=("simulated-route",))
    client.force_login(person)
    real = client.get("/overview/routes/", {"org": other.slug, "traffic": "real"}).content.decode()
    assert "real-route" in real and "simulated-route" not in real
    simulated = client.get("/overview/routes/", {"org": other.slug, "traffic": "simulated"}).content.decode()
    assert "simulated-route" in simulated and ">real-route<" not in simulated
    remembered = client.get("/overview/routes/").content.decode()
    assert "simulated-route" in remembered


def test_a_panel_and_its_page_come_from_one_view(page: Callable[..., str], organisation: Organisation) -> None:
    usage_generate(organisation=organisation, count=50)
    whole, fragment = page("/overview/routes/"), page("/overview/routes/", **{"HX-Request": "true"})
    assert "<html" in whole and "<html" not in fragment
    assert 'id="panel-routes"' in whole and 'id="panel-routes"' in fragment


def test_an_unchanged_panel_is_a_304(client: Client, person: User) -> None:
    client.force_login(person)
    first = client.get("/spend/budgets/", headers={"HX-Request": "true"})
    again = client.get("/spend/budgets/", headers={"HX-Request": "true", "HX-PTag": first["HX-PTag"]})
    assert (first.status_code, again.status_code) == (200, 304)


def test_a_wrong_range_is_named_and_replaced(page: Callable[..., str]) -> None:
    assert "is no time" in page("/?from=yesterday")
    assert "ends before it starts" in page("/requests/?from=now-1h&to=now-2h")


def test_a_request_s_page_tells_everything(page: Callable[..., str], organisation: Organisation) -> None:
    usage_generate(organisation=organisation, count=60)
    record = UsageRequest.objects.filter(organisation=str(organisation.pk), attempt_count=2).first()
    assert record is not None
    text = page(f"/requests/{record.id}/")
    for word in (
        str(record.id),
        "first-choice",
        "list-2026",
        "upstream_error",
        "Why it went there",
        "The next target was tried",
        "Raw record",
    ):
        assert word in text


def test_writing_methods_are_refused(client: Client, person: User) -> None:
    client.force_login(person)
    for url in PAGES:
        assert client.post(url).status_code == 405


def test_healthz_answers_without_signing_in(client: Client, db: None) -> None:
    response = client.get("/healthz")
    assert (response.status_code, response.json()["status"]) == (200, "ok")
