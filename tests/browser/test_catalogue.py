"""The parts in a real browser: every one in both schemes at two widths, and the keyboard alone through palette and shortcuts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.browser import LONG_MS, WHOLE
from tests.browser.looks import overflow, serious, settled

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), *([(390, "dark")] if WHOLE else [])])
def test_every_part_holds(open_tab: Callable[..., Any], site: Any, width: int, scheme: str) -> None:
    watched = open_tab(width=width, scheme=scheme)
    watched.tab.goto(f"{site.url}/ui/?org=a-lot")
    settled(watched.tab)
    watched.shot(f"catalogue-{width}-{scheme}")
    assert overflow(watched.tab) <= 0
    assert [finding for finding in serious(watched.tab) if "page-has-heading-one" not in finding] == []
    assert watched.violations() == []


def focus(tab: Any) -> str:
    """What has the focus, in a word."""
    return str(tab.evaluate("document.activeElement.id || document.activeElement.textContent.trim() || document.activeElement.tagName"))


def test_the_keyboard_alone_finds_and_goes(open_tab: Callable[..., Any], site: Any) -> None:
    watched = open_tab()
    tab = watched.tab
    tab.goto(f"{site.url}/ui/?org=a-lot")

    tab.keyboard.press("Control+k")
    tab.locator("#palette[open] [role=option]").first.wait_for()
    assert focus(tab) == "palette-query"
    chosen = tab.locator("#palette [aria-selected=true]")
    first = chosen.inner_text()
    tab.keyboard.press("ArrowDown")
    assert chosen.inner_text() != first
    assert tab.get_attribute("#palette-query", "aria-activedescendant") == chosen.get_attribute("id")
    tab.keyboard.press("ArrowUp")
    assert chosen.inner_text() == first
    tab.keyboard.press("Escape")
    assert not tab.locator("#palette").evaluate("dialog => dialog.open")

    tab.keyboard.press("Control+k")
    tab.keyboard.type("proxies")
    tab.locator("#palette [role=option][aria-selected=true]", has_text="Proxies").wait_for()
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/proxies/")

    tab.keyboard.press("g")
    tab.keyboard.press("r")
    tab.wait_for_url("**/requests/**")
    tab.keyboard.press("j")
    assert tab.evaluate("document.activeElement.closest('tbody tr') !== null")
    tab.keyboard.press("/")
    assert tab.evaluate("document.activeElement.matches('main form.filters input')")
    tab.keyboard.type("g?")  # letters in a field are letters
    assert not tab.locator("#shortcuts").evaluate("dialog => dialog.open")
    tab.keyboard.press("Tab")
    tab.evaluate("document.activeElement.blur()")

    tab.keyboard.press("?")
    assert tab.locator("#shortcuts").evaluate("dialog => dialog.open")
    assert tab.locator("#shortcuts dd", has_text="Requests").count() == 1
    tab.keyboard.press("g")
    tab.keyboard.press("o")
    assert "/requests/" in tab.url  # an open dialog has the keyboard
    tab.keyboard.press("Escape")
    assert not tab.locator("#shortcuts").evaluate("dialog => dialog.open")
    assert watched.violations() == []


def test_a_palette_opened_before_the_page_is_ready_fills_all_the_same(open_tab: Callable[..., Any], site: Any) -> None:
    watched = open_tab()
    tab = watched.tab
    # htmx starts in a timer of no delay, which a busy browser lets wait until after the page has loaded; so here
    tab.add_init_script("const real = window.setTimeout; window.setTimeout = (act, ms, ...rest) => real(act, ms ?? 1500, ...rest)")
    tab.goto(f"{site.url}/ui/?org=a-lot")
    tab.keyboard.press("Control+k")
    assert tab.get_attribute("#palette-query", "data-htmx-powered") is None
    tab.locator("#palette[open] [role=option]").first.wait_for()
    assert watched.violations() == []


def test_a_dialog_starts_on_cancel_and_a_toast_takes_it_back(open_tab: Callable[..., Any], site: Any) -> None:
    watched = open_tab()
    tab = watched.tab
    tab.goto(f"{site.url}/ui/?org=a-lot")
    opener = tab.get_by_role("button", name="Delete", exact=True).last
    opener.focus()
    tab.keyboard.press("Enter")
    dialog = tab.locator("#sample-gone")
    assert focus(tab) == "Cancel"
    tab.keyboard.press("Enter")
    assert not dialog.evaluate("dialog => dialog.open")

    tab.keyboard.press("Enter")
    dialog.get_by_label("Reason").fill("it leaked")
    dialog.get_by_label("Type").fill("check")
    dialog.get_by_role("button", name="Delete").click()
    assert dialog.evaluate("dialog => dialog.open")  # the name is not the name yet
    dialog.get_by_label("Type").fill("checkout")
    dialog.get_by_role("button", name="Delete").click()
    toast = tab.locator("#toasts .toast", has_text="Nothing was done")
    toast.wait_for()
    toast.get_by_role("button", name="Undo").click()
    tab.locator("#toasts .toast").wait_for()
    tab.locator("#toasts").get_by_role("button", name="Dismiss").click()
    assert tab.locator("#toasts .toast").count() == 0
    assert watched.violations() == []


def test_a_live_panel_leaves_typed_text_alone(open_tab: Callable[..., Any], site: Any) -> None:
    watched = open_tab()
    tab = watched.tab
    tab.goto(f"{site.url}/ui/?org=a-lot")
    panel = tab.locator("#live")
    drawn = panel.locator("time").inner_text()
    panel.scroll_into_view_if_needed()  # it polls only while it is seen
    tab.wait_for_function("before => document.querySelector('#live time').textContent !== before", arg=drawn, timeout=LONG_MS)
    text = tab.get_by_label("Text that polling leaves alone")
    text.fill("half a thought")
    tab.evaluate("document.activeElement.blur()")
    asked: list[str] = []
    tab.on("request", lambda request: asked.append(request.url) if "/ui/live" in request.url else None)
    tab.evaluate("document.body.dispatchEvent(new CustomEvent('refresh', {bubbles: true}))")
    tab.evaluate("document.querySelector('#live').dispatchEvent(new CustomEvent('every'))")
    assert text.input_value() == "half a thought"
    text.fill("")
    tab.evaluate("document.activeElement.blur()")
    with tab.expect_response(lambda response: "/ui/live" in response.url, timeout=LONG_MS):
        tab.evaluate("document.body.dispatchEvent(new CustomEvent('refresh', {bubbles: true}))")
    assert len(asked) == 1  # a poll that was held back would have come before this one


def test_zoom_sets_the_range_and_local_time_is_the_browsers(open_tab: Callable[..., Any], chromium: Any, signed_in: Any, site: Any) -> None:
    context = chromium.new_context(viewport={"width": 1440, "height": 900}, storage_state=signed_in, timezone_id="Asia/Tokyo")
    try:
        tab = context.new_page()
        tab.goto(f"{site.url}/ui/?org=a-lot")
        tab.locator(".timerange summary").click()
        tab.get_by_role("button", name="Local Asia/Tokyo").click()
        tab.wait_for_selector("html[data-zone='Asia/Tokyo']")
        assert "Asia/Tokyo" in tab.locator("#live").inner_text()
        settled(tab)
        tab.locator("#plot-sample").scroll_into_view_if_needed()
        box = tab.locator("#plot-sample .nsewdrag").bounding_box()
        shown = tab.evaluate("document.querySelector('#plot-sample').layout.xaxis.range[0]")
        figure = tab.evaluate("JSON.parse(document.querySelector('#figure-sample').textContent).layout.xaxis.range[0]")
        hours = tab.evaluate("([a, b]) => (Date.parse(a.replace(' ', 'T')) - Date.parse(b.replace(' ', 'T'))) / 3600000", [shown, figure])
        assert hours == 9
        tab.mouse.move(box["x"] + box["width"] * 0.4, box["y"] + 40)
        tab.mouse.down()
        tab.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + 42, steps=4)
        tab.mouse.up()
        tab.wait_for_url("**from=*to=*")
        start, end = (int(tab.evaluate(f"new URL(location.href).searchParams.get('{name}')")) for name in ("from", "to"))
        real = tab.evaluate("digits => Date.parse(digits.replace(' ', 'T') + 'Z')", figure)
        assert 0 < start - real < 6 * 3_600_000 and 0 < end - start < 3 * 3_600_000
    finally:
        context.close()
