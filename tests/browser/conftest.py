"""A real web process on a database of its own, and a real Chromium that notes every console error and policy violation."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg import sql

from controlplane.launcher.postgres import OWNER, SUPERUSER, Postgres
from tests.browser import LONG_MS
from tests.browser.seed import EMAIL, PASSWORD

ROOT = Path(__file__).resolve().parents[2]
SHOTS = os.environ.get("BULKHEAD_SHOTS")
"""Where screenshots go, for a person to look at; none are taken without it."""
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
"""As ``deploy/chromium.sh`` looks for them."""
FLAGS = (
    "--no-sandbox", "--disable-quic", "--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync",
)  # fmt: skip
COLLECT = """
window.violations = [];
document.addEventListener("securitypolicyviolation", (event) => {
    window.violations.push(`${event.violatedDirective} ${event.blockedURI} ${event.sourceFile}`);
});
"""


@dataclass
class Site:
    """A running web process. signed_in: the cookies of a person who signed in through the page, once somebody did."""

    url: str
    database_url: str
    environment: dict[str, str]
    signed_in: Any = None


def _environment(database_url: str, data: Path) -> dict[str, str]:
    # The tests' own settings module put fixed secrets into os.environ; the process reads them as an operator's.
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "controlplane.settings.dev",
        "DATABASE_URL": database_url,
        "BULKHEAD_DATA_DIR": str(data),
        "PYTHONPATH": str(ROOT),
    }


@contextmanager
def serve(
    session_postgres: Postgres, template_database: str, tmp_path_factory: pytest.TempPathFactory, *, seed: tuple[str, ...], name: str
) -> Iterator[Site]:
    """A web process on a clone of its own, filled by ``python -m <seed>``; gone afterwards."""
    name = f"{name}_{os.getpid()}"
    with psycopg.connect(session_postgres.url(user=SUPERUSER, database="postgres"), autocommit=True) as connection:
        connection.execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {} OWNER {}").format(
                sql.Identifier(name), sql.Identifier(template_database), sql.Identifier(OWNER)
            )
        )
    environment = _environment(session_postgres.url(database=name), tmp_path_factory.mktemp("data"))
    subprocess.run([sys.executable, "-m", *seed], cwd=ROOT, env=environment, check=True, stdout=subprocess.DEVNULL)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = (tmp_path_factory.mktemp("log") / "web.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "uvicorn", "controlplane.asgi:application", "--port", str(port), "--log-level", "warning"],
        cwd=ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        url = f"http://127.0.0.1:{port}"
        deadline = time.monotonic() + LONG_MS / 1000
        while True:
            try:
                urllib.request.urlopen(f"{url}/healthz", timeout=5).close()
                break
            except OSError:
                if time.monotonic() > deadline or process.poll() is not None:
                    pytest.fail(f"the web process did not start: {Path(log.name).read_text()[-2000:]}")
                time.sleep(0.1)
        yield Site(url, environment["DATABASE_URL"], environment)
    finally:
        process.kill()  # nothing of it is needed any more
        process.wait()
        log.close()
        with psycopg.connect(session_postgres.url(user=SUPERUSER, database="postgres"), autocommit=True) as connection:
            connection.execute(sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(sql.Identifier(name)))


@pytest.fixture(scope="session")
def site(session_postgres: Postgres, template_database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    with serve(session_postgres, template_database, tmp_path_factory, seed=("tests.browser.seed", "3000"), name="browser") as served:
        yield served


@pytest.fixture(scope="package")
def chromium(template_database: str) -> Iterator[Any]:
    """One browser for all these tests, gone before any other: playwright keeps a loop running in this thread, where Django refuses
    to work. Hence after the template, which Django makes."""
    found = next((path for name in (os.environ.get("BULKHEAD_CHROMIUM"), *BROWSERS) if name and (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("NO BROWSER: install Chromium (apt-get install chromium) to run the tests that look at pages")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=list(FLAGS), timeout=LONG_MS)
        yield browser
        browser.close()


@pytest.fixture
def signed_in(chromium: Any, site: Site) -> Any:
    """The cookies of a person who signed in through the page."""
    if site.signed_in is None:
        context = chromium.new_context()
        context.set_default_timeout(LONG_MS)
        tab = context.new_page()
        tab.goto(f"{site.url}/")
        tab.get_by_label("Email").fill(EMAIL)
        tab.get_by_label("Password").fill(PASSWORD)
        tab.get_by_role("button", name="Sign in").click()
        tab.wait_for_url(f"{site.url}/")
        site.signed_in = context.storage_state()
        context.close()
    return site.signed_in


@dataclass
class Watched:
    """A tab, and everything it complained about."""

    tab: Any
    errors: list[str] = field(default_factory=list)

    def violations(self) -> list[str]:
        return self.tab.evaluate("window.violations") + self.errors

    def shot(self, name: str, *, whole: bool = True) -> None:
        if SHOTS:
            Path(SHOTS).mkdir(parents=True, exist_ok=True)
            self.tab.screenshot(path=f"{SHOTS}/{name}.png", full_page=whole)


def _complaint(message: Any) -> bool:
    """An error of the page's own; not that a poll was given up, because the page was left or asked again before a slow answer came."""
    return message.type == "error" and "AbortError" not in message.text


@pytest.fixture
def open_tab(chromium: Any, signed_in: Any) -> Iterator[Callable[..., Watched]]:
    """``open_tab(width=390, scheme="dark")``: a signed-in tab."""
    contexts = []

    def open_one(*, width: int = 1440, scheme: str = "light", signed: bool = True, height: int = 900) -> Watched:
        context = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, storage_state=signed_in if signed else None
        )
        context.set_default_timeout(LONG_MS)
        context.add_init_script(COLLECT)
        contexts.append(context)
        watched = Watched(context.new_page())
        watched.tab.on("console", lambda message: watched.errors.append(message.text) if _complaint(message) else None)
        watched.tab.on("pageerror", lambda error: watched.errors.append(str(error)))
        return watched

    yield open_one
    for context in contexts:
        context.close()
