"""The playground in a real browser, through a real proxy to a simulated provider: an answer that streams, one that is stopped, errors as
an app gets them, and what the shipper settles of each beside it. By keyboard; part of ``make accept``."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from apps.contracts.snapshot import (
    Endpoint,
    FlagFragment,
    Fragment,
    KeyFragment,
    PriceFragment,
    PriceVersion,
    ProviderFragment,
    RouteFragment,
    Target,
)
from apps.simulator.harness import SimulatorServer
from controlplane.launcher.postgres import Postgres
from tests.browser import WHOLE
from tests.browser.conftest import ROOT, Site, serve
from tests.browser.journeys_seed import LOOKS
from tests.browser.looks import overflow, serious
from tests.browser.playground_seed import KEY, NARROW, ORGANISATION
from tests.browser.test_keyboard import tab_to
from tests.proxy.standalone import StandaloneProxy

pytestmark = [
    pytest.mark.browser,
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(not WHOLE, reason="a proxy, a simulator and a shipper of its own: make accept"),
]

MODELS = {"chat": "sim-chat", "slow": "sim-slow", "breaks": "sim-fault/error_event:events=3"}
"""Routes, and what answers them. ``slow`` says two words a second: it is stopped long before its end."""
NOWHERE = "http://127.0.0.1:9/v1"
"""Where nobody listens: the provider behind it is down."""
SEEN = """id => {
    const { top, bottom } = document.getElementById(id).getBoundingClientRect();
    return bottom > 0 && top >= -1 && bottom <= innerHeight + 1;
}"""


@pytest.fixture(scope="module")
def site(session_postgres: Postgres, template_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    scenario = {"models": {"sim-slow": {"tokens_per_second": 2}}}
    with SimulatorServer("sim-east", process=True, scenario=scenario) as simulator:
        price = PriceVersion(version="p-1", input=150_000_000, output=600_000_000)
        endpoint = Endpoint(name="main", base_url=simulator.base_url)
        common = {"kind": "openai", "organisation": ORGANISATION, "simulated": True, "allow_private_addresses": True}
        config: list[Fragment] = [
            ProviderFragment(id="p", name="east", endpoints=[endpoint], **common),  # type: ignore[arg-type]
            ProviderFragment(id="q", name="west", endpoints=[Endpoint(name="main", base_url=NOWHERE)], **common),  # type: ignore[arg-type]
            *(PriceFragment(id=f"east/{model}", provider="east", model=model, versions=[price]) for model in MODELS.values()),
            PriceFragment(id="west/sim-chat", provider="west", model="sim-chat", versions=[price]),
            *(
                RouteFragment(id=name, name=name, organisation=ORGANISATION, targets=[Target(provider=provider, model=model)])
                for name, provider, model in (
                    *((name, "east", model) for name, model in MODELS.items()),
                    ("away", "west", "sim-chat"),
                    ("stopped", "east", "sim-chat"),
                )
            ),
            FlagFragment(id="f", name="stop-it", organisation=ORGANISATION, kind="kill", subject="route", subject_id="stopped", on=True),
            KeyFragment(id=KEY, name="app", public_id="app", organisation=ORGANISATION, digests=["aa" * 32]),
            KeyFragment(id=NARROW, name="narrow", public_id="narrow", organisation=ORGANISATION, digests=["bb" * 32], routes=["breaks"]),
        ]
        pepper = {"BULKHEAD_KEY_PEPPER": os.environ["BULKHEAD_KEY_PEPPER"]}
        seed = "tests.browser.playground_seed"
        with (
            StandaloneProxy(config, tmp_path_factory.mktemp("playground"), environ=pepper) as proxy,
            serve(session_postgres, template_database, tmp_path_factory, seed=(seed, proxy.url), name="playground") as served,
        ):
            arguments = [sys.executable, "manage.py", "shipper", "--journal-dir", str(proxy.journal_dir)]
            shipper = subprocess.Popen(arguments, cwd=ROOT, env=served.environment, stderr=subprocess.DEVNULL)
            try:
                yield served
            finally:
                shipper.terminate()
                shipper.wait()


def ask(tab: Any, message: str, *, route: str, key: str = "app", button: str = "Send") -> None:
    """As a person does: chooses key and route, types, and goes on by keyboard."""
    tab.get_by_label("Key", exact=True).fill(key)
    tab.get_by_label("Route", exact=True).fill(route)
    tab_to(tab, "Message")
    tab.keyboard.type(message)
    tab_to(tab, button)
    tab.keyboard.press("Enter")


@pytest.mark.parametrize(("width", "scheme"), LOOKS)
def test_an_answer_streams_beside_its_explanation(open_tab: Callable[..., Any], site: Any, width: int, scheme: str) -> None:
    watched = open_tab(width=width, scheme=scheme, height=844)
    tab = watched.tab
    tab.goto(f"{site.url}/playground/")
    assert serious(tab) == [] and overflow(tab) <= 0
    watched.shot(f"playground-new-{width}-{scheme}", whole=False)
    ask(tab, "Hello <b>there</b>", route="chat")
    tab.locator("#play-plan", has_text="would be called first").wait_for()
    tab.locator("#play-turns .code", has_text="Hello <b>there</b>").wait_for()
    tab.locator("[data-stop]").wait_for(state="hidden")
    assert tab.locator("#play-turns .code").count() == 2 and tab.locator("#play-turns b").count() == 0
    assert tab.get_by_label("Message", exact=True).input_value() == ""
    tab.wait_for_function(SEEN, arg="play-message")  # where one goes on, under what was answered
    assert tab.locator("#play-turns .code").last.bounding_box()["y"] > 0
    watched.shot(f"playground-answer-{width}-{scheme}", whole=False)
    told = tab.locator("#play-told")
    told.scroll_into_view_if_needed()  # a panel asks only while somebody can see it
    told.get_by_text("as counted").wait_for()  # its record came, without anybody asking for it
    assert "200" in told.inner_text() and "east" in told.locator(".waterfall").inner_text()
    watched.shot(f"playground-answered-{width}-{scheme}")
    assert serious(tab) == [] and overflow(tab) <= 0

    tab_to(tab, "Message", back=True)
    tab.keyboard.type("And then?")
    tab_to(tab, "Send")
    tab.keyboard.press("Enter")
    tab.locator("#play-turns .code", has_text="And then?").wait_for()
    tab.locator("[data-stop]").wait_for(state="hidden")
    assert tab.locator("#play-turns .code").count() == 4
    assert watched.violations() == []


def test_an_answer_is_stopped_and_what_came_of_it_stays(open_tab: Callable[..., Any], site: Any) -> None:
    watched = open_tab()
    tab = watched.tab
    tab.goto(f"{site.url}/playground/")
    ask(tab, "Tell me everything", route="slow")
    tab.wait_for_function("() => document.getElementById('play-answer').textContent.trim() !== ''")
    stop = tab.locator("[data-stop]")
    assert stop.is_visible() and tab.get_by_role("button", name="Send").is_disabled()
    watched.shot("playground-streams")
    tab_to(tab, "Stop")
    tab.keyboard.press("Enter")
    stop.wait_for(state="hidden")
    assert tab.locator("#play-answer").inner_text().strip() and tab.locator("[data-lost]").is_hidden()
    assert (
        tab.get_by_label("Message", exact=True).input_value() == "Tell me everything"
        and tab.get_by_role("button", name="Send").is_enabled()
    )
    tab.locator("#play-told .tiles").wait_for()  # what was answered until then is recorded and costs
    assert serious(tab) == []
    watched.shot("playground-stopped")
    assert watched.violations() == []


REFUSED = (
    ("chat", "narrow", "404", "model_not_found"),
    ("stopped", "app", "503", "stopped by the kill switch 'stop-it'"),
    ("away", "app", "502", "Nobody listens on"),
)
"""A route, as which key, and what an app gets: the status, and words of the sentence."""


@pytest.mark.parametrize(("width", "scheme"), [(390, "dark"), (1440, "light")])
def test_errors_stand_there_as_an_app_gets_them(open_tab: Callable[..., Any], site: Any, width: int, scheme: str) -> None:
    watched = open_tab(width=width, scheme=scheme, height=844)
    tab, failure = watched.tab, watched.tab.locator("#play-failure")
    for route, key, status, words in REFUSED:
        tab.goto(f"{site.url}/playground/")
        ask(tab, "Hi", route=route, key=key)
        failure.get_by_role("alert").wait_for()
        said = failure.get_by_role("alert").inner_text()
        assert status in said and words in said, said
        assert tab.get_by_label("Message", exact=True).input_value() == "Hi"
        tab.wait_for_function(SEEN, arg="play-failure")
        watched.shot(f"playground-refused-{route}-{width}-{scheme}", whole=False)
        assert serious(tab) == [] and overflow(tab) <= 0

    tab.goto(f"{site.url}/playground/")
    ask(tab, "Hi", route="breaks")
    failure.get_by_text("Broken off in the middle").wait_for()
    assert tab.locator("#play-answer").inner_text().strip()  # what came before stays
    watched.shot(f"playground-broken-{width}-{scheme}")
    assert serious(tab) == [] and overflow(tab) <= 0

    tab.goto(f"{site.url}/playground/")
    ask(tab, "Hi", route="nowhere", button="Dry run only")
    tab.locator("#play-plan", has_text="model_not_found").wait_for()
    assert failure.inner_text().strip() == "" and tab.locator("#play-told .tiles").count() == 0

    ask(tab, " again", route="chat", key="nobody")
    tab.get_by_role("alert").filter(has_text="put right first").wait_for()  # the page as it was sent, and what is wrong with it
    assert "no active key" in tab.locator("#id_key_error").inner_text()
    assert tab.get_by_label("Message", exact=True).input_value() == "Hi again"
    watched.shot(f"playground-no-key-{width}-{scheme}", whole=False)
    assert serious(tab) == [] and overflow(tab) <= 0
    assert [fault for fault in watched.violations() if "400" not in fault] == []
