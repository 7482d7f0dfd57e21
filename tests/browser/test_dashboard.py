"""The dashboard in a real browser: wide and at 390 px, light and dark, with nothing, a little and a lot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.browser import LONG_MS, WHOLE
from tests.browser.looks import overflow, serious, settled

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

PAGES = {"overview": "/", "requests": "/requests/", "spend": "/spend/", "keys": "/overview/keys/", "proxies": "/proxies/"}


LOOKS = [(390, "dark", "a-little"), (390, "light", "nothing")]
LONG_LOOKS = [(1440, "light", "a-lot"), (390, "dark", "a-lot"), (1440, "dark", "a-little"), (390, "light", "a-little")]
CHECKED = {("light", "a-lot"): ("overview", "requests"), ("dark", "a-little"): ("spend", "proxies")}
"""Where axe-core looks, by scheme and organisation."""


@pytest.mark.parametrize(("width", "scheme", "organisation"), [*LOOKS, *(LONG_LOOKS if WHOLE else [])])
def test_pages_hold_and_nothing_is_blocked(open_tab: Callable[..., Any], site: Any, width: int, scheme: str, organisation: str) -> None:
    watched = open_tab(width=width, scheme=scheme)
    checked = CHECKED.get((scheme, organisation), ())
    for name, path in PAGES.items():
        watched.tab.goto(f"{site.url}{path}?org={organisation}")
        settled(watched.tab)
        watched.shot(f"{name}-{organisation}-{width}-{scheme}")
        assert overflow(watched.tab) <= 0, name
        assert watched.tab.locator("h1").count() == 1
        if name in checked:
            assert serious(watched.tab) == [], name
    assert watched.violations() == []


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), *([(1440, "light")] if WHOLE else [])])
def test_a_request_is_found_and_explained(open_tab: Callable[..., Any], site: Any, width: int, scheme: str) -> None:
    watched = open_tab(width=width, scheme=scheme)
    tab = watched.tab
    tab.goto(f"{site.url}/requests/?org=a-lot&outcome=error")
    tab.locator("tbody a").first.click()
    tab.wait_for_selector(".waterfall")
    assert tab.get_by_text("The next target was tried").count() == 1
    watched.shot(f"request-{width}-{scheme}")
    assert overflow(tab) <= 0
    assert serious(tab) == []
    assert watched.violations() == []


def test_sign_in_page(open_tab: Callable[..., Any], site: Any) -> None:
    for width, scheme in ((1440, "dark"), (390, "light")):
        watched = open_tab(width=width, scheme=scheme, signed=False)
        watched.tab.goto(f"{site.url}/")
        watched.shot(f"login-{width}-{scheme}")
        assert serious(watched.tab) == []
        watched.tab.get_by_label("Email").fill("nobody@example.test")
        watched.tab.get_by_label("Password").fill("wrong")
        watched.tab.get_by_role("button", name="Sign in").click()
        watched.tab.wait_for_selector("[role=alert]")
        watched.shot(f"login-wrong-{width}-{scheme}")
        assert [error for error in watched.violations() if "400" not in error and "429" not in error] == []


def test_a_panel_polls_says_how_fresh_it_is_and_marks_itself_stale(open_tab: Callable[..., Any], site: Any) -> None:
    watched = open_tab()
    tab = watched.tab
    tab.clock.install()  # the page's seconds are ours to pass
    tab.goto(f"{site.url}/?org=a-lot")
    settled(tab)
    panel = tab.locator("#panel-proxies")
    panel.locator(".fresh", has_text="updated").wait_for()
    panel.scroll_into_view_if_needed()
    with tab.expect_response(lambda response: "/proxies/" in response.url, timeout=LONG_MS) as answer:
        tab.clock.fast_forward(6_000)
    assert answer.value.status in (200, 304)
    table = tab.locator("#panel-traffic details", has_text="View as table")
    table.locator("summary").click()
    tab.route("**/*", lambda route: route.abort())
    tab.clock.fast_forward(6_000)
    tab.locator("#panel-proxies[data-stale]").wait_for(timeout=LONG_MS)
    assert "stale" in panel.locator(".fresh").inner_text()
    watched.shot("overview-stale", whole=False)
    tab.unroute("**/*")
    tab.clock.fast_forward(12_000)
    tab.locator("#panel-proxies:not([data-stale])").wait_for(timeout=LONG_MS)
    assert table.get_attribute("open") is not None
    assert tab.evaluate("window.violations") == []


def test_names_of_any_kind_hold_and_run_nothing(open_tab: Callable[..., Any], site: Any) -> None:
    watched = open_tab(width=390)
    dialogs: list[str] = []
    watched.tab.on("dialog", lambda dialog: (dialogs.append(dialog.message), dialog.dismiss()))
    for name, path in (("routes", "/overview/routes/"), ("keys", "/overview/keys/"), ("requests", "/requests/?limit=250")):
        watched.tab.goto(f"{site.url}{path}{'&' if '?' in path else '?'}org=naughty")
        settled(watched.tab)
        watched.shot(f"naughty-{name}-390", whole=False)
        assert overflow(watched.tab) <= 0, name
    assert dialogs == []
    assert watched.violations() == []


def test_the_menu_opens_on_a_phone(open_tab: Callable[..., Any], site: Any) -> None:
    tab = open_tab(width=390).tab
    tab.goto(f"{site.url}/proxies/?org=a-lot")
    assert not tab.get_by_role("link", name="Requests").is_visible()
    tab.get_by_role("button", name="Menu").click()
    tab.get_by_role("link", name="Requests").click()
    tab.wait_for_url("**/requests/")
