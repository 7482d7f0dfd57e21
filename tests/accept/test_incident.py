"""An incident from its first failure to its postmortem, by a browser, against a running instance under recorded traffic.

A simulated provider fails; the rule's alert opens the incident; its page offers the flip that sends the traffic elsewhere; the provider
comes back, the flip is taken back, the incident is resolved, its postmortem written on a phone, printed, and given a draft by a model
through the proxy. What failed, by the evidence, is what the provider and the client counted, to the request; the timeline tells all of
it, and nobody wrote a line of it. Pictures of each step, wide and light, narrow and dark, and the print go to
``test-artefacts/incident`` (or ``BULKHEAD_SHOTS``).
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from apps.simulator.harness import SimulatorServer
from tests.accept import ledger
from tests.accept.conftest import FULL, MATERIAL, SERVICE, Instance, summary_of
from tests.browser import LONG_MS
from tests.browser.looks import browser_found, browser_open, check, listen, settled, sign_in
from tests.launcher.conftest import ROOT, clean_environment, wait_for

pytestmark = [
    pytest.mark.slow,
    pytest.mark.browser,
    pytest.mark.timeout(1_800),
    pytest.mark.skipif(not FULL, reason="an incident takes minutes from its alert to its end: make accept (BULKHEAD_ACCEPT=1)"),
]

SPEED = 3.0
PICTURES = Path(os.environ.get("BULKHEAD_SHOTS") or ROOT / "test-artefacts") / "incident"
LOOKS = {"phone": {"viewport": {"width": 390, "height": 844}, "color_scheme": "dark"}, "desk": {"viewport": {"width": 1440, "height": 900}}}
PROVIDER = """\
- name: {name}
  simulated: true
  allow_private_addresses: true
  endpoints:
  - base_url: {url}
    region: {region}
  prices:
  - model: m
    input: '0.15'
    output: '0.6'
"""
FACTS = (
    "Breaker opened: east", "Alert fired: Answers fail: show", "Declared by an alert", "Acknowledged", "Flag show-fallback turned on",
    "Mitigated", "Alert resolved: Answers fail: show", "Every alert of it is over", "Flag show-fallback turned off",
    "Breaker closed: east", "Resolved",
)  # fmt: skip
"""What the timeline must say, in this order; between them it says more, such as what was published."""


@pytest.fixture
def sides() -> Iterator[tuple[SimulatorServer, SimulatorServer]]:
    with SimulatorServer("incident-east", process=True) as east, SimulatorServer("incident-west", process=True) as west:
        for server in (east, west):
            behave(server)
        yield east, west


def behave(server: SimulatorServer, **more: Any) -> None:
    server.control(server={"first_byte_ms": {"kind": "fixed", "value": 20}, "tokens_per_event": 20, "tokens_per_second": 4_000, **more})


def document(east: SimulatorServer, west: SimulatorServer) -> str:
    """A route of its own with a fallback, a flag for it, and a rule that opens an incident; no budget that could refuse instead."""
    return (
        f"organisation: demo\nproviders:\n{PROVIDER.format(name='east', url=east.base_url, region='eu-east')}"
        f"{PROVIDER.format(name='west', url=west.base_url, region='eu-west')}"
        "routes:\n- name: show\n  targets:\n  - {provider: east, model: m}\n  fallback:\n  - {provider: west, model: m}\n"
        f"keys:\n- name: show\n  service: {SERVICE}\n  secret: file:show.key\n"
        "flags:\n- {name: show-fallback, kind: fallback, route: show, purpose: The other region answers.}\n"
        "budgets:\n- {name: demo-day, absent: true}\n- {name: demo-key-month, absent: true}\n"
        "alert_rules:\n- name: show-fails\n  title: Answers fail\n  series: error_rate\n  by: route\n  values: [show]\n  warn: 2%\n"
        "  critical: 10%\n  window: 1m\n  fires_after: 0s\n  resolves_after: 1m\n  min_samples: 10\n  runbook: provider-down\n"
        "  opens_incident: sev2\n"
    )


@contextmanager
def traffic(one: Instance, trace: Path) -> Iterator[dict[str, Any]]:
    """The trace through the route for as long as this lasts; then its summary is in the dictionary."""
    key = (one.data_dir / "show.key").read_text().strip()
    options = ("--speed", str(SPEED), "--key", key, "--model", "show", "--mixed", "--json")
    command = [sys.executable, str(ROOT / "manage.py"), "replay", str(trace), *options]
    environment, summary = {**clean_environment(), "BULKHEAD_DATA_DIR": str(one.data_dir)}, dict[str, Any]()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, cwd=ROOT, env=environment) as process:
        try:
            yield summary
            assert process.poll() is None, "the trace was over before the incident"
        finally:
            process.send_signal(signal.SIGINT)
            output, _ = process.communicate(timeout=120)
        summary.update(summary_of(output))


class People:
    """One person at two screens: a phone, at which everything is done, and a desk, at which the same is looked at."""

    def __init__(self, browser: Any, one: Instance) -> None:
        login, self.url = one.facts["login"], str(one.facts["web_url"])
        state = sign_in(browser, url=self.url, email=login["email"], password=login["password"])
        self.tabs: dict[str, Any] = {}
        for name, look in LOOKS.items():
            context = browser.new_context(storage_state=state, **look)
            context.set_default_timeout(LONG_MS)
            self.tabs[name] = context.new_page()
            self.goto("/?org=demo", name)
        self.phone = self.tabs["phone"]
        self.heard = listen(self.phone)
        PICTURES.mkdir(parents=True, exist_ok=True)

    def goto(self, path: str, name: str = "phone") -> None:
        self.tabs[name].goto(path if path.startswith("http") else f"{self.url}{path}")

    def take(self, step: str) -> None:
        """Pictures of the phone's page as it stands, and of the same at the desk; nothing is wrong with either."""
        self.goto(self.phone.url, "desk")
        for name, tab in self.tabs.items():
            tab.wait_for_load_state("networkidle")
            settled(tab)
            tab.screenshot(path=str(PICTURES / f"{step}-{name}.png"), full_page=True)
            assert check(tab) == [], f"{step} at the {name}"

    def shows(self, path: str, text: str, *, seconds: float = 400) -> None:
        """The phone shows a page again and again until it says something."""

        def said() -> bool:
            self.goto(path)
            return text in str(self.phone.locator("main").inner_text())

        wait_for(said, seconds=seconds, what=f"{path} says {text!r}")


