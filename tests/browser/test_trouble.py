"""What a person sees while something is away, and when two of them edit one thing, in a real browser."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg import sql

from controlplane.launcher.postgres import SUPERUSER, Postgres
from tests.browser import WHOLE
from tests.browser.looks import check

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


@contextmanager
def database_away(server: Postgres, url: str) -> Iterator[None]:
    """The site's database takes no connections, and loses those it has."""
    name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
    with psycopg.connect(server.url(user=SUPERUSER, database="postgres"), autocommit=True) as connection:
        allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
        connection.execute(allow.format(sql.Identifier(str(name)), sql.SQL("false")))
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])
        try:
            yield
        finally:
            connection.execute(allow.format(sql.Identifier(str(name)), sql.SQL("true")))


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_without_the_database_the_page_says_so_since_when_and_what_works(
    open_tab: Callable[..., Any], site: Any, session_postgres: Postgres, width: int, scheme: str
) -> None:
    watched = open_tab(width=width, scheme=scheme)
    tab = watched.tab
    tab.goto(f"{site.url}/routes/")
    with database_away(session_postgres, site.database_url):
        assert tab.goto(f"{site.url}/routes/").status == 503
        watched.shot(f"database-away-{width}-{scheme}")
        text = tab.locator("main").inner_text()
        assert "has not answered since" in text and "What still works" in text and "What does not" in text
        assert check(tab) == []
    tab.get_by_role("link", name="Try again").click()
    tab.get_by_role("heading", name="Routes", level=1).wait_for()


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), *([(1440, "light")] if WHOLE else [])])
def test_without_a_proxy_every_page_says_so_and_since_when(open_tab: Callable[..., Any], site: Any, width: int, scheme: str) -> None:
    watched = open_tab(width=width, scheme=scheme)
    tab, heard = watched.tab, datetime.now(UTC) - timedelta(minutes=42)
    with psycopg.connect(site.database_url, autocommit=True) as connection:
        before = connection.execute("SELECT boot_id, last_seen_at FROM publishing_proxy").fetchall()
        connection.execute("UPDATE publishing_proxy SET last_seen_at = %s", [heard])
        try:
            for name, path in {"overview": "/", "routes": "/routes/", "requests": "/requests/"}.items():
                tab.goto(f"{site.url}{path}")
                watched.shot(f"proxies-away-{name}-{width}-{scheme}")
                banner = tab.get_by_role("alert").filter(has_text="No proxy has been heard of").inner_text()
                assert re.search(r"42\s*min ago", banner) and "last good config" in banner, banner
                assert check(tab) == [], name
        finally:
            with connection.cursor() as cursor:
                cursor.executemany("UPDATE publishing_proxy SET last_seen_at = %s WHERE boot_id = %s", [(at, boot) for boot, at in before])
    tab.goto(f"{site.url}/routes/")
    assert tab.get_by_role("alert").filter(has_text="No proxy has been heard of").count() == 0


@pytest.mark.skipif(not WHOLE, reason="tests/routes/test_edit.py has it without a browser: make accept")
def test_the_second_of_two_tabs_that_edit_one_route_keeps_its_text_and_sees_the_first(open_tab: Callable[..., Any], site: Any) -> None:
    first, second = open_tab(), open_tab()
    for tab in (first.tab, second.tab):
        tab.goto(f"{site.url}/routes/?org=a-little")
        tab.locator("main").get_by_role("link", name="demo-chat", exact=True).click()
        tab.get_by_role("link", name="Edit", exact=True).click()
    now = int(first.tab.locator("[name=max_attempts]").input_value())
    first.tab.locator("[name=max_attempts]").fill(str(now % 7 + 1))
    second.tab.locator("[name=max_output_tokens]").fill("777")
    first.tab.locator("button", has_text="Review changes").last.click()
    first.tab.locator("#review").wait_for()
    first.tab.get_by_role("button", name="Publish").click()
    first.tab.locator(".toast", has_text="demo-chat").wait_for()
    second.tab.locator("button", has_text="Review changes").last.click()
    second.tab.get_by_text("Ada Lovelace").or_(second.tab.get_by_text("ada@example.test")).last.wait_for()
    second.shot("two-tabs")
    assert second.tab.locator("[name=max_output_tokens]").input_value() == "777"
    assert second.tab.locator("#review").count() == 0  # nothing is published over what the first did
    assert [fault for fault in check(second.tab) if "409" not in fault] == []
