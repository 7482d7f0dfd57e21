"""A newcomer's first ten minutes with a whole instance and a real browser: a picture of every step, every console error noted.

Part of ``make accept``: to the broken provider and back, then to a provider of one's own, a key, a colleague and the demo's removal.
Pictures go to ``test-artefacts/newcomer`` (or ``BULKHEAD_SHOTS``), so that a failed walk shows where it ended.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from openai import APIStatusError, OpenAI, OpenAIError

from apps.simulator.harness import SimulatorServer
from tests.browser import WHOLE
from tests.browser.looks import COLLECT, check, settled
from tests.launcher.conftest import ROOT, Bulkhead, clean_environment, make_bulkhead, wait_for

__all__ = ["make_bulkhead"]

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.timeout(900)]

PICTURES = Path(os.environ.get("BULKHEAD_SHOTS") or ROOT / "test-artefacts") / "newcomer"
ASKED = {"model": "demo-chat", "messages": [{"role": "user", "content": "Hello"}]}


class Newcomer:
    """A person at a browser. ``faults``: what was wrong with the pages they saw."""

    def __init__(self, browser: Any, url: str, *, width: int = 1440, scheme: str = "light", who: str = "") -> None:
        self.url, self.who = url, who
        self.context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.context.set_default_timeout(60_000)
        self.context.add_init_script(COLLECT)
        self.tab = self.context.new_page()
        self.faults: list[str] = []
        self.tab.on("console", lambda message: self.faults.append(f"console: {message.text}") if message.type == "error" else None)
        self.tab.on("pageerror", lambda error: self.faults.append(f"script: {error}"))

    def go(self, path: str) -> None:
        self.tab.goto(path if path.startswith("http") else self.url + path)

    def step(self, name: str) -> None:
        """What the person sees now: a picture of it, and what is wrong with it."""
        settled(self.tab)
        PICTURES.mkdir(parents=True, exist_ok=True)
        self.tab.screenshot(path=PICTURES / f"{name}{self.who}.png", full_page=True)
        self.faults += [f"{name}: {fault}" for fault in check(self.tab)]

    def sign_in(self, email: str, password: str) -> None:
        self.tab.get_by_label("Email").fill(email)
        self.tab.get_by_label("Password").fill(password)
        self.tab.get_by_role("button", name="Sign in").click()
        self.tab.wait_for_url(f"{self.url}/")

    def toast(self, text: str) -> None:
        self.tab.locator(".toast", has_text=text).first.wait_for()

    def tour_step(self, title: str) -> None:
        """Waits until the guided minute has ticked a step off by itself."""
        self.tab.locator("ol.steps li.done", has_text=title).wait_for()


class Application:
    """An app that keeps asking while things break. ``lost``: what it was not answered."""

    def __init__(self, base_url: str, key: str) -> None:
        self.client = OpenAI(base_url=base_url, api_key=key, max_retries=0, timeout=60)
        self.answered = 0
        self.lost: list[str] = []
        self.stop = threading.Event()

    def run(self) -> None:
        while not self.stop.wait(0.25):
            try:
                answer = self.client.chat.completions.create(**ASKED)
                assert answer.choices[0].message.content
                self.answered += 1
            except (OpenAIError, AssertionError) as error:
                self.lost.append(repr(error))

    @contextmanager
    def asking(self) -> Iterator[None]:
        thread = threading.Thread(target=self.run)
        thread.start()
        try:
            yield
        finally:
            self.stop.set()
            thread.join()

    def more(self, count: int = 3) -> None:
        """Waits until it was answered ``count`` times more."""
        wanted = self.answered + count
        wait_for(lambda: self.answered >= wanted, what=f"{count} more answers")


def snippet_run(text: str, key: str) -> str:
    """What the Python that a page shows prints, run as it is."""
    ran = subprocess.run(
        [sys.executable, "-c", text], capture_output=True, text=True, timeout=120, env={**clean_environment(), "BULKHEAD_KEY": key}
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def first_answer(person: Newcomer, key: str) -> None:
    """The demo key's page shows a snippet; it runs as shown, and its request is found and explained."""
    tab = person.tab
    tab.get_by_role("link", name="Keys", exact=True).click()
    person.step("02-keys")
    tab.locator("main").get_by_role("link", name="demo", exact=True).click()
    tab.get_by_role("link", name="Connect", exact=True).click()
    tab.locator("summary", has_text="Python").click()
    person.step("03-snippets")
    assert snippet_run(tab.locator("#call-python").inner_text(), key)
    tab.get_by_text("First request seen").wait_for()
    person.step("04-first-request-seen")
    tab.get_by_role("link", name="explain it").click()
    tab.locator(".waterfall").wait_for()
    assert tab.get_by_text("demo-traffic").count() == 0  # one's own request, not one that the demo sent
    reasons = tab.locator("section", has=tab.get_by_role("heading", name="Why it went there")).inner_text()
    assert "sim-" in reasons and "demo-chat" in reasons, reasons
    person.step("05-explained")