def figure(tab: Any, name: str) -> str:
    """The exact figure of a line of the impact table."""
    row = tab.get_by_role("region", name="Impact").get_by_role("row").filter(has=tab.get_by_role("rowheader", name=name, exact=True))
    return str(row.locator("td.num").get_attribute("title"))


def test_from_the_first_failure_to_the_postmortem(
    make_instance: Callable[..., Instance], sides: tuple[SimulatorServer, SimulatorServer], capsys: pytest.CaptureFixture[str]
) -> None:
    trace = MATERIAL / "traces" / "azure" / "AzureLLMInferenceTrace_conv.csv"
    if browser_found() is None or not trace.is_file():
        pytest.skip(f"LOUD SKIP: it takes Chromium and the Azure trace at {trace}")
    one, (east, west) = make_instance("--proxies", "2"), sides
    one.apply(document(east, west))
    with browser_open() as browser:
        people = People(browser, one)
        with traffic(one, trace) as summary:
            incident = fire(one, people, east, west)
        ledger.wait_settled(one)
        mine = "SELECT count(*) FROM usage_request WHERE route = 'show' AND outcome = 'error'"
        wait_for(lambda: one.query(mine) == [(summary["failed"],)], seconds=120, what="every failed request is settled")
        postmortem = close(people, incident)
        bill = east.bill(seen=False)
        with capsys.disabled():
            print("\n", {name: summary[name] for name in ("sent", "ok", "failed", "failed_by_code", "unanswered")}, "east", bill)
        assert summary["failed"] > 50 and bill["error"] > 50 and west.bill(seen=False)["error"] == 0
        assert (figure(people.phone, "Requests failed"), figure(people.phone, "Attempts failed")) == (
            str(summary["failed"]),
            str(bill["error"]),
        )
        told(people.phone)
        learn(one, people, postmortem)
        assert people.heard == []


def fire(one: Instance, people: People, east: SimulatorServer, west: SimulatorServer) -> str:
    """From the fault until the provider answers again; the incident's address."""
    phone = people.phone
    wait_for(lambda: east.bill(seen=False)["ok"] > 100, seconds=300, what="traffic")
    behave(east, errors=[{"share": 1.0, "fault": "503"}])
    people.shows("/incidents/", "Answers fail: show")
    people.take("1-declared-by-the-alert")
    phone.get_by_role("link", name="Answers fail: show").first.click()
    phone.get_by_role("button", name="I look after it").wait_for()
    incident = phone.url.removeprefix(people.url).partition("?")[0]
    people.shows(incident, "Requests failed")
    people.take("2-incident")
    phone.get_by_role("button", name="I look after it").click()
    phone.get_by_text("is commander").or_(phone.locator("#title-timeline")).first.wait_for()
    phone.get_by_text("What it would do").first.click()
    phone.get_by_text("Measured over the last").wait_for()
    people.take("3-what-helps")
    phone.get_by_role("link", name="Turn on show-fallback").first.click()
    phone.get_by_role("textbox", name="More, or another reason").fill("east answers 503")
    people.take("4-the-question")
    phone.get_by_role("button", name="Turn on").click()
    phone.wait_for_url("**/flags/show-fallback/?version=*")
    wait_for(lambda: west.bill(seen=False)["ok"] > 50, seconds=120, what="the traffic goes elsewhere")
    people.take("5-flipped")
    move(people, incident, "mitigated")
    people.take("6-mitigated")
    behave(east)
    people.shows(incident, "Every alert of it is over")
    people.goto("/flags/show-fallback/off/")
    phone.get_by_role("textbox", name="More, or another reason").fill("east answers again")
    phone.get_by_role("button", name="Turn off").click()
    phone.wait_for_url("**/flags/show-fallback/?version=*")
    back = east.bill(seen=False)["ok"]
    wait_for(lambda: east.bill(seen=False)["ok"] > back + 100, seconds=120, what="east has the traffic again")
    people.shows(incident, "Breaker closed: east")
    return incident


