"""A real web process on a database of its own, and a real Chromium that notes every console error and policy violation."""

from __future__ import annotations

import os
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
from tests.browser.looks import COLLECT, FLAGS, browser_found, listen, sign_in
from tests.browser.seed import EMAIL, PASSWORD

ROOT = Path(__file__).resolve().parents[2]
SHOTS = os.environ.get("BULKHEAD_SHOTS")
"""Where screenshots go, for a person to look at; none are taken without it."""


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
    if (found := browser_found()) is None:
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
        site.signed_in = sign_in(chromium, url=site.url, email=EMAIL, password=PASSWORD)
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


@pytest.fixture
def open_tab(chromium: Any, signed_in: Any) -> Iterator[Callable[..., Watched]]:
    """``open_tab(width=390, scheme="dark")``: a signed-in tab. touch: of a device that is tapped."""
    contexts = []

    def open_one(*, width: int = 1440, scheme: str = "light", signed: bool = True, height: int = 900, touch: bool = False) -> Watched:
        context = chromium.new_context(
            viewport={"width": width, "height": height}, color_scheme=scheme, has_touch=touch,
            storage_state=signed_in if signed else None,
        )  # fmt: skip
        context.set_default_timeout(LONG_MS)
        context.add_init_script(COLLECT)
        contexts.append(context)
        tab = context.new_page()
        watched = Watched(tab, listen(tab))
        return watched

    yield open_one
    for context in contexts:
        context.close()
