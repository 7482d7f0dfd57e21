"""Dashboards: of everything and of each value, compared, as tables, with what stands beside them; the way from Overview to a cause."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import plotly.graph_objects as go
import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.accounts.models import Organisation, User
from apps.audit.registry import event_record
from apps.dashboard.board_panels import BOARD_PANELS, BoardPanel, board_panel_register
from apps.dashboard.board_sources import outages_of
from apps.ownership.models import Team
from apps.providers.choices import CLOSED_EVENT, OPENED_EVENT
from apps.providers.models import Endpoint, Provider
from apps.usage.models import UsageRequest
from tests.dashboard.generate import usage_generate

COUNTS = json.loads(Path(__file__).with_name("query_counts.json").read_text())
HOSTILE = '"><script>alert(1)</script>'
AT = datetime(2026, 3, 4, 12, 0, tzinfo=UTC)
PAGES = {
    "/dashboards/": "/dashboards/?compare=1d",
    "/dashboards/<kind>/": "/dashboards/key/",
    "/dashboards/<kind>/?value=": "/dashboards/region/?value=eu&compare=before",
    "/dashboards/<kind>/panels/<panel>/": "/dashboards/route/panels/breakers/?value=demo-chat",
    "/dashboards/views/": "/dashboards/views/?path=/dashboards/",
}


@pytest.fixture
def traffic(organisation: Organisation) -> Provider:
    """A thousand requests of the last hour, a provider with a region, a breaker that opened and closed, and a team."""
    usage_generate(organisation=organisation, count=1_000)
    provider = Provider.objects.create(organisation=organisation, name="sim-east", kind="openai")
    Endpoint.objects.create(provider=provider, position=0, name="main", base_url="http://192.0.2.1/v1", region="eu")
    now = datetime.now(UTC)
    data = {"organisation": str(organisation.pk), "target": "sim-east/main/sim-model"}
    for kind, ago in ((OPENED_EVENT, 30), (CLOSED_EVENT, 28)):
        at = now - timedelta(minutes=ago)
        event_record(kind=kind, subject_kind="provider", subject_id=provider.pk, subject_name="sim-east", at=at, data=data)
    Team.objects.create(organisation=organisation, name="Search", slug="search")
    return provider


def figures(text: str) -> list[dict[str, Any]]:
    """Every figure of a page; a colour stands for the names of tokens, which plotly does not know."""
    found = re.findall(r'<script id="figure-[^"]+" type="application/json">(.*?)</script>', text)
    return [json.loads(re.sub(r"var\(--[\w-]+\)", "#123456", one)) for one in found]


def test_every_page_asks_no_more_queries_than_committed(page: Callable[..., str], traffic: Provider) -> None:
    for name, url in PAGES.items():
        page(url)
        with CaptureQueriesContext(connection) as queries:
            page(url)
        assert len(queries) <= COUNTS[name] <= 12, (f"{name}: {len(queries)}", [query["sql"][:140] for query in queries])


def test_dashboards_of_all_kinds_stand_with_and_without_traffic(page: Callable[..., str], organisation: Organisation) -> None:
    kinds = ("route", "provider", "model", "region", "key", "team")
    assert "No traffic in this range" in page("/dashboards/")
    for kind in kinds:
        assert "No traffic in this range" in page(f"/dashboards/{kind}/") and "No traffic" in page(f"/dashboards/{kind}/?value=x")
        assert HOSTILE not in page(f"/dashboards/{kind}/") and HOSTILE not in page(f"/dashboards/{kind}/?value={HOSTILE}")
    usage_generate(organisation=organisation, count=300)
    for kind, value in (("route", "demo-chat"), ("provider", "sim-west"), ("model", "sim-model")):
        listed = page(f"/dashboards/{kind}/")
        assert f"/dashboards/{kind}/?value={value}" in listed
        text = page(f"/dashboards/{kind}/?value={value}")
        assert "Requests per second" in text and "Time to first token" in text and "Availability" in text


def test_figures_are_plotly_s_and_markers_stand_on_every_plot_of_time(page: Callable[..., str], traffic: Provider) -> None:
    drawn = figures(page("/dashboards/?compare=before")) + figures(page("/dashboards/provider/panels/breakers/?value=sim-east"))
    assert len(drawn) >= 8
    for figure in drawn:
        go.Figure(figure)  # raises where plotly would not understand it
    titles = {str(trace.get("name")) for figure in drawn for trace in figure["data"]}
    assert {"p50", "p95", "p99", "availability", "a request", "1,000 tokens", "requests before", "p95 before", "upstream_error"} <= titles


def test_figures_and_plots_are_polled_by_themselves(page: Callable[..., str], traffic: Provider) -> None:
    whole = page("/dashboards/?from=now-1h")
    for part, has, has_not in (("figures", "title-figures", "figure-traffic"), ("plots", "figure-traffic", "title-figures")):
        asked = unescape(re.search(rf'hx-get="([^"]*part={part})"', whole)[1])  # type: ignore[index]
        text = page(asked, **{"HX-Request": "true"})
        assert has in text and has_not not in text and "<html" not in text
        assert has in page(asked) and has_not in page(asked), "without htmx its address is the whole page"


def test_a_breaker_s_outage_is_told_where_it_belongs(page: Callable[..., str], traffic: Provider) -> None:
    fragment = {"HX-Request": "true"}
    text = page("/dashboards/provider/panels/breakers/?value=sim-east", **fragment)
    assert "Out of service 1 time." in text and "sim-east/main/sim-model" in text and "2\u202fmin" in text
    nothing = page("/dashboards/provider/panels/breakers/?value=sim-west", **fragment)
    assert nothing == '<div id="panel-breakers" hidden></div>'
    assert "Nothing in this range" in page("/dashboards/provider/panels/breakers/?value=sim-west")


def test_what_there_is_not_is_named(client: Client, person: User) -> None:
    client.force_login(person)
    for url in ("/dashboards/planet/", "/dashboards/panels/nothing/", "/dashboards/key/panels/breakers/?value=k"):
        assert client.get(url).status_code == 404, url
    for url in PAGES.values():
        if "views" not in url:
            assert client.post(url).status_code == 405


def test_a_panel_that_another_app_registers_is_shown_and_one_without_anything_to_say_is_not(
    page: Callable[..., str], organisation: Organisation, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage_generate(organisation=organisation, count=50)
    monkeypatch.setattr("apps.dashboard.board_panels.BOARD_PANELS", dict(BOARD_PANELS))
    shown = BoardPanel("drills", "Drills", BOARD_PANELS["traffic"].build)
    board_panel_register(shown)
    board_panel_register(shown)
    board_panel_register(BoardPanel("silent", "Silent source", lambda board: None))
    with pytest.raises(ValueError, match="choose another name"):
        board_panel_register(BoardPanel("drills", "Others", lambda board: None))
    text = page("/dashboards/")
    assert 'id="panel-drills"' in text and "Silent source" not in text


def test_csv_holds_what_is_drawn(client: Client, person: User, traffic: Provider) -> None:
    client.force_login(person)
    table = b"".join(client.get("/dashboards/route/?format=csv")).decode("utf-8-sig").splitlines()  # type: ignore[arg-type]
    assert table[0].startswith("Name,Requests") and sum(int(line.split(",")[1]) for line in table[1:]) == 1_000
    panel = b"".join(client.get("/dashboards/panels/answer/?format=csv")).decode("utf-8-sig")  # type: ignore[arg-type]
    assert panel.splitlines()[0] == "Time (UTC),p50 ms,p95 ms,p99 ms,Measured"


def test_from_overview_to_the_cause_of_a_failed_request_in_three_clicks(page: Callable[..., str], traffic: Provider) -> None:
    """Only links that stand on the pages are followed: the failing provider, a failed request of it, and why it failed."""

    def link(text: str, pattern: str) -> str:
        found = re.search(rf'href="({pattern}[^"]*)"', text)
        assert found, pattern
        return unescape(found[1])

    board = page(link(page("/"), r"/dashboards/provider/\?value=sim-"))  # the first click
    late = page(unescape(re.search(r'hx-get="(/dashboards/provider/panels/failing/[^"]*)"', board)[1]), **{"HX-Request": "true"})  # type: ignore[index]
    request = page(link(late, r"/requests/[0-9a-f-]{36}/"))  # the second
    assert "Failed" in request and "Why it went there" in request and "The next target was tried" in request


def test_a_finding_leads_to_the_dashboard_of_what_fails(page: Callable[..., str], organisation: Organisation) -> None:
    usage_generate(organisation=organisation, count=600, over=timedelta(minutes=4), providers=("sim-east",))
    with connection.cursor() as cursor:
        cursor.execute("UPDATE usage_summary SET error = requests / 2, ok = requests - requests / 2 WHERE seconds = 60")
    assert "/dashboards/route/?value=" in page("/overview/verdict/")


def test_outages_are_paired_from_what_was_recorded() -> None:
    def at(minutes: int) -> datetime:
        return AT + timedelta(minutes=minutes)

    events = [
        (at(-50), CLOSED_EVENT, "old"), (at(-40), OPENED_EVENT, "a"), (at(-30), OPENED_EVENT, "a"), (at(-20), OPENED_EVENT, "b"),
        (at(-10), CLOSED_EVENT, "a"), (at(5), OPENED_EVENT, "c"),
    ]  # fmt: skip
    found = outages_of(events, start=at(-15), end=at(0))
    assert [(one.target, one.since, one.until) for one in found] == [("b", at(-20), None), ("a", at(-40), at(-10))]
    assert found[1].lasted(at(0)) == 30 * 60e6 and found[0].lasted(at(0)) == 20 * 60e6
    assert outages_of(events, start=at(-5), end=at(0)) == found[:1], "what closed before the range is not of it"


def test_requests_panels_show_the_slowest_of_what_the_dashboard_is_of(
    page: Callable[..., str], traffic: Provider, organisation: Organisation
) -> None:
    slowest = UsageRequest.objects.filter(organisation=str(organisation.pk), route="demo-chat").order_by("-total_us").first()
    assert slowest is not None
    text = page("/dashboards/route/panels/slowest/?value=demo-chat", **{"HX-Request": "true"})
    assert str(slowest.pk[1]) in text and "/requests/?route=demo-chat" in unescape(text)
