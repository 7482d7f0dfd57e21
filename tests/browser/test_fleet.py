"""A machine becomes a worker and is taken out again, in a real browser with a real agent: the command that the page shows is run as it
stands, and the page that shows it says who came; a deployment is made by its form and gets ready; the worker drains.

The agent's GPUs and its engine are simulated, and the pages say so. Part of ``make accept``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser import WHOLE
from tests.browser.conftest import ROOT, Site, Watched, serve
from tests.browser.looks import overflow, serious
from tests.browser.test_keyboard import tab_to

pytestmark = [
    pytest.mark.browser,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not WHOLE, reason="BULKHEAD_ACCEPT=1 joins a real worker in a real browser: half a minute"),
]


@pytest.fixture(scope="module")
def site(session_postgres: Any, template_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """One of its own, whose replicas follow what is wanted."""
    with serve(session_postgres, template_database, tmp_path_factory, seed=("tests.browser.seed", "30"), name="fleet") as served:
        following = subprocess.Popen([sys.executable, "-m", "tests.browser.fleet_follow"], cwd=ROOT, env=served.environment)
        try:
            yield served
        finally:
            following.kill()
            following.wait()


class Machine:
    """Where the command of the page is pasted: a shell that has ``bulkhead-agent`` on its path, and a directory of its own."""

    def __init__(self, directory: Path, name: str) -> None:
        program = directory / "bin" / "bulkhead-agent"
        program.parent.mkdir(parents=True)
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m apps.agent "$@"\n')
        program.chmod(0o755)
        own = {name: value for name, value in os.environ.items() if not name.startswith(("BULKHEAD_", "DJANGO_", "DATABASE_"))}
        self.environment = {
            **own, "PATH": f"{program.parent}:{own['PATH']}", "PYTHONPATH": str(ROOT), "BULKHEAD_AGENT_DIR": str(directory / "agent"),
            "BULKHEAD_AGENT_NAME": name, "BULKHEAD_AGENT_GPUS": "fake:2", "BULKHEAD_AGENT_STOP_SECONDS": "1",
        }  # fmt: skip
        self.log = directory / "agent.log"
        self.process: subprocess.Popen[bytes] | None = None

    def paste(self, command: str) -> subprocess.Popen[bytes]:
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                ["sh", "-c", command], cwd=ROOT, env=self.environment, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
            )
        return self.process

    def stop(self) -> None:
        """The agent ends its engines first."""
        if self.process is not None and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGTERM)
            try:
                self.process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)


@pytest.fixture
def machine(tmp_path: Path) -> Iterator[Callable[[str], Machine]]:
    made: list[Machine] = []

    def make(name: str) -> Machine:
        made.append(Machine(tmp_path / name, name))
        return made[-1]

    yield make
    for one in made:
        one.stop()


def sound(watched: Watched, name: str) -> None:
    watched.shot(f"fleet-journey-{name}")
    assert overflow(watched.tab) <= 0, name
    assert serious(watched.tab) == [], name


@pytest.mark.parametrize(("width", "scheme"), [(1440, "light"), (390, "dark")])
def test_a_machine_joins_serves_and_drains(
    open_tab: Callable[..., Watched], site: Site, machine: Callable[[str], Machine], width: int, scheme: str
) -> None:
    watched, name = open_tab(width=width, scheme=scheme), f"desk-{width}"
    tab = watched.tab

    # joined in two steps, by keyboard
    tab.goto(f"{site.url}/workers/?org=nothing")
    tab_to(tab, "Join a worker")
    tab.keyboard.press("Enter")
    tab.get_by_role("heading", name="Join a worker", level=1).wait_for()
    tab_to(tab, "Make a join token")
    tab.keyboard.press("Enter")
    command = tab.locator("#command").inner_text()
    assert "bhj_" in command and "bulkhead-agent" in command
    tab.get_by_text("Nobody has come yet.").wait_for()
    sound(watched, f"token-{width}")
    tab_to(tab, "look at the tokens")
    tab_to(tab, "Copy", back=True)  # whoever stands somewhere on the page stays there while it says who came
    here = machine(name)
    here.paste(command)
    tab.get_by_text(f"{name} has joined.").wait_for()
    tab.locator("#arrival .status", has_text="In service").wait_for()
    assert tab.evaluate("document.activeElement.innerText.trim()") == "Copy"
    sound(watched, f"joined-{width}")

    # the token is spent
    again = machine(f"other-{width}")
    assert again.paste(command).wait(60) == 3
    assert "was used" in again.log.read_text()

    # a deployment by its form, ready while one looks on
    tab_to(tab, "New deployment")
    tab.keyboard.press("Enter")
    tab.wait_for_url("**/deployments/new/")
    tab.get_by_label("Name", exact=True).fill(f"chat-{width}")
    tab.get_by_label("Model", exact=True).fill("sim-chat")
    tab.get_by_label("GPUs per replica").fill("1")
    tab.get_by_label("Memory, GB").fill("4")
    tab.get_by_label("Replicas at most").fill("2")
    tab.get_by_role("combobox", name="Scaling").select_option("dry_run")
    tab.get_by_text("Scaling policy").click()
    tab.get_by_label("KV cache, %").fill("140")
    tab.get_by_role("button", name="Review changes").click()
    tab.get_by_text("Use 0 to 100: it is a share in percent.").first.wait_for()
    sound(watched, f"refused-{width}")
    watched.errors.clear()  # the console's word for the refusal
    tab.get_by_label("KV cache, %").fill("75")
    tab.get_by_role("button", name="Review changes").click()
    tab.locator("#review").wait_for()
    sound(watched, f"review-{width}")
    tab.get_by_role("button", name="Publish").click()
    tab.get_by_role("heading", name=f"chat-{width}", level=1).wait_for()
    tab.locator("#deployment-live .tile", has_text="1 of 1 wanted").wait_for()
    tab.locator(".page-head", has_text="Serving").wait_for()
    sound(watched, f"ready-{width}")
    tab.goto(f"{site.url}/workers/gpus/?q={name}")
    tab.locator("#gpus tbody tr", has_text=f"chat-{width}").get_by_role("img", name="Simulated").wait_for()

    # drained with a reason, from the keyboard
    tab.goto(f"{site.url}/workers/?q={name}")
    tab_to(tab, name)
    tab.keyboard.press("Enter")
    tab.get_by_role("heading", name=name, level=1).wait_for()
    tab_to(tab, "Drain")
    tab.keyboard.press("Enter")
    dialog = tab.locator("dialog[open]")
    dialog.wait_for()
    assert tab.evaluate("document.activeElement.innerText") == "Cancel" and "another one is ready first" in dialog.inner_text()
    tab_to(tab, "Reason", back=True)
    tab.keyboard.type("the desk is moved")
    tab.keyboard.press("Enter")
    tab.get_by_text("Nothing is left on it: the machine may be switched off.").wait_for()
    tab.get_by_text("the desk is moved").first.wait_for()
    sound(watched, f"drained-{width}")
    tab.goto(f"{site.url}/deployments/?q=chat-{width}")
    tab.get_by_role("link", name=f"chat-{width}").first.click()
    tab.get_by_text("A replica fits nowhere.").wait_for()
    tab.get_by_text("Takes nothing now").wait_for()
    sound(watched, f"nowhere-{width}")
    assert watched.violations() == []