def break_and_survive(person: Newcomer, app: Application) -> None:
    """sim-east breaks, nobody is left without an answer, and the page says so; the route is switched, and all of it taken back."""
    tab = person.tab
    person.go("/")
    tab.get_by_role("button", name="Break sim-east").click()
    person.toast("sim-east fails every request now")
    with app.asking():
        app.more()
        person.tour_step("Apps notice nothing")
        tab.locator("#panel-verdict", has_text="sim-east").wait_for()
        person.step("06-broken")
        tab.get_by_role("button", name="Send demo-chat to sim-west").click()
        person.toast("All of demo-chat goes to sim-west")
        person.tour_step("Switch the route")
        app.more()
        person.step("07-switched")
        tab.get_by_role("button", name="Undo: mend sim-east").click()
        person.toast("sim-east answers again")
        person.tour_step("Undo")
        app.more()
    person.step("08-undone")
    assert app.lost == []
    rescued = tab.locator("ol.steps li", has_text="Apps notice nothing").inner_text()
    assert re.search(r"[1-9]\d* answered by sim-west after sim-east failed, none lost", rescued), rescued


def connect_second(person: Newcomer, sim: SimulatorServer) -> None:
    """A provider on this host: refused without the switch for private addresses, tested with it, and connected with a route."""
    tab = person.tab
    person.go("/")
    tab.get_by_role("link", name="Connect a provider").first.click()
    person.toast("Providers are connected in Main")  # what costs money does not belong among what is simulated
    person.step("09-connect")
    tab.get_by_label("Provider", exact=True).select_option("custom")
    tab.get_by_role("button", name="Fill in its address").click()
    tab.get_by_label("Name", exact=True).fill("second")
    tab.get_by_label("Base URL").fill(sim.base_url)
    tab.get_by_role("button", name="Test", exact=True).click()
    tab.locator(".error", has_text="private").or_(tab.locator("[role=alert]")).first.wait_for()
    person.step("10-private-refused")
    tab.get_by_label("Allow private addresses").check()
    tab.get_by_role("button", name="Test", exact=True).click()
    tab.locator(".choices input[type=checkbox]").first.check()
    person.step("11-tested")
    tab.get_by_label("One route that tries").check()
    tab.get_by_label("Route's name").fill("second-chat")
    tab.get_by_label("Input, $").fill("0.15")
    tab.get_by_label("Output, $").fill("0.60")
    tab.get_by_role("button", name="Try a completion").click()
    tab.locator("#form .notice, #form .tested, #form [role=status]").first.wait_for()
    person.step("12-tried")
    tab.get_by_role("button", name="Review changes").last.click()
    tab.locator("#review").wait_for()
    person.step("13-review")
    tab.get_by_role("button", name="Publish").click()
    person.toast("second is connected")
    tab.get_by_role("heading", name="Your new key").wait_for()  # the first key of the organisation is made with its first provider
    tab.locator("summary", has_text="Python").click()
    assert snippet_run(tab.locator("#call-python").inner_text(), tab.locator("#secret").inner_text().strip())
    tab.get_by_text("First request seen").wait_for()
    person.step("14-first-key")
    tab.get_by_role("link", name="Providers", exact=True).click()
    tab.locator("main").get_by_role("link", name="second", exact=True).click()
    tab.get_by_text("Healthy").or_(tab.get_by_text("Reachable")).first.wait_for()  # it was checked while it was connected
    person.step("14-connected")


