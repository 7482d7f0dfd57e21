"""Config history: the list with its filters, a version with its diff, two versions compared, who runs what."""

from __future__ import annotations

import json
from html import unescape
from pathlib import Path

import pytest
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext

from apps.accounts.models import Organisation
from apps.audit.actors import Actor
from apps.publishing.history import differences
from apps.publishing.models import Version
from apps.publishing.services import publish
from apps.routes.models import Route
from apps.routes.services import route_delete, route_update
from tests.publishing.installation import ACTOR, proxy_make, route_make

COUNTS = Path(__file__).with_name("query_counts.json")
PAGES = ("/config/", "/config/proxies/", "/config/2/", "/config/2/?base=0", "/config/1/rollback/")


@pytest.fixture
def history(main: Organisation) -> Organisation:
    """v1 first config, v2 one route changed (=HYPERLINK as reason), v3 one added and one removed by Bob; proxies behind and silent."""
    route = Route.objects.get()
    route_update(actor=ACTOR, route=route, max_attempts=5)
    publish(actor=Actor.command("=HYPERLINK(1)"), reason="=cmd() <script>alert(1)</script>")
    route_make(main, "new")
    route_delete(actor=ACTOR, route=route)
    publish(actor=Actor.command("bob"), reason="cleanup")
    proxy_make("front", 3)
    proxy_make("behind", 2)
    proxy_make("quiet", 3, seen_seconds_ago=600)
    return main


def page(client: Client, url: str, status: int = 200) -> str:
    response = client.get(url)
    assert response.status_code == status, (url, response.status_code)
    return unescape(response.content.decode()) if not response.streaming else b"".join(response.streaming_content).decode()


@pytest.mark.parametrize("url", ["/config/", "/config/proxies/"])
def test_a_page_stands_with_nothing_published(admin: Client, url: str) -> None:
    Version.objects.all().delete()
    assert "<h1" in page(admin, url)


def test_the_list_says_who_why_what_and_where_it_runs(admin: Client, history: Organisation) -> None:
    text = page(admin, "/config/")
    assert "1 route added, 1 route removed" in text and "cleanup" in text and "bob" in text
    assert "1 of 3" in text and "v3 · 1/3" in text, "a silent proxy counts as not having it"
    assert "<script>alert" not in admin.get("/config/").content.decode()


@pytest.mark.parametrize(
    ("query", "numbers"),
    [
        ("?q=cleanup", {3}), ("?q=v2", {2}), ("?q=2", {2}), ("?by=bob", {3}), ("?section=providers", {1}), ("?section=nonsense", {1, 2, 3}),
        ("?q=nothing-like-it", set()), ("?q=" + "9" * 30, set()),
        ("?sort=number", {1, 2, 3}), ("?page=99", {1, 2, 3}), ("?q=%00", {1, 2, 3}),
    ],
)  # fmt: skip
def test_filters_live_in_the_url(admin: Client, history: Organisation, query: str, numbers: set[int]) -> None:
    response = admin.get(f"/config/{query}")
    assert {row.number for row in response.context["listing"].rows} == numbers
    if not numbers:
        assert "Clear the filters" in response.content.decode()


def test_csv_is_what_is_shown_and_no_formula(admin: Client, history: Organisation) -> None:
    text = page(admin, "/config/?q=v2&format=csv")
    assert len(text.splitlines()) == 2 and "'=HYPERLINK(1)" in text and "'=cmd()" in text


def test_a_version_shows_its_diff_by_object(admin: Client, history: Organisation) -> None:
    text = page(admin, "/config/2/")
    assert "max attempts" in text and "<del>3</del>" in text and "<ins>5</ins>" in text and "Config v2" in text
    assert "Roll back to v2" in text
    newest = page(admin, "/config/3/")
    assert "Newest" in newest and "Roll back to v3" not in newest


def test_two_versions_compared(admin: Client, history: Organisation) -> None:
    text = page(admin, "/config/3/?base=1")
    assert "v3 compared with v1" in text and "new" in text and "Removed" in text
    assert "max attempts" in page(admin, "/config/1/?base=v2")
    assert "Nothing differs" in page(admin, "/config/2/?base=2")
    assert "routes" in page(admin, "/config/3/?base=1&format=csv")
    for wrong in ("abc", "-1", "99", "9" * 40):
        assert "(the empty config) to 3" in page(admin, f"/config/3/?base={wrong}", 400)


def test_a_diff_of_many_objects_has_pages_that_show_each_once() -> None:
    entry = {"name": "", "change": "changed", "fields": {"enabled": [True, False]}}
    diff = {"routes": {f"r{n:03}": entry for n in range(70)}, "keys": {f"k{n:03}": entry for n in range(60)}}
    version = Version(number=9, diff=diff, counts={"routes": {"changed": 70}, "keys": {"changed": 990}})
    pages = [differences(version, query={"page": str(number)}) for number in (1, 2, 3)]
    assert [len(found.changes) for found in pages] == [50, 50, 30]
    shown = [(change.section, change.object_id) for found in pages for change in found.changes]
    assert sorted(shown) == sorted((section, name) for section, entries in diff.items() for name in entries)
    assert {(found.total, found.left_out, found.listing.pages) for found in pages} == {(1_060, 930, 3)}
    assert differences(version, query={"page": "99"}).changes == pages[-1].changes


def test_a_version_that_does_not_exist(admin: Client) -> None:
    for number in (0, 99, 10**30):
        assert admin.get(f"/config/{number}/").status_code == 404


def test_who_runs_what_is_a_page_and_a_fragment(admin: Client, history: Organisation) -> None:
    text = page(admin, "/config/proxies/")
    assert "front" in text and "Silent" in text and "1 of 3 have it" in text
    fragment = admin.get("/config/proxies/", headers={"HX-Request": "true"})
    assert "<html" not in fragment.content.decode() and 'id="panel-propagation"' in fragment.content.decode()


def test_the_wrong_person_and_the_wrong_method(history: Organisation, viewer: Client, outsider: Client) -> None:
    for url in PAGES:
        assert Client().get(url)["Location"].startswith("/login/")
        assert outsider.get(url).status_code == 403
        if "rollback" not in url:
            assert viewer.get(url).status_code == 200
            assert viewer.post(url).status_code == 405
    assert viewer.get("/config/1/rollback/").status_code == 403
    assert "Roll back to v2" not in page(viewer, "/config/2/")


@pytest.mark.parametrize("url", PAGES)
def test_a_page_asks_no_more_queries_than_committed(admin: Client, history: Organisation, url: str) -> None:
    page(admin, url)
    with CaptureQueriesContext(connection) as queries:
        page(admin, url)
    allowed = json.loads(COUNTS.read_text()).get(url, 0)
    assert len(queries) <= allowed <= 12, (f"{url}: {len(queries)}", [query["sql"][:110] for query in queries])