def move(people: People, incident: str, state: str) -> None:
    """To another state, without a word."""
    people.goto(incident)
    people.phone.get_by_label("State").select_option(state)
    people.phone.get_by_role("button", name="Tell").click()
    people.phone.locator(".toast", has_text=f"is {state}").wait_for()


def close(people: People, incident: str) -> str:
    """Resolved, and the postmortem with its evidence; its address."""
    phone = people.phone
    move(people, incident, "resolved")
    people.take("7-resolved")
    people.goto(incident)
    begin = phone.get_by_role("button", name="Begin it now")
    (begin if begin.count() else phone.get_by_role("link", name="Open it")).click()
    phone.wait_for_url("**/postmortems/**")
    postmortem = phone.url.removeprefix(people.url).partition("?")[0]
    people.shows(postmortem, "Frozen")
    people.take("8-evidence")
    return postmortem


def told(tab: Any) -> None:
    """The timeline says everything that happened, in order, without a note, an update or a word with a state."""
    rows = tab.get_by_role("region", name="Timeline").locator("tbody tr")
    lines = [str(row.locator("td").nth(1).inner_text()) for row in rows.all()]
    moments = [str(row.locator("td").nth(0).inner_text()) for row in rows.all()]
    assert moments == sorted(moments)
    places = [next((at for at, line in enumerate(lines) if line.startswith(fact)), -1) for fact in FACTS]
    assert -1 not in places and places == sorted(places), dict(zip(FACTS, places, strict=True)) | {"lines": lines}
    published = [at for at, line in enumerate(lines) if line.startswith("Config published")]
    for flip in ("Flag show-fallback turned on", "Flag show-fallback turned off"):
        at = places[FACTS.index(flip)]
        assert {at - 1, at + 1} & set(published), "each flip beside the config that carried it"


def save(tab: Any) -> None:
    """What stands in a form, after the review that comes first."""
    tab.get_by_role("button", name="Review changes").click()
    tab.locator("#review").get_by_role("button", name="Save").click()


def learn(one: Instance, people: People, postmortem: str) -> None:
    """The why is written at a phone's width, a model proposes a draft through the proxy, and the whole is printed."""
    phone = people.phone
    key = one.query("SELECT id::text FROM keys_virtualkey WHERE name = 'show'")[0][0]
    people.goto("/postmortems/template/")
    phone.get_by_label("Drafts by a model: route").select_option("show")
    phone.get_by_label("Drafts by a model: key").select_option(key)
    save(phone)
    phone.locator(".toast", has_text="holds for postmortems").wait_for()
    people.goto(f"{postmortem}facts/")
    phone.get_by_role("combobox", name="Owner").select_option(index=1)
    phone.get_by_role("combobox", name="Set off by").select_option("provider")
    phone.get_by_role("combobox", name="Noticed by").select_option("alert")
    phone.get_by_label("Single region").check()
    save(phone)
    phone.wait_for_url(f"**{postmortem}**")
    phone.get_by_role("link", name="Write").click()
    phone.get_by_role("button", name="Propose a draft").click()
    phone.wait_for_url(f"**{postmortem}**")
    people.shows(postmortem, "Proposed by show")
    phone.get_by_role("link", name="Write").click()
    areas = phone.locator("form#editor textarea")
    for number, area in enumerate(areas.all()):
        area.fill(f"Section {number}: **east** stopped answering.\n\n- one region\n- `no` other target")
    phone.locator("#saved .status", has_text="Kept").wait_for()
    people.take("9-writing")
    phone.get_by_role("button", name="Save and close").first.click()
    phone.get_by_role("button", name="Ask for a review").click()
    phone.locator("dialog[open]").get_by_role("button", name="Ask").click()
    phone.get_by_text("It waits for 1 more sign-off").wait_for()
    people.take("10-written")
    desk = people.tabs["desk"]
    desk.goto(phone.url)
    settled(desk)
    printed = desk.pdf(path=str(PICTURES / "postmortem.pdf"), format="A4", print_background=True)
    assert printed.startswith(b"%PDF-") and b"/Count" in printed