def create_key(person: Newcomer) -> str:
    """A key of one's own; its page waits for the first request, and ticks when that came."""
    tab = person.tab
    tab.get_by_role("link", name="Keys", exact=True).click()
    tab.get_by_role("link", name="New key").click()
    tab.get_by_label("Name", exact=True).fill("my-first")
    tab.get_by_role("button", name="Review changes").last.click()
    tab.locator("#review").wait_for()
    tab.get_by_role("button", name="Publish").click()
    key = tab.locator("#secret").inner_text().strip()
    tab.get_by_text("Waiting for the first request").wait_for()
    tab.locator("summary", has_text="Python").click()
    person.step("15-new-key")
    assert snippet_run(tab.locator("#call-python").inner_text(), key)
    tab.get_by_text("First request seen").wait_for()
    person.step("16-its-first-request")
    tab.get_by_role("link", name="explain it").click()
    tab.locator(".waterfall", has_text="second").wait_for()
    assert "Simulated" not in tab.locator("main").inner_text()
    person.step("16-real")
    return key


def invite(person: Newcomer, browser: Any) -> None:
    """A colleague comes in by a link, on a phone."""
    tab = person.tab
    tab.get_by_role("link", name="Settings", exact=True).click()
    person.go("/settings/people/")
    person.step("17-people")
    tab.get_by_role("link", name="Invite").first.click()
    tab.get_by_label("Email").fill("grace@example.test")
    for role in tab.locator("form.form select").all():
        role.select_option("viewer")
    tab.get_by_role("button", name="Make the link").click()
    link = tab.locator("#invitation-link").inner_text().strip()
    person.step("18-invited")
    grace = Newcomer(browser, person.url, width=390, scheme="dark", who="-grace")
    grace.go(link)
    grace.step("19-invitation")
    grace.tab.get_by_label("Your name").fill("Grace Hopper")
    grace.tab.get_by_label("Password").fill("a ship in port is safe")
    grace.tab.get_by_role("button", name="Come in").click()
    grace.tab.wait_for_url(f"{person.url}/**")
    grace.go("/")
    grace.step("20-colleague-sees")
    grace.context.clear_cookies()
    grace.go("/")
    grace.sign_in("grace@example.test", "a ship in port is safe")
    assert grace.tab.get_by_role("button", name="Break sim-east").count() == 0  # a viewer looks
    person.faults += grace.faults
    grace.context.close()


def remove_demo(person: Newcomer, facts: dict[str, Any]) -> None:
    """The demo goes, with its key; what is left has no numbers that were made up."""
    tab = person.tab
    person.go("/?org=demo")
    tab.get_by_role("link", name="Remove demo").click()
    person.step("21-remove")
    tab.get_by_label("To remove it, type").fill(tab.locator("label[for=typed] b").inner_text())
    tab.get_by_role("button", name="Remove demo").click()
    tab.get_by_text("The demo is removed").wait_for(timeout=120_000)
    person.step("22-removed")
    tab.get_by_role("link", name="To Overview").click()
    tab.get_by_role("heading", name="Overview", level=1).wait_for()
    person.step("23-without-demo")
    assert "sim-east" not in tab.locator("main").inner_text()
    app = Application(f"{facts['proxy_url']}/v1", facts["key"])
    app.stop.set()

    heard: list[str] = []

    def refused() -> bool:
        try:
            app.client.chat.completions.create(**ASKED)
        except APIStatusError as error:
            heard.append(str(error))
            return error.code in ("invalid_api_key", "key_revoked")
        except OpenAIError as error:
            heard.append(repr(error))
        else:
            heard.append("it was answered")
        return False

    try:
        wait_for(refused, what="the demo's key is refused")
    except AssertionError:
        pytest.fail(f"the demo's key is not refused: {heard[-1]}")


@pytest.mark.skipif(not WHOLE, reason="the whole walk is for make accept (BULKHEAD_ACCEPT=1)")
def test_the_first_ten_minutes(make_bulkhead: Callable[[], Bulkhead], chromium: Any) -> None:
    began = time.monotonic()
    bulkhead = make_bulkhead()
    up = bulkhead.up(loud=True)
    assert up.returncode == 0, up.stdout + up.stderr
    facts = bulkhead.facts
    assert facts["login"]["password"] in up.stdout
    person = Newcomer(chromium, facts["web_url"])
    person.go("/")
    person.step("00-sign-in")
    person.sign_in(**facts["login"])
    person.tab.get_by_role("button", name="Break sim-east").wait_for()
    person.step("01-overview")
    first_answer(person, facts["key"])
    break_and_survive(person, Application(f"{facts['proxy_url']}/v1", facts["key"]))
    with SimulatorServer("second", process=True) as sim:
        connect_second(person, sim)
        create_key(person)
        invite(person, chromium)
        remove_demo(person, facts)
    person.context.close()
    assert person.faults == []
    print(f"the walk took {time.monotonic() - began:.0f} s")
