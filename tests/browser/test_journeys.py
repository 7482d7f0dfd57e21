"""People's ways through the dashboard by keyboard alone: from the first sign-in to the first key, a flip and its way back through a session
that ends in the middle, and a flip that takes two persons.

axe-core looks at each of their pages, and nothing of them may be wider than the window or stopped by the security policy. One look of the
last always runs; all run wide and narrow, light and dark, as part of ``make accept``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.browser import WHOLE
from tests.browser.journeys_seed import LOOKS, email_of, flag_of
from tests.browser.looks import overflow, serious, settled
from tests.browser.seed import EMAIL, PASSWORD
from tests.browser.test_keyboard import tab_to

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

PHONE = 820
"""Narrower than this, the rail stands behind a button."""


def sound(watched: Any, *, axe: bool = True) -> None:
    """Nothing is wrong with the page that is open."""
    settled(watched.tab)
    assert overflow(watched.tab) <= 0, watched.tab.url
    if axe:
        assert serious(watched.tab) == [], watched.tab.url


def enter(tab: Any, name: str, *, back: bool = False) -> None:
    """Goes there by Tab and presses Enter."""
    tab_to(tab, name, back=back)
    tab.keyboard.press("Enter")


def sign_in(watched: Any, url: str, name: str) -> None:
    """By keyboard, at whatever page was wanted; ends there."""
    tab = watched.tab
    tab.goto(url)
    tab_to(tab, "Email")
    tab.keyboard.type(email_of(name))
    tab_to(tab, "Password")
    tab.keyboard.type(PASSWORD)
    tab.keyboard.press("Enter")
    tab.wait_for_url(url)


def focused(tab: Any) -> str:
    return str(tab.evaluate("document.activeElement.innerText.trim()"))


@pytest.mark.parametrize(("width", "scheme"), LOOKS if WHOLE else LOOKS[:1])
def test_a_flip_takes_two_persons_and_no_third_decides(open_tab: Callable[..., Any], site: Any, width: int, scheme: str) -> None:
    name, look = flag_of(width, scheme), {"width": width, "scheme": scheme, "signed": False}
    asks, approves, looks_on = (open_tab(**look) for _ in range(3))
    flag = f"{site.url}/flags/{name}/"

    sign_in(asks, flag, "ona")
    sound(asks, axe=WHOLE)
    enter(asks.tab, "Turn on")
    dialog = asks.tab.locator("dialog[open]")
    dialog.get_by_text("This takes two persons").wait_for()
    assert focused(asks.tab) == "Cancel"
    sound(asks, axe=WHOLE)
    asks.shot(f"four-eyes-ask-{width}-{scheme}", whole=False)
    tab_to(asks.tab, "More, or another reason", back=True)
    asks.tab.keyboard.type("the provider is slow")
    asks.tab.keyboard.press("Enter")
    asks.tab.get_by_text("somebody else", exact=True).wait_for()
    request = asks.tab.url
    assert asks.tab.get_by_role("button", name="Approve").count() == 0  # nobody is both persons
    sound(asks)
    asks.shot(f"four-eyes-asked-{width}-{scheme}")

    sign_in(looks_on, request, "vic")
    looks_on.tab.get_by_text("It waits for somebody who may approve").wait_for()
    assert looks_on.tab.get_by_role("button", name="Approve").count() == looks_on.tab.get_by_role("button", name="Reject").count() == 0
    sound(looks_on, axe=WHOLE)
    refused = looks_on.tab.context.request.post(  # nor by going round the page
        f"{request}approve/", headers={"X-CSRFToken": csrf_of(looks_on.tab), "Referer": request}
    )
    assert refused.status == 403

    sign_in(approves, request, "mia")
    enter(approves.tab, "Approve")
    question = approves.tab.locator("dialog[open]")
    question.get_by_role("heading", name="Approve this?").wait_for()
    assert focused(approves.tab) == "Cancel"
    sound(approves, axe=WHOLE)
    approves.shot(f"four-eyes-approve-{width}-{scheme}", whole=False)
    enter(approves.tab, "Approve")
    approves.tab.locator(".toast", has_text=name).wait_for()
    approves.tab.get_by_text("Approved by", exact=True).wait_for()
    sound(approves, axe=WHOLE)
    approves.shot(f"four-eyes-approved-{width}-{scheme}")

    asks.tab.goto(flag)
    asks.tab.get_by_role("link", name="Turn off").first.wait_for()  # its head has one, and the panel that measures what came
    assert "the provider is slow" in asks.tab.locator("main").inner_text()
    assert [watched.violations() for watched in (asks, approves, looks_on)] == [[], [], []]


def csrf_of(tab: Any) -> str:
    """What the page's own forms send, so that a refusal is for who asks and not for how."""
    return str(tab.locator("input[name=csrfmiddlewaretoken]").first.get_attribute("value"))


