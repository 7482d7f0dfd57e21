"""The list and the page of a route: what they show, to whom, with how many queries, and with names of any kind."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from apps.accounts.models import Organisation
from apps.accounts.scope import Scope
from apps.audit.actors import Actor
from apps.budgets.performance_services import performance_budget_set
from apps.contracts.snapshot import Deadlines
from apps.flags.services import flag_set
from apps.keys.services import key_create
from apps.providers.models import Provider
from apps.routes import services
from apps.routes.models import Route, RouteTarget
from apps.ui import tables
from apps.usage.models import UsageRequest
from apps.usage.to_date import to_date
from tests.dashboard.generate import usage_generate
from tests.routes.conftest import EAST, WEST
from tests.scale import FULL, MANY

COUNTS = Path(__file__).with_name("query_counts.json")
NAUGHTY = Path(__file__).resolve().parents[2] / ".." / "shared" / "material" / "vectors" / "blns" / "blns.json"


def traffic(demo: Organisation, **more: object) -> None:
    usage_generate(organisation=demo, count=300, routes=("demo-chat",), **more)  # type: ignore[arg-type]
    # The generator's one model is called sim-model; this route's targets are sim-chat.
    with connection.cursor() as cursor:
        for table in ("usage_rollup_10s", "usage_rollup_1h"):
            cursor.execute(f"UPDATE {table} SET model = 'sim-chat' WHERE model = 'sim-model'")


def body(client: Client, url: str, **headers: str) -> str:
    response = client.get(url, headers=headers)
    assert response.status_code == 200, (url, response.status_code)
    return b"".join(response.streaming_content).decode() if response.streaming else response.content.decode()


def test_pages_ask_no_more_queries_than_committed(signed_in: Callable[..., Client], demo: Organisation, route: Route, actor: Actor) -> None:
    traffic(demo)
    key_create(actor=actor, organisation=demo, name="app")
    client, allowed = signed_in(), json.loads(COUNTS.read_text())
    flag_set(actor=actor, organisation=demo, name="fall", kind="fallback", subject_kind="route", subject_id=route.pk, on=True, reason="r")
    services.route_switch(actor=actor, route=route, target=WEST, reason="east is slow")
    for name in allowed:
        url, _, fragment = name.replace("<id>", str(route.pk)).partition(" ")
        url = url.replace("?q=", "?q=demo&sort=-spend").replace("?from=", "?from=now-6h&version=3")
        headers = {"HX-Request": "true"} if fragment else {}
        body(client, url, **headers)
        with CaptureQueriesContext(connection) as queries:
            body(client, url, **headers)
        assert len(queries) <= allowed[name] <= 12, (f"{name}: {len(queries)}", [query["sql"][:110] for query in queries])


def test_the_list_shows_targets_in_order_traffic_and_what_is_in_force(
    signed_in: Callable[..., Client], demo: Organisation, route: Route, actor: Actor
) -> None:
    traffic(demo)
    client = signed_in("viewer")
    text = body(client, "/routes/")
    assert text.index("1. sim-east/sim-chat") < text.index("2. sim-west/sim-chat")
    assert "300 requests in the range" in text and "New route" not in text
    flag_set(actor=actor, organisation=demo, name="stop-chat", kind="kill", subject_kind="route", subject_id=route.pk, on=True, reason="r")
    text = body(client, "/routes/?state=killed")
    assert "Stopped" in text and "stop-chat" in text and "demo-chat" in text
    assert "No routes match" in body(client, "/routes/?state=disabled")
    east = Provider.objects.get(organisation=demo, name="sim-east")
    flag_set(actor=actor, organisation=demo, name="no-east", kind="kill", subject_kind="provider", subject_id=east.pk, on=True, reason="r")
    assert "stopped by the flag no-east" in body(client, "/routes/") and "Provider stopped" in body(client, f"/routes/{route.pk}/")
    assert "demo-chat" in body(client, "/routes/?q=sim-west") and "demo-chat" in body(client, "/routes/?q=CHAT")
    [row] = list(csv.DictReader(io.StringIO(body(client, "/routes/?format=csv").removeprefix("\ufeff"))))
    assert row["Route"] == "demo-chat" and row["Requests"] == "300" and row["Targets"] == "sim-east/sim-chat, sim-west/sim-chat"
    assert int(row["Nano-dollars"]) == sum(UsageRequest.objects.filter(organisation=str(demo.pk)).values_list("cost_nano", flat=True))


def test_nothing_yet_offers_the_one_action(signed_in: Callable[..., Client], demo: Organisation) -> None:
    assert 'href="/routes/new/"' in body(signed_in(), "/routes/")
    text = body(signed_in("viewer"), "/routes/")
    assert "No route yet" in text and 'href="/routes/new/"' not in text


def test_the_page_measures_each_target(signed_in: Callable[..., Client], demo: Organisation, route: Route) -> None:
    traffic(demo)
    text = body(signed_in(), f"/routes/{route.pk}/")
    assert "Requests per second by target" in text and "Recent failures" in text and "sim-east/sim-chat" in text
    failed = UsageRequest.objects.filter(organisation=str(demo.pk), outcome="error").order_by("-started_at").first()
    assert failed is not None and f"/requests/{failed.id}/" in text
    assert "Send all demo-chat traffic to sim-west/sim-chat?" in text and "1,000 answers cost" in text
    assert "&quot;model&quot;: &quot;demo-chat&quot;" in text
    viewer = body(signed_in("viewer"), f"/routes/{route.pk}/")
    assert "Send all" not in viewer and "/edit/" not in viewer


def test_the_page_draws_its_chains_and_says_where_deadlines_come_from(
    signed_in: Callable[..., Client], demo: Organisation, route: Route, actor: Actor
) -> None:
    traffic(demo)
    services.route_update(actor=actor, route=route, fallback=[WEST], deadlines=Deadlines(idle_ms=5_000))
    client, url = signed_in("viewer"), f"/routes/{route.pk}/"
    text = body(client, url)
    assert text.count("In force") > text.count("In force</th>") and "used while a fallback flag is on" in text and "Tried first" in text
    assert "No proxy heard" in text and "set on this route" in text and "First token p95" in text
    assert f'hx-get="/ownership/of/route/{route.pk}/"' in text and f'hx-get="{url}standing/"' in text
    flag_set(actor=actor, organisation=demo, name="fall", kind="fallback", subject_kind="route", subject_id=route.pk, on=True, reason="r")
    assert "the flag fall is on" in body(client, url)
    services.route_switch(actor=actor, route=route, target=WEST, reason="east is slow", failover=False)
    text = body(client, url)
    assert "Takes all traffic" in text and "Left out" in text and "all traffic goes to sim-west/sim-chat, by" in text


def test_spend_and_the_verdict_are_a_panel_of_their_own(
    signed_in: Callable[..., Client], demo: Organisation, route: Route, actor: Actor
) -> None:
    usage_generate(organisation=demo, count=20, routes=("demo-chat",))
    url = f"/routes/{route.pk}/standing/"
    text = body(signed_in("viewer"), url)
    assert "Per 1k tokens" in text and "No performance budget" in text and "Set one" not in text and "<html" in text
    performance_budget_set(
        actor=actor, organisation=demo, name="quick", scope="route", scope_id=str(route.pk), metric="ttft_p95", bound="800ms",
        owner_email="ops@example.test",
    )  # fmt: skip
    assert "Users waited" not in text
    with connection.cursor() as cursor:  # as the shipper keeps what an app says of its request
        cursor.execute(
            "INSERT INTO usage_feedback (request_id, key_id, organisation, team, state, said_us, client_ms, started_at, simulated, route, "
            "variant, total_us) SELECT id, key_id, organisation, team, 'kept', 1, 3456, now(), simulated, route, '', 2100000 "
            "FROM usage_request LIMIT 3"
        )
    panel = body(signed_in("admin"), url, **{"HX-Request": "true"})
    assert "quick" in panel and "Unknown" in panel and "<html" not in panel
    assert "Users waited 3.46\u202fs" in panel and "of 3 requests" in panel and "of it here 2.10\u202fs" in panel
    spent = to_date(Scope(str(demo.pk), True), "route", "demo-chat")
    rows = UsageRequest.objects.filter(organisation=str(demo.pk))
    assert spent.month.requests >= spent.today.requests and spent.month.requests <= rows.count() == 20
    cost = sum(row.cost_nano for row in rows)
    assert spent.month.cost_nano <= cost and (spent.per_request or 0) * spent.month.ok >= spent.month.cost_nano


def test_tabs_show_keys_config_and_history(signed_in: Callable[..., Client], demo: Organisation, route: Route, actor: Actor) -> None:
    key_create(actor=actor, organisation=demo, name="by-alias", routes=["chat"])
    key_create(actor=actor, organisation=demo, name="elsewhere", routes=["other"])
    client = signed_in()
    text = body(client, f"/routes/{route.pk}/?tab=access")
    assert "by-alias" in text and "elsewhere" not in text
    assert "&quot;targets&quot;" in body(client, f"/routes/{route.pk}/?tab=config")
    assert "Created" in body(client, f"/routes/{route.pk}/?tab=history")
    assert "Who changed what" not in body(signed_in("viewer"), f"/routes/{route.pk}/?tab=history")  # takes audit.view


def test_other_people_do_not_find_it(signed_in: Callable[..., Client], route: Route) -> None:
    other = Organisation.objects.create(name="Other", slug="other-tests")
    stranger = signed_in("admin", other)
    assert stranger.get(f"/routes/{route.pk}/").status_code == 404
    assert stranger.get(f"/routes/{route.pk}/edit/").status_code == 404
    assert "demo-chat" not in stranger.get("/routes/").content.decode()
    assert Client().get("/routes/")["Location"].startswith("/login/?next=")
    assert stranger.post("/routes/").status_code == 405


def test_names_of_any_kind_are_text_everywhere(signed_in: Callable[..., Client], demo: Organisation, actor: Actor) -> None:
    if not NAUGHTY.is_file():
        pytest.skip(f"NO MATERIAL: {NAUGHTY} is missing, so hostile names are not tried")
    strings = [text.replace("\x00", "") for text in json.loads(NAUGHTY.read_text()) if text.strip("\x00")]
    provider = Provider.objects.get(organisation=demo, name="sim-east")
    provider.name = "<script>alert(1)</script>'\""
    provider.save()
    rows = [Route(organisation=demo, name=f"{text[:110]} {at}") for at, text in enumerate(strings)]
    Route.objects.bulk_create(rows)
    RouteTarget.objects.bulk_create(
        RouteTarget(route=row, chain="primary", position=0, provider=provider, model=f"{row.name}"[:200]) for row in rows
    )
    usage_generate(organisation=demo, count=len(rows), routes=[row.name for row in rows], providers=[provider.name])
    client = signed_in()
    for page in range(1, -(-len(rows) // 50) + 1):
        text = body(client, f"/routes/?page={page}")
        assert "<script>alert" not in text and "onerror=alert" not in text.replace("&quot;", "").split("<main")[0]
    for row in rows[:: 40 if FULL else 120]:
        for tab in ("", "?tab=config", "?tab=history"):
            assert "<script>alert" not in body(client, f"/routes/{row.pk}/{tab}")
        assert "<script>alert" not in body(client, f"/routes/{row.pk}/edit/")
    for line in csv.reader(io.StringIO(body(client, "/routes/?format=csv").removeprefix("\ufeff"))):
        assert not any(cell.startswith(("=", "+", "-", "@")) for cell in line)


def test_very_many_routes_are_paged_sorted_and_searched(
    signed_in: Callable[..., Client], demo: Organisation, route: Route, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tables, "MOST_CSV_ROWS", MANY)
    Route.objects.bulk_create(Route(organisation=demo, name=f"route-{at:05}") for at in range(MANY))
    traffic(demo)
    client = signed_in()
    first = body(client, "/routes/?sort=-rate")
    assert first.index("demo-chat") < first.index("route-00000") and first.count("<tr>") == 51  # a head and fifty rows
    assert f"route-{MANY - 1:05}" in body(client, f"/routes/?page={MANY // 50 + 1}")
    assert "route-01777" in body(client, "/routes/?q=01777")
    assert body(client, "/routes/?format=csv").count("\n") == MANY + 1  # and one route is left out


def test_a_switch_that_has_run_out_is_shown_no_more(
    signed_in: Callable[..., Client], demo: Organisation, route: Route, actor: Actor
) -> None:
    switch = services.route_switch(actor=actor, route=route, target=WEST, reason="east is slow", until=timezone.now() + timedelta(hours=1))
    client = signed_in()
    assert "All traffic goes to sim-west/sim-chat" in body(client, f"/routes/{route.pk}/") and "Switched" in body(client, "/routes/")
    switch.until = timezone.now() - timedelta(seconds=1)
    switch.save()
    assert (
        "All traffic goes to" not in body(client, f"/routes/{route.pk}/") and "Switched" not in body(client, "/routes/").split("<tbody>")[1]
    )
    services.route_update(actor=actor, route=route, targets=[EAST])  # and its target may go
