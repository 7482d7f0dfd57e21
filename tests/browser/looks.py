"""What a page must not do in a browser, wide or narrow, light or dark: the one place that says what is wrong with an open page.

Wider than its window, no single heading, a dialog wider than itself, findings of axe-core, what the security policy stopped, errors
of the console. And what every picture needs: a Chromium that calls nobody, a person who signed in.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from tests.browser import LONG_MS

FLAGS = (
    "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
"""As ``deploy/chromium.sh`` looks for them."""
LOOKED_AT_AGAIN = ("color-contrast", "link-in-text-block", "scrollable-region-focusable")
"""Rules of axe-core whose answer may differ from one width or colour scheme to the other."""
COLLECT = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
    window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`);
});
"""
ALIKE = {"exclude": [["tbody tr:nth-child(n + 13)"]]}
"""Rows that axe-core need not look at: those after a table's first twelve are made alike, and there may be hundreds."""
CROWDED = """
() => [...document.querySelectorAll("dialog.dialog")].filter((dialog) => {
    const closed = !dialog.open;
    if (closed) dialog.showModal();
    const wide = dialog.scrollWidth > dialog.clientWidth + 1 || dialog.getBoundingClientRect().width > innerWidth;
    if (closed) dialog.close();
    return wide;
}).map((dialog) => `the dialog ${dialog.id} is wider than itself`)
"""


def browser_found() -> str | None:
    """Where this machine has a Chromium, if it has one."""
    return next((path for name in (os.environ.get("BULKHEAD_CHROMIUM"), *BROWSERS) if name and (path := shutil.which(name))), None)


@contextmanager
def browser_open() -> Iterator[Any]:
    """A Chromium that calls nobody. Raises FileNotFoundError without one on this machine."""
    from playwright.sync_api import sync_playwright

    if (found := browser_found()) is None:
        raise FileNotFoundError("no Chromium on this machine: apt-get install chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(FLAGS), timeout=LONG_MS)
        try:
            yield browser
        finally:
            browser.close()


def sign_in(browser: Any, *, url: str, email: str, password: str) -> Any:
    """The cookies of a person who signs in through the page."""
    context = browser.new_context()
    context.set_default_timeout(LONG_MS)
    tab = context.new_page()
    tab.goto(f"{url}/login/")
    tab.get_by_label("Email").fill(email)
    tab.get_by_label("Password").fill(password)
    tab.get_by_role("button", name="Sign in").click()
    tab.wait_for_url(f"{url}/")
    state = context.storage_state()
    context.close()
    return state


def complains(message: Any) -> bool:
    """An error of the page's own; not that a poll was given up, because the page was left or asked again before a slow answer came."""
    return message.type == "error" and "AbortError" not in message.text


def listen(tab: Any) -> list[str]:
    """What the console of a tab says from now on, and what its scripts raise: a list that grows."""
    heard: list[str] = []
    tab.on("console", lambda message: heard.append(message.text) if complains(message) else None)
    tab.on("pageerror", lambda error: heard.append(str(error)))
    return heard


def settled(tab: Any) -> None:
    """Every plot of the page is drawn."""
    tab.wait_for_function(
        "() => [...document.querySelectorAll('[data-figure]')].every((plot) => plot.querySelector('.main-svg'))", timeout=LONG_MS
    )


def serious(tab: Any, rules: Sequence[str] | None = None) -> list[str]:
    """What axe-core finds serious or critical, of tables in their first twelve rows. rules: only these."""
    from axe_playwright_python.sync_playwright import Axe

    only = {"runOnly": {"type": "rule", "values": list(rules)}} if rules else {}
    found = Axe().run(tab, context=ALIKE, options={"resultTypes": ["violations"], **only}).response["violations"]
    return [
        f"{item['id']}: {item['nodes'][0]['html'][:160]} {item['nodes'][0].get('failureSummary', '')[:200]}"
        for item in found
        if item["impact"] in ("serious", "critical")
    ]


def overflow(tab: Any) -> int:
    """Pixels by which the page is wider than its window."""
    return int(tab.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth"))


def resized(tab: Any, width: int) -> None:
    """The window is that wide, and what follows its width by script, such as a plot, has followed; a page that stays too wide does so."""
    from playwright.sync_api import TimeoutError as Late

    tab.set_viewport_size({"width": width, "height": 900})
    with suppress(Late):
        fits = "() => document.documentElement.scrollWidth <= document.documentElement.clientWidth"
        tab.wait_for_function(fits, timeout=10_000)


def check(tab: Any, *, axe: bool = True, rules: Sequence[str] | None = None) -> list[str]:
    """What is wrong with the page that is open. rules: axe-core's that shall be looked at; all without."""
    faults = []
    if (wide := overflow(tab)) > 0:
        faults.append(f"{wide} px wider than the window")
    if (headings := tab.locator("h1").count()) != 1 and "/ui/" not in tab.url:  # the catalogue shows page heads
        faults.append(f"{headings} h1")
    faults += tab.evaluate(CROWDED)
    faults += tab.evaluate("window.violations || []")
    return faults + (serious(tab, rules) if axe else [])
