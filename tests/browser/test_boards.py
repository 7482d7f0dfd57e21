"""Dashboards in a real browser: three clicks from Overview to why a request failed, wide and narrow. Part of ``make accept``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.browser import WHOLE
from tests.browser.conftest import Site
from tests.browser.looks import check, settled

pytestmark = [pytest.mark.browser, pytest.mark.skipif(not WHOLE, reason="its links are followed without a browser always: make accept")]


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (1440, "dark"), (390, "light"), (390, "dark")])
def test_three_clicks_lead_from_overview_to_the_cause(site: Site, open_tab: Callable[..., Any], width: int, scheme: str) -> None:
    watched = open_tab(width=width, scheme=scheme)
    tab, faults = watched.tab, []

    def look(name: str) -> None:
        settled(tab)
        watched.shot(f"boards-{name}-{width}-{scheme}")
        faults.extend(f"{name}: {fault}" for fault in check(tab))

    tab.goto(f"{site.url}/?org=a-lot&from=now-24h")
    look("overview")
    tab.locator("#panel-providers tbody th a").first.click()
    tab.locator("#panel-failing tbody th a").first.wait_for()
    look("provider")
    tab.locator("#panel-failing tbody th a").first.click()
    tab.get_by_role("heading", name="Why it went there").scroll_into_view_if_needed()
    look("request")
    assert "/requests/" in tab.url
    for path in (
        "/dashboards/?from=now-24h&compare=1d",
        "/dashboards/model/?from=now-24h",
        "/dashboards/views/?path=/dashboards/",
    ):
        tab.goto(site.url + path)
        look(path.strip("/").split("?")[0].replace("/", "-"))
    assert faults == [] and watched.violations() == []