@pytest.mark.skipif(not WHOLE, reason="a key is made by keyboard in test_keyboard.py, always; from the first sign-in on: make accept")
@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_from_the_first_sign_in_to_the_first_key(open_tab: Callable[..., Any], site: Any, width: int, scheme: str) -> None:
    watched = open_tab(width=width, scheme=scheme, signed=False)
    tab, key = watched.tab, f"first-{width}-{scheme}"
    tab.goto(f"{site.url}/")
    sound(watched)
    watched.shot(f"first-sign-in-{width}-{scheme}")
    sign_in(watched, f"{site.url}/", "mia")
    tab.get_by_role("heading", name="Overview", level=1).wait_for()
    sound(watched)
    watched.shot(f"first-overview-{width}-{scheme}")
    if width < PHONE:
        enter(tab, "Menu")
    enter(tab, "Keys")
    tab.wait_for_url("**/keys/")
    sound(watched)
    enter(tab, "New key")
    tab.wait_for_url("**/keys/new/")
    sound(watched)
    watched.shot(f"first-key-form-{width}-{scheme}")
    tab_to(tab, "Name")
    tab.keyboard.type(key)
    tab.keyboard.press("Enter")
    tab.locator("#review").wait_for()
    sound(watched)
    enter(tab, "Publish")
    tab.locator("#secret").wait_for()
    assert tab.locator("#secret").inner_text().strip().startswith("bk-")
    assert "answers" in tab.locator("#call-curl").inner_text()
    tab.get_by_text("Waiting for the first request").wait_for()
    sound(watched)
    watched.shot(f"first-key-{width}-{scheme}")
    enter(tab, "I have copied it")
    tab.get_by_role("heading", name=key, level=1).wait_for()
    sound(watched)
    assert watched.violations() == []


@pytest.mark.skipif(not WHOLE, reason="test_flags.py flips by thumb and back by keyboard, always; in every look: make accept")
@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_a_flip_and_its_way_back(open_tab: Callable[..., Any], site: Any, width: int, scheme: str) -> None:
    watched = open_tab(width=width, scheme=scheme)
    tab, dialog = watched.tab, watched.tab.locator("dialog[open]")
    tab.goto(f"{site.url}/flags/?org=a-little")
    sound(watched)
    watched.shot(f"flip-list-{width}-{scheme}")
    enter(tab, "stop-sim-west")
    tab.wait_for_url("**/flags/stop-sim-west/")
    sound(watched)
    enter(tab, "Turn on")
    dialog.get_by_role("heading", name="Turn on kill switch of provider").wait_for()
    assert focused(tab) == "Cancel"
    sound(watched)
    watched.shot(f"flip-ask-{width}-{scheme}", whole=False)
    tab_to(tab, "More, or another reason", back=True)
    tab.keyboard.type("west is slow")
    tab.keyboard.press("Enter")
    tab.locator(".toast", has_text="stop-sim-west is on").wait_for()
    assert tab.locator("#spread").count() == 1
    sound(watched)
    watched.shot(f"flip-on-{width}-{scheme}")
    if width < PHONE:
        enter(tab, "Menu")
    enter(tab, "Overview")
    tab.locator(".notice", has_text="west is slow").wait_for()  # every page says so
    sound(watched)
    watched.shot(f"flip-overview-{width}-{scheme}", whole=False)

    tab.goto(f"{site.url}/flags/stop-sim-west/")
    enter(tab, "Turn off")
    dialog.get_by_role("heading", name="Turn off kill switch").wait_for()
    assert focused(tab) == "Cancel"
    sound(watched)
    tab.context.clear_cookies(name="sessionid")
    tab_to(tab, "More, or another reason", back=True)
    tab.keyboard.type("typed before the session ended")
    tab.keyboard.press("Enter")
    tab.get_by_text("is not lost").wait_for()
    sound(watched)
    watched.shot(f"flip-lost-session-{width}-{scheme}", whole=False)
    tab_to(tab, "Email")
    tab.keyboard.type(EMAIL)
    tab_to(tab, "Password")
    tab.keyboard.type(PASSWORD)
    tab.keyboard.press("Enter")
    dialog.get_by_text("You are signed in again").wait_for()
    assert tab.locator("#id_reason").input_value() == "typed before the session ended" and focused(tab) == "Cancel"
    sound(watched)
    watched.shot(f"flip-restored-{width}-{scheme}", whole=False)
    enter(tab, "Turn off")
    tab.locator(".toast", has_text="stop-sim-west is off").wait_for()
    assert tab.locator(".notice", has_text="west is slow").count() == 0
    sound(watched)
    watched.shot(f"flip-off-{width}-{scheme}")
    assert [fault for fault in watched.violations() if "401" not in fault] == []
