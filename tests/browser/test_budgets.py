"""Budgets in a real browser: list, one budget, form and override hold on a phone, in the dark, with no violation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.browser import WHOLE
from tests.browser.looks import overflow, serious

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), *([(1440, "light")] if WHOLE else [])])
def test_pages_of_budgets_hold_and_an_override_is_given(open_tab: Callable[..., Any], site: Any, width: int, scheme: str) -> None:
    watched = open_tab(width=width, scheme=scheme)
    tab = watched.tab

    def look(name: str) -> None:
        watched.shot(f"budgets-{name}-{width}-{scheme}")
        assert overflow(tab) <= 0, name
        assert tab.locator("h1").count() == 1, name
        assert serious(tab) == [], name

    tab.goto(f"{site.url}/budgets/?org=walled")
    look("list")
    tab.get_by_role("link", name="GPT", exact=True).click()
    look("detail")
    tab.goto(f"{site.url}/budgets/new/")
    look("form")
    tab.goto(f"{site.url}/budgets/?q=Search")
    tab.get_by_role("link", name="Search per month").click()
    if tab.get_by_role("button", name="Override", exact=True).count():
        tab.get_by_role("button", name="Override", exact=True).click()
        tab.get_by_label("More, in US dollars").fill("50")
        tab.get_by_role("textbox", name="Reason").fill("a demo for a customer")
        watched.shot(f"budgets-dialog-{width}-{scheme}", whole=False)
        tab.get_by_role("button", name="Allow").click()
        tab.get_by_text("$50 more until").first.wait_for()
    look("overridden")
    assert watched.violations() == []
