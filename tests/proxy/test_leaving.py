"""A client that leaves cancels the upstream's work: before headers, in mid-stream, and while a JSON answer is awaited."""

from __future__ import annotations

import json
import socket
import struct
import time
from collections.abc import Callable
from typing import Any

import httpx
import pytest

from apps.simulator.harness import SimulatorServer
from tests.proxy.conftest import KEY
from tests.proxy.standalone import StandaloneProxy


def wait_for(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, f"not within {seconds} s: {what}"
        time.sleep(0.02)


def send(proxy: StandaloneProxy, body: dict[str, Any]) -> socket.socket:
    data = json.dumps(body).encode()
    sock = socket.create_connection(("127.0.0.1", proxy.port), timeout=60)
    sock.sendall(
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer %b\r\n"
        b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (KEY.encode(), len(data), data)
    )
    return sock


def cancelled(proxy: StandaloneProxy) -> float:
    text = httpx.get(f"{proxy.admin_url}/metrics").text
    return sum(float(line.split()[-1]) for line in text.splitlines() if 'outcome="cancelled"' in line)


def running(proxy: StandaloneProxy) -> float:
    text = httpx.get(f"{proxy.admin_url}/metrics").text
    return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith("bulkhead_requests_running "))


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("window", ["before-headers", "mid-stream", "json"])
def test_leaving_cancels_the_upstream(proxy: StandaloneProxy, east: SimulatorServer, window: str, reset: bool) -> None:
    before, at_sim = cancelled(proxy), east.bill()["cancelled"]
    body = {
        "model": f"leave/{window}",
        "messages": [{"role": "user", "content": "tell me a story"}],
        "max_tokens": 20,
        "stream": window != "json",
    }
    sock = send(proxy, body)
    if window == "mid-stream":
        got = b""
        while got.count(b"data: ") < 2:
            got += sock.recv(4096)
    else:
        wait_for(lambda: east.bill()["running"] > 0, "the upstream has the request")
    if reset:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()
    wait_for(lambda: cancelled(proxy) == before + 1, "the request is recorded as cancelled")
    wait_for(lambda: east.bill()["cancelled"] == at_sim + 1, "the upstream saw us leave")
    wait_for(lambda: running(proxy) == 0, "nothing runs any more")
