"""No request leaves a reference cycle behind: the proxy's garbage collector comes seldom, and what waits for it grows cold."""

from __future__ import annotations

import json
import signal
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from apps.simulator.harness import SimulatorServer
from tests.proxy.conftest import KEY, fragments
from tests.proxy.standalone import ROOT, StandaloneProxy

LOOK = """\
import collections, gc, json, os, signal

def look(*_):
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    found = collections.Counter(f"{type(thing).__module__}.{type(thing).__qualname__}" for thing in gc.garbage)
    gc.set_debug(0)
    gc.garbage.clear()
    gc.collect()
    with open(os.environ["FOUND"] + ".new", "w") as file:
        json.dump(found, file)
    os.rename(os.environ["FOUND"] + ".new", os.environ["FOUND"])

signal.signal(signal.SIGUSR2, look)
"""
"""Runs in the proxy's process before anything else of it, and on a signal tells what only the collector could free."""
ASKED = 5
WAYS = [
    ("/v1/chat/completions", "chat"),
    ("/v1/messages", "chat"),
    ("/v1/chat/completions", "400/alone"),
    ("/v1/chat/completions", "500/fallback"),
    ("/v1/chat/completions", "cut-stream/alone"),
    ("/v1/chat/completions", "cut-stream/fallback"),
    ("/v1/chat/completions", "error-event-mid/alone"),
    ("/v1/chat/completions", "nobody-knows-it"),
]


def found(proxy: StandaloneProxy, file: Path) -> dict[str, int]:
    assert proxy.process is not None
    file.unlink(missing_ok=True)
    proxy.process.send_signal(signal.SIGUSR2)
    until = time.monotonic() + 60
    while not file.exists():
        assert time.monotonic() < until, proxy.log.read_text()[-2000:]
        time.sleep(0.02)
    told: dict[str, int] = json.loads(file.read_text())
    return told


@pytest.mark.timeout(300)
def test_no_request_leaves_a_cycle_behind(east: SimulatorServer, west: SimulatorServer, tmp_path: Path) -> None:
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "sitecustomize.py").write_text(LOOK)
    file = tmp_path / "found"
    environ = {"PYTHONPATH": f"{tmp_path / 'first'}:{ROOT}", "FOUND": str(file)}
    with (
        StandaloneProxy(fragments(east.base_url, west.base_url, "http://127.0.0.1:9/v1"), tmp_path, environ=environ) as proxy,
        httpx.Client(headers={"authorization": f"Bearer {KEY}"}, timeout=60) as client,
    ):

        def ask(path: str, model: str, *, stream: bool) -> None:
            body: dict[str, Any] = {"model": model, "max_tokens": 40, "stream": stream, "messages": [{"role": "user", "content": "a word"}]}
            try:
                client.post(proxy.url + path, json=body)
            except httpx.RemoteProtocolError:  # a stream that broke off says so by its end
                assert model.startswith(("cut-", "error-"))

        for path, model in WAYS:  # what is made once
            ask(path, model, stream=False)
            ask(path, model, stream=True)
        found(proxy, file)
        for path, model in WAYS:
            for stream in (False, True):
                for _ in range(ASKED):
                    ask(path, model, stream=stream)
                left = {name: count for name, count in found(proxy, file).items() if name.startswith("apps.")}
                assert not left, (path, model, stream, left)
