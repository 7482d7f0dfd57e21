"""Config history, settings, audit and the sign-in in a real browser: pages hold on every width, a session is lost and nothing with it,
a config is rolled back through its dialog, a colleague comes in by a link."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from controlplane.launcher.postgres import Postgres
from tests.browser import WHOLE
from tests.browser.conftest import Site, serve
from tests.browser.journeys_seed import LOOKS
from tests.browser.looks import overflow, serious
from tests.browser.seed import EMAIL, PASSWORD
from tests.browser.test_keyboard import tab_to

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

PAGES = {
    "history": "/config/", "version": "/config/2/", "compared": "/config/4/?base=1", "rollback": "/config/1/rollback/", "audit": "/audit/",
    "event": "/audit/3/", "profile": "/settings/profile/", "organisation": "/settings/organisation/", "people": "/settings/people/",
    "invite": "/settings/people/invite/", "installation": "/settings/installation/",
}  # fmt: skip
ERRORS = {"404": "/config/99/", "gone": "/invitation/nothing/"}


@pytest.fixture(scope="module")
def site(session_postgres: Postgres, template_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serve(session_postgres, template_database, tmp_path_factory, seed=("tests.browser.governance_seed",), name="governance") as served:
        yield served


@pytest.mark.parametrize(("width", "scheme", "axe"), [(390, "dark", WHOLE), *([(1440, "light", True)] if WHOLE else [])])
def test_pages_hold_and_nothing_is_blocked(open_tab: Callable[..., Any], site: Any, width: int, scheme: str, axe: bool) -> None:
    watched = open_tab(width=width, scheme=scheme)
    for name, path in PAGES.items():
        watched.tab.goto(f"{site.url}{path}")
        watched.shot(f"{name}-{width}-{scheme}")
        assert overflow(watched.tab) <= 0, name
        assert watched.tab.locator("h1").count() == 1, name
        if axe:
            assert serious(watched.tab) == [], name
    assert watched.violations() == []
    for name, path in ERRORS.items():
        watched.tab.goto(f"{site.url}{path}")
        watched.shot(f"{name}-{width}-{scheme}")
        assert overflow(watched.tab) <= 0 and not (axe and serious(watched.tab)), name


def test_a_session_is_lost_in_the_middle_of_a_form_and_no_text_with_it(open_tab: Callable[..., Any], site: Any) -> None:
    watched = open_tab()
    tab = watched.tab
    tab.goto(f"{site.url}/routes/")
    tab.get_by_role("link", name="chat", exact=True).first.click()
    tab.get_by_role("link", name="Edit").first.click()
    tab.locator("[name=max_attempts]").fill("6")
    tab.locator("button", has_text="Review changes").last.click()
    tab.locator("#review").wait_for()
    tab.locator("[name=max_attempts]").fill("7")
    tab.locator("#id_reason").fill("typed before the session ended")
    tab.context.clear_cookies(name="sessionid")
    tab.get_by_role("button", name="Publish").click()
    tab.get_by_text("is not lost").wait_for()
    watched.shot("lost-session")
    tab.get_by_label("Email").fill(EMAIL)
    tab.get_by_label("Password").fill(PASSWORD)
    tab.get_by_role("button", name="Sign in").click()
    tab.get_by_text("everything you typed is here").wait_for()
    assert tab.locator("[name=max_attempts]").input_value() == "7"
    tab.locator("button", has_text="Review changes").last.click()
    tab.locator("#review").wait_for()
    assert tab.locator("#id_reason").input_value() == "typed before the session ended"
    tab.get_by_role("button", name="Publish").click()
    tab.locator(".toast", has_text="chat").wait_for()
    assert [error for error in watched.violations() if "401" not in error] == []


def test_a_rollback_is_asked_for_in_a_dialog_that_starts_on_cancel(open_tab: Callable[..., Any], site: Any) -> None:
    watched = open_tab()
    tab = watched.tab
    tab.goto(f"{site.url}/config/2/rollback/")
    tab.get_by_role("button", name="Roll back to v2…").click()
    dialog = tab.locator("dialog[open]")
    assert "Roll back the config to v2?" in dialog.inner_text()
    assert tab.evaluate("document.activeElement.textContent") == "Cancel"
    tab.keyboard.press("Escape")
    assert tab.locator("dialog[open]").count() == 0
    tab.get_by_role("button", name="Roll back to v2…").click()
    assert serious(tab) == []
    dialog.locator("[name=reason]").fill("v4 was too much")
    dialog.get_by_role("button", name="Roll back to v2").click()
    tab.get_by_text("0 of 2 have it").first.wait_for()
    assert "v4 was too much" in tab.locator("main").inner_text()
    watched.shot("rolled-back")
    assert watched.violations() == []


@pytest.mark.skipif(not WHOLE, reason="the dialog above is always asked; the whole way there by keyboard, in every look: make accept")
@pytest.mark.parametrize(("at", "width", "scheme"), [(at, *look) for at, look in enumerate(LOOKS)])
def test_a_version_is_rolled_back_by_keyboard(open_tab: Callable[..., Any], site: Any, at: int, width: int, scheme: str) -> None:
    watched, number = open_tab(width=width, scheme=scheme), 3 - at % 2  # to and fro, so that each has something to change
    tab = watched.tab
    tab.goto(f"{site.url}/config/")
    tab_to(tab, f"v{number}")
    tab.keyboard.press("Enter")
    tab.get_by_role("heading", name=f"Config v{number}", level=1).wait_for()
    assert serious(tab) == [] and overflow(tab) <= 0
    tab_to(tab, f"Roll back to v{number}")
    tab.keyboard.press("Enter")
    tab.get_by_role("heading", name="What would happen").wait_for()
    assert serious(tab) == [] and overflow(tab) <= 0
    tab_to(tab, f"Roll back to v{number}")
    tab.keyboard.press("Enter")
    tab.locator("dialog[open]").wait_for()
    assert tab.evaluate("document.activeElement.textContent") == "Cancel"
    assert serious(tab) == []
    watched.shot(f"rollback-question-{width}-{scheme}", whole=False)
    tab_to(tab, "Reason", back=True)
    tab.keyboard.type(f"by keyboard at {width} in the {scheme}")
    tab.keyboard.press("Enter")
    tab.locator(".toast, main", has_text=f"by keyboard at {width} in the {scheme}").first.wait_for()
    tab.get_by_text("of 2 have it").first.wait_for()
    assert serious(tab) == [] and overflow(tab) <= 0
    watched.shot(f"rollback-done-{width}-{scheme}")
    assert watched.violations() == []


def test_a_colleague_comes_in_by_a_link(open_tab: Callable[..., Any], site: Any) -> None:
    watched = open_tab()
    watched.tab.goto(f"{site.url}/settings/people/invite/")
    watched.tab.get_by_label("Email").fill("grace@example.test")
    watched.tab.get_by_role("button", name="Make the link").click()
    link = watched.tab.locator("#invitation-link").inner_text()
    guest = open_tab(width=390, scheme="dark", signed=False)
    guest.tab.goto(link)
    guest.shot("accept-390-dark")
    assert serious(guest.tab) == [] and overflow(guest.tab) <= 0
    guest.tab.get_by_label("Your name").fill("Grace Hopper")
    guest.tab.get_by_label("Password").fill("a ship in port is safe")
    guest.tab.get_by_role("button", name="Come in").click()
    guest.tab.wait_for_url(f"{site.url}/")
    guest.tab.goto(f"{site.url}/config/1/rollback/")
    assert "config.rollback" in guest.tab.locator("main").inner_text() and serious(guest.tab) == []
    guest.shot("403-390-dark")
    assert [error for error in guest.violations() if "403" not in error] == []
