"""Clients of other people's making, as they are installed, through a real proxy to simulated providers of three formats.

Their packages lie in ``var/clients``, which ``make accept`` makes (``deploy/clients.py``); where they are not there, it is said.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.clients.serving import KEY, served
from tests.proxy.standalone import ROOT, StandaloneProxy
from tests.scale import FULL

CLIENTS = ROOT / "var" / "clients"
PYTHON = CLIENTS / "bin" / "python"
SUITES = ROOT / "tests" / "clients"
MISSING = "python deploy/clients.py was not run, or could not fetch its packages"

pytestmark = [
    pytest.mark.skipif(not FULL, reason="other people's clients run under make accept"),
    pytest.mark.slow,
    pytest.mark.xdist_group("clients"),
]


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StandaloneProxy]:
    with served(tmp_path_factory.mktemp("clients")) as running:
        yield running


def environ(proxy: StandaloneProxy) -> dict[str, str]:
    """Nothing of the machine's own accounts, so that nobody is called but the proxy."""
    kept = {
        name: value for name, value in os.environ.items() if not name.endswith("_API_KEY") and not name.startswith(("PYTEST_", "DJANGO_"))
    }
    return {**kept, "PROXY_URL": proxy.url, "PROXY_KEY": KEY, "LANGSMITH_TRACING": "false", "NO_PROXY": "127.0.0.1,localhost"}


@pytest.mark.skipif(not (CLIENTS / ".locked").is_file(), reason=MISSING)
@pytest.mark.parametrize("suite", ["langchain", "instructor", "pydantic_ai", "llm"])
def test_a_suite(proxy: StandaloneProxy, suite: str, tmp_path: Path) -> None:
    run = [str(PYTHON), "-m", "pytest", "-q", "-rfE", "-p", "no:cacheprovider", "-c", str(SUITES / "suites.ini"), f"--rootdir={SUITES}"]
    done = subprocess.run([*run, str(SUITES / f"{suite}_suite.py")], env=environ(proxy), cwd=tmp_path, capture_output=True, text=True)
    print(done.stdout[-3000:])
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]


@pytest.mark.skipif(shutil.which("node") is None, reason="there is no Node here")
@pytest.mark.skipif(not (CLIENTS / ".packages").is_file(), reason=MISSING)
def test_the_vercel_ai_sdk(proxy: StandaloneProxy) -> None:
    script = CLIENTS / "ai_sdk.mjs"  # modules are looked for beside the script
    shutil.copyfile(SUITES / "ai_sdk.mjs", script)
    done = subprocess.run(["node", str(script)], env=environ(proxy), capture_output=True, text=True, timeout=600)
    cases = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert done.returncode == 0, done.stderr[-4000:]
    failed = [f"{case['case']}: {case['why']}" for case in cases if not case["ok"]]
    assert len(cases) == 48 and not failed, "\n".join(failed)
