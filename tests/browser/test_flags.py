"""At three in the morning: from a pager's link to a flipped flag with a thumb, and back by keyboard alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.browser import WHOLE
from tests.browser.looks import overflow, serious
from tests.browser.test_keyboard import tab_to

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

MOST_TAPS = 4


def focused(tab: Any) -> str:
    return str(tab.evaluate("document.activeElement.innerText.trim()"))


@pytest.mark.parametrize("scheme", ["light", "dark"] if WHOLE else ["light"])
def test_from_a_link_to_a_flip_and_back(open_tab: Callable[..., Any], site: Any, scheme: str) -> None:
    """On a device that is signed in, as a phone stays."""
    watched = open_tab(width=390, scheme=scheme, touch=True)
    tab, taps = watched.tab, 0
    tab.goto(f"{site.url}/flags/?org=a-little")
    tab.goto(f"{site.url}/flags/stop-sim-west/on")  # the first tap, on the message
    taps += 1
    dialog = tab.locator("dialog[open]")
    dialog.get_by_role("heading", name="Turn on kill switch of provider").wait_for()
    assert focused(tab) == "Cancel" and tab.locator("dialog input:checked").count() == 0
    assert serious(tab) == [] and overflow(tab) <= 0
    watched.shot(f"flip-390-{scheme}", whole=False)
    tab.get_by_text("Provider outage", exact=True).tap()
    tab.get_by_role("button", name="Turn on").tap()
    taps += 2
    tab.wait_for_url("**/flags/stop-sim-west/?version=*")
    assert taps <= MOST_TAPS
    tab.locator(".toast", has_text="stop-sim-west is on").wait_for()
    assert tab.locator("#spread").count() == 1 and overflow(tab) <= 0
    assert not WHOLE or serious(tab) == []
    watched.shot(f"flipped-390-{scheme}")
    tab.goto(f"{site.url}/keys/")  # every page says so
    tab.locator(".notice", has_text="Provider outage").wait_for()
    watched.shot(f"flipped-keys-390-{scheme}", whole=False)

    tab.set_viewport_size({"width": 1440, "height": 900})
    tab.goto(f"{site.url}/flags/stop-sim-west/")
    tab_to(tab, "Turn off")
    tab.keyboard.press("Enter")
    dialog.get_by_role("heading", name="Turn off kill switch").wait_for()
    tab.keyboard.press("Escape")  # is to cancel
    tab.wait_for_url("**/flags/stop-sim-west/")
    tab_to(tab, "Turn off")
    tab.keyboard.press("Enter")
    dialog.get_by_role("heading", name="Turn off kill switch").wait_for()
    assert focused(tab) == "Cancel"
    tab_to(tab, "More, or another reason", back=True)
    tab.keyboard.type("it is back")
    tab.keyboard.press("Enter")
    tab.locator(".toast", has_text="stop-sim-west is off").wait_for()
    assert tab.locator(".notice", has_text="Stops provider").count() == 0
    assert watched.violations() == []


@pytest.mark.skipif(not WHOLE, reason="the always-on journey has the way; this one looks at each page of it: make accept")
@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1440, "light")])
def test_pages_of_flags_hold(open_tab: Callable[..., Any], site: Any, width: int, scheme: str) -> None:
    watched = open_tab(width=width, scheme=scheme)
    tab = watched.tab
    tab.goto(f"{site.url}/flags/?org=a-little")
    pages = (
        "/flags/",
        "/flags/new/",
        "/overrides/",
        *(f"/flags/stop-sim-west/{part}" for part in ("", "?tab=flips", "on/", "off/", "edit/")),
    )
    for path in pages:
        tab.goto(f"{site.url}{path}")
        watched.shot(f"flags{path.replace('/', '-').replace('?', '')}{width}-{scheme}")
        assert serious(tab) == [] and overflow(tab) <= 0, path
    assert watched.violations() == []
