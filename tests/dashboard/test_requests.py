"""The list of requests: pages by cursor, filters, CSV, names of any kind."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client
from hypothesis import given
from hypothesis import strategies as st

from apps.accounts.models import Organisation, User
from apps.accounts.scope import Scope
from apps.contracts import histogram
from apps.usage import plots
from apps.usage.models import UsageRequest
from apps.usage.requests import Cursor, CursorError, request_page
from apps.usage.selectors import traffic_by, traffic_series
from tests.dashboard.generate import usage_generate

NAUGHTY = Path(__file__).resolve().parents[2] / ".." / "shared" / "material" / "vectors" / "blns" / "blns.json"


def _window() -> tuple[datetime, datetime]:
    now = datetime.now(UTC)
    return now - timedelta(hours=2), now


def test_paging_shows_every_request_once_and_goes_back(organisation: Organisation) -> None:
    usage_generate(organisation=organisation, count=130)
    scope, seen, after = Scope(str(organisation.pk), True), [], ""
    pages = []
    while True:
        page = request_page(scope, *_window(), after=after, limit=50)
        pages.append(page)
        seen += [row.id for row in page.rows]
        if page.after is None:
            break
        after = page.after
    assert len(seen) == len(set(seen)) == 130
    assert [row.started_at for page in pages for row in page.rows] == sorted(
        (row.started_at for p in pages for row in p.rows), reverse=True
    )
    assert pages[2].before is not None
    back = request_page(scope, *_window(), before=pages[2].before, limit=50)
    assert [row.id for row in back.rows] == [row.id for row in pages[1].rows]


@given(st.text(max_size=60))
def test_a_made_up_cursor_is_refused(text: str) -> None:
    with pytest.raises(CursorError, match="first page"):
        Cursor.parse(text)


def test_filters_narrow_and_chips_remove_them(page: Callable[..., str], organisation: Organisation) -> None:
    usage_generate(organisation=organisation, count=200)
    text = page("/requests/?outcome=error&route=demo-chat")
    assert text.count('class="chip"') == 2
    assert "Answered</span>" not in text.split("<tbody>")[1]
    assert 'href="?route=demo-chat"' in text and 'href="?outcome=error"' in text


def test_a_provider_finds_the_requests_that_tried_it_and_failed_over(organisation: Organisation) -> None:
    usage_generate(organisation=organisation, count=200)
    scope = Scope(str(organisation.pk), True)
    with connection.cursor() as cursor:  # as the shipper counts an attempt that failed: at its own target
        cursor.execute(
            "INSERT INTO usage_summary SELECT organisation, simulated, seconds, dimension, bucket, 'first-choice', "
            "0, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, '{}', '{}' "
            "FROM usage_summary WHERE dimension = 'provider' AND seconds = 3600 AND value = 'sim-east'"
        )
    found = request_page(scope, *_window(), filters={"provider": "first-choice"})
    assert len(found.rows) == UsageRequest.objects.filter(attempt_count=2).count() > 0
    assert {row.provider for row in found.rows} <= {"sim-east", "sim-west"}
    assert request_page(scope, *_window(), filters={"provider": "never-called"}).rows == []


def test_the_newest_requests_are_followed_and_older_pages_stand_still(client: Client, person: User, organisation: Organisation) -> None:
    usage_generate(organisation=organisation, count=120)
    client.force_login(person)
    assert "data-live" not in client.get("/requests/").content.decode().split("request-rows")[1]
    first = client.get("/requests/?tail=1").content.decode()
    assert 'id="request-rows" data-live' in first
    older = re.search(r'rel="next" href="([^"]+)"', first)
    assert older is not None
    assert "data-live" not in client.get("/requests/" + older[1].replace("&amp;", "&")).content.decode()
    assert "data-live" not in client.get("/requests/?from=now-2h&to=now-1m").content.decode()
    rows = client.get("/requests/?outcome=ok", headers={"HX-Request": "true"})
    assert "<form" not in rows.content.decode() and "?outcome=ok" in rows.content.decode()
    same = client.get("/requests/?outcome=ok", headers={"HX-Request": "true", "HX-PTag": rows["HX-PTag"]})
    assert same.status_code == 304


def test_the_three_kinds_of_nothing(page: Callable[..., str], organisation: Organisation) -> None:
    assert 'data-empty="nothing-yet"' in page("/requests/")
    usage_generate(organisation=organisation, count=20)
    assert "No request matches" in page("/requests/?route=no-such-route")
    assert "No requests in this range" in page("/requests/?from=2026-01-01&to=2026-01-02")


def test_a_damaged_cursor_starts_over_and_says_so(page: Callable[..., str], organisation: Organisation) -> None:
    usage_generate(organisation=organisation, count=20)
    text = page("/requests/?after=rubbish")
    assert "start again from the first page" in text and text.count("<tr>") > 20


def test_an_id_goes_to_its_request(client: Client, person: User, organisation: Organisation) -> None:
    usage_generate(organisation=organisation, count=5)
    client.force_login(person)
    wanted = UsageRequest.objects.first()
    assert wanted is not None
    assert client.get("/requests/", {"q": f" {wanted.id} "})["Location"] == f"/requests/{wanted.id}/"
    assert client.get("/requests/", {"q": "<b>"})["Location"] == "/requests/?user=%3Cb%3E", "anything else is a user"


def test_csv_holds_what_the_filters_select_and_no_formula(client: Client, person: User, organisation: Organisation) -> None:
    usage_generate(organisation=organisation, count=60, routes=("=cmd|' /C calc'!A0", "plain"))
    client.force_login(person)
    response = client.get("/requests/", {"route": "=cmd|' /C calc'!A0", "format": "csv"})
    text = b"".join(response.streaming_content).decode()  # type: ignore[attr-defined]
    rows = list(csv.DictReader(io.StringIO(text.lstrip("\ufeff"))))
    assert len(rows) == 30
    assert {row["Route"] for row in rows} == {"'=cmd|' /C calc'!A0"}


def test_names_of_any_kind_are_escaped(page: Callable[..., str], organisation: Organisation) -> None:
    if not NAUGHTY.is_file():
        pytest.skip("NO NAUGHTY STRINGS: ../shared/material is absent")
    strings = [text.replace("\x00", "") for text in json.loads(NAUGHTY.read_text()) if text.strip("\x00")]
    usage_generate(organisation=organisation, count=len(strings), routes=strings, providers=strings)
    for url in ("/", "/overview/routes/", "/overview/providers/", "/requests/?limit=250"):
        text = page(url)
        assert not re.search(
            r"<(script>|img|svg/|iframe|b>|marquee|a href=\"?javascript|x:script)[^>]*(alert|onerror|onload)", text, re.I
        ), url
        assert text.count("<script") == len(re.findall(r'<script (src="/static/|id="figure-)', text))


def test_totals_by_route_and_by_provider_are_the_requests_totals(organisation: Organisation) -> None:
    usage_generate(organisation=organisation, count=777)
    scope = Scope(str(organisation.pk), True)
    rows = list(UsageRequest.objects.filter(organisation=scope.organisation))
    series = traffic_series(scope, *_window())
    groups = traffic_by(scope, *_window(), ("route", "provider"))
    for totals in (series.totals, *(sum((g.totals for g in groups[name][1:]), groups[name][0].totals) for name in groups)):
        assert (totals.requests, totals.cost_nano) == (777, sum(row.cost_nano for row in rows))
        assert totals.tokens_output == sum(row.tokens_output for row in rows)
    merged: dict[int, int] = {}
    for row in rows:
        if row.outcome in ("ok", "error"):
            histogram.add(merged, row.total_us)
    for q, value in ((0.5, series.total.p50), (0.95, series.total.p95), (0.99, series.total.p99)):
        assert value == histogram.quantile(merged, q)


def test_figures_are_figures(organisation: Organisation) -> None:
    """plotly's own package validates what we write by hand; token names stand for colours."""
    import plotly.graph_objects as go

    usage_generate(organisation=organisation, count=300)
    series = traffic_series(Scope(str(organisation.pk), True), *_window())
    for make in (plots.traffic, plots.latency, plots.spend):
        plot = make(series)
        go.Figure(json.loads(re.sub(r"var\(--[\w-]+\)", "#123456", json.dumps(plot.figure))))
        assert all(len(trace["x"]) <= plots.MOST_POINTS for trace in plot.figure["data"])
        assert plot.rows and all(len(row) == len(plot.header) for row in plot.rows)
