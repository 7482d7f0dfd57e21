"""By keyboard alone: create a key and copy its secret, edit a route's targets, switch its traffic and take it back.

On the journeys axe-core looks at what only they reach; the rest has ``test_pages_of_routes_and_keys_hold``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from playwright.sync_api import Error

from tests.browser import WHOLE
from tests.browser.looks import overflow, serious, settled

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

MOST_STEPS = 120


def tab_to(tab: Any, name: str, *, back: bool = False) -> None:
    """Presses Tab until what has the focus is called so: by its label, its text or its title."""
    seen = []
    for _ in range(MOST_STEPS):
        tab.keyboard.press("Shift+Tab" if back else "Tab")
        here = tab.evaluate(
            "(() => { const e = document.activeElement; const l = e.labels?.[0]?.innerText; "
            "return (e.getAttribute('aria-label') || l || e.innerText || e.title || '').trim() })()"
        )
        seen.append(here[:30])
        if here.startswith(name):
            assert tab.evaluate("document.activeElement.matches(':focus-visible')"), name
            return
    pytest.fail(f"no {name!r} within {MOST_STEPS} steps: {seen}")


def test_create_a_key_and_copy_its_secret(open_tab: Callable[..., Any], site: Any) -> None:
    watched = open_tab()
    tab = watched.tab
    tab.goto(f"{site.url}/keys/?org=a-little")
    watched.shot("keys-1440", whole=False)
    tab_to(tab, "New key")
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/keys/new/")
    tab_to(tab, "Name")
    tab.keyboard.type("by-keyboard")
    tab.keyboard.press("Enter")  # the form's own button is Review, whatever has the focus
    tab.locator("#review").wait_for()
    tab_to(tab, "Publish")
    tab.keyboard.press("Enter")
    tab.locator("#secret").wait_for()
    token = tab.locator("#secret").inner_text().strip()
    assert token.startswith("bk-") and "demo-chat" in tab.locator("#call-curl").inner_text()
    watched.shot("key-secret-1440")
    assert serious(tab) == [] and overflow(tab) <= 0
    tab_to(tab, "I have copied it")
    tab.keyboard.press("Enter")
    tab.get_by_role("heading", name="by-keyboard", level=1).wait_for()
    assert watched.violations() == []
    with pytest.raises(Error, match="ERR_CACHE_MISS"):  # nothing was stored that could be shown again
        tab.go_back()


def test_edit_a_route_and_switch_its_traffic(open_tab: Callable[..., Any], site: Any) -> None:
    watched = open_tab()
    tab = watched.tab
    tab.goto(f"{site.url}/routes/?org=a-little")
    tab_to(tab, "demo-chat")
    tab.keyboard.press("Enter")
    tab.get_by_role("heading", name="demo-chat", level=1).wait_for()
    settled(tab)
    tab_to(tab, "Edit")
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/edit/")
    tab_to(tab, "Move target 1 down")
    tab.keyboard.press("Enter")
    tab.locator("button[value='targets:up:1']:focus").wait_for()  # the moved row keeps the focus
    places = tab.locator("select[name=targets-place]")
    assert [places.nth(at).input_value() for at in (0, 1)] == ["sim-west", "sim-east"]
    tab_to(tab, "Review changes")
    tab.keyboard.press("Enter")
    tab.locator("#review").wait_for()
    watched.shot("route-review-1440")
    tab_to(tab, "Publish")
    tab.keyboard.press("Enter")
    tab.wait_for_url("**?version=*")
    assert tab.locator("#route-traffic tbody th").first.inner_text().endswith("sim-west/sim-model")

    tab_to(tab, "Send all here: sim-east")
    tab.keyboard.press("Enter")
    dialog = tab.locator("dialog[open]")
    dialog.wait_for()
    assert tab.evaluate("document.activeElement.innerText") == "Cancel"
    assert "In the last hour" in dialog.inner_text()
    watched.shot("route-switch-1440", whole=False)
    assert serious(tab) == []
    tab_to(tab, "Reason", back=True)
    tab.keyboard.type("west is slow")
    tab.keyboard.press("Enter")
    switched = tab.get_by_text("All traffic goes to sim-east/sim-model", exact=True)  # its history says so, too
    switched.wait_for()
    watched.shot("route-switched-1440")
    assert tab.locator("#spread").count() == 1
    tab_to(tab, "Switch back")
    tab.keyboard.press("Enter")
    tab.get_by_text("uses its targets in order again").wait_for()
    assert switched.count() == 0
    assert watched.violations() == []


@pytest.mark.skipif(not WHOLE, reason="the gallery looks at every page; this one at those of an organisation with data: make accept")
@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1440, "light")])
def test_pages_of_routes_and_keys_hold(open_tab: Callable[..., Any], site: Any, width: int, scheme: str) -> None:
    watched = open_tab(width=width, scheme=scheme)
    tab = watched.tab
    tab.goto(f"{site.url}/routes/?org=a-little")
    route = tab.locator("tbody th a").first.get_attribute("href")
    tab.goto(f"{site.url}/keys/")
    key = tab.locator("tbody th a").first.get_attribute("href")
    pages = {
        "routes": "/routes/",
        "route": route,
        "route-access": f"{route}?tab=access",
        "route-config": f"{route}?tab=config",
        "route-history": f"{route}?tab=history",
        "route-edit": f"{route}edit/",
        "keys": "/keys/",
        "key": key,
        "key-access": f"{key}?tab=access",
        "key-connect": f"{key}?tab=connect",
        "key-new": "/keys/new/",
        "key-edit": f"{key}edit/",
        "key-rotate": f"{key}rotate/",
    }
    for name, path in pages.items():
        tab.goto(f"{site.url}{path}")
        settled(tab)
        watched.shot(f"{name}-a-little-{width}-{scheme}")
        assert overflow(tab) <= 0, name
        assert tab.locator("h1").count() == 1, name
        assert serious(tab) == [], name
    assert watched.violations() == []
