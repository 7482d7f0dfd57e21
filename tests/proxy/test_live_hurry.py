"""An app in a hurry, and a provider whose address takes no connection: its own time ends the attempt, and says nothing of the provider."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import httpx
import pytest

from apps.contracts.snapshot import BreakerPolicy
from tests.proxy.lab import Lab, at, keys, prices, providers, route
from tests.proxy.standalone import StandaloneProxy


@pytest.fixture
def deaf() -> Iterator[int]:
    """A port whose queue of connections is full: the kernel answers nobody."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        port: int = server.getsockname()[1]
        for _ in range(4):
            waiting = stack.enter_context(socket.socket())
            waiting.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                waiting.connect(("127.0.0.1", port))
        yield port


def test_connecting_takes_no_longer_than_the_app_has(deaf: int, tmp_path: Path) -> None:
    only = route("deaf", [at("dead", "deaf", connect_ms=20_000)], breaker=BreakerPolicy(consecutive=1))
    nobody = "http://127.0.0.1:9/v1"
    config = [*providers(nobody, nobody, f"http://127.0.0.1:{deaf}/v1"), *keys(), *prices([only]), only]
    with StandaloneProxy(config, tmp_path) as proxy, httpx.Client(base_url=proxy.url, timeout=60) as client:
        lab = Lab(proxy, cast(Any, None), cast(Any, None), client)
        got = lab.ask("deaf", headers={"x-bulkhead-timeout-ms": "150"})
        assert (got.status, got.code, got.headers["x-should-retry"]) == (502, "upstream_unreachable", "false")
        assert got.seconds < 15, "not as long as the target's own deadline"
        assert lab.breaker("dead/main/deaf") == "closed", "the app's hurry is no fault of the provider"
