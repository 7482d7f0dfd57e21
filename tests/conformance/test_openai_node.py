"""The stock ``openai`` package of Node through a real proxy, with the number of retries that apps leave as it is.

It is looked for in ``BULKHEAD_NODE_MODULES``, in ``var/node_modules`` (``npm install --prefix var openai``) and among the clients of
``make accept``; nothing else needs Node.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest

from tests.conformance.conftest import Stack
from tests.proxy.standalone import ROOT

SCRIPT = Path(__file__).with_name("openai_node.mjs")


class Case(NamedTuple):
    """error: the class that apps catch, None for a whole answer. calls: how often the proxy was asked."""

    model: str
    error: str | None
    code: str | None = None
    calls: int = 1
    stream: bool = False
    headers: dict[str, str] = {}


CASES = {
    "json": Case("chat", None),
    "stream": Case("chat", None, stream=True),
    "its own mistake": Case("bad-request", "BadRequestError", "invalid_request"),
    "no such model": Case("no-such-model", "NotFoundError", "model_not_found"),
    "tried again by the proxy": Case("broken", "InternalServerError"),
    "tried again by the proxy, streamed": Case("broken", "InternalServerError", stream=True),
    "a refused credential": Case("refused", "InternalServerError", "upstream_credentials_exhausted"),
    "no time left": Case("stalling", "InternalServerError", "upstream_timeout", headers={"x-bulkhead-timeout-ms": "300"}),
    "broken off": Case("cut", "APIError", "stream_interrupted", stream=True),
}


def package() -> Path | None:
    """The folder beside whose ``node_modules`` the package lies; None where it is not installed."""
    named = os.environ.get("BULKHEAD_NODE_MODULES")
    for modules in (Path(named) if named else None, ROOT / "var" / "node_modules", ROOT / "var" / "clients" / "node_modules"):
        if modules is not None and (modules / "openai" / "package.json").is_file():
            return modules.resolve().parent
    return None


@pytest.fixture(scope="module")
def given(proxy_stack: Stack) -> tuple[dict[str, Any], dict[str, int]]:
    """What apps got, and how often the proxy was asked, by scenario."""
    node, folder = shutil.which("node"), package()
    if node is None or folder is None:
        pytest.skip("LOUD SKIP: no Node with the stock openai package (npm install --prefix var openai, or BULKHEAD_NODE_MODULES)")
    proxy_stack.sim.reset()
    found: dict[str, Any] = {}
    calls: dict[str, int] = {}
    for name, case in CASES.items():
        before = asked(proxy_stack)
        scenario = {name: {"model": case.model, "stream": case.stream, "headers": case.headers}}
        command = [node, str(SCRIPT), str(folder), proxy_stack.base_url, proxy_stack.key, json.dumps(scenario)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        found |= json.loads(done.stdout)
        calls[name] = asked(proxy_stack) - before
    return found, calls


def asked(stack: Stack) -> int:
    """Requests that the proxy has finished."""
    text = httpx.get(f"{stack.admin_url}/metrics", timeout=60).text
    return sum(int(count) for count in re.findall(r"^bulkhead_requests_total\{[^}]*\} (\d+)$", text, re.MULTILINE))


@pytest.mark.parametrize("name", CASES)
def test_what_an_app_gets_and_how_often_the_proxy_is_asked(given: tuple[dict[str, Any], dict[str, int]], name: str) -> None:
    found, calls = given
    case, got = CASES[name], found[name]
    assert got["error"] == case.error, got
    if case.error is None:
        assert got["text"] and got["finish"] in ("stop", "length")
    if case.code is not None:
        assert got["code"] == case.code
    assert calls[name] == case.calls, "no retries of the SDK on top of the proxy's"
