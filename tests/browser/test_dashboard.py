"""The dashboard in a real browser: wide and at 390 px, light and dark, with nothing, a little and a lot."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

pytestmark = pytest.mark.browser

WIDTHS = (1440, 390)
SCHEMES = ("light", "dark")
ORGANISATIONS = ("a-lot", "a-little", "nothing")
PAGES = {"overview": "/", "requests": "/requests/", "spend": "/spend/", "keys": "/keys/", "proxies": "/proxies/"}


def settled(tab: Any) -> None:
    """Every plot of the page is drawn."""
    tab.wait_for_function(
        "[...document.querySelectorAll('[data-figure]')].every((plot) => plot.querySelector('.main-svg'))", timeout=20_000
    )


def serious(tab: Any) -> list[str]:
    """What axe-core finds serious or critical."""
    from axe_playwright_python.sync_playwright import Axe

    found = Axe().run(tab).response["violations"]
    return [
        f"{item['id']}: {item['nodes'][0]['html'][:160]} {item['nodes'][0].get('failureSummary', '')[:200]}"
        for item in found
        if item["impact"] in ("serious", "critical")
    ]


def overflow(tab: Any) -> int:
    """Pixels by which the page is wider than its window."""
    return int(tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


@pytest.mark.parametrize("organisation", ORGANISATIONS)
@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
def test_pages_hold_and_nothing_is_blocked(open_tab: Callable[..., Any], site: Any, width: int, scheme: str, organisation: str) -> None:
    watched = open_tab(width=width, scheme=scheme)
    for name, path in PAGES.items():
        watched.tab.goto(f"{site.url}{path}?org={organisation}")
        settled(watched.tab)
        watched.shot(f"{name}-{organisation}-{width}-{scheme}")
        assert overflow(watched.tab) <= 0, name
        assert watched.tab.locator("h1").count() == 1
        if organisation == "a-lot":
            assert serious(watched.tab) == [], name
    assert watched.violations() == []


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
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
    for width in WIDTHS:
        for scheme in SCHEMES:
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
