"""An engine's HTTP layer on a real socket, over the backend without a model, in the test's own event loop."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from typing import NamedTuple

import httpx
import uvicorn

from apps.engine.backend_fake import FakeBackend
from apps.engine.http.app import EngineApp

MODEL = "echo"
BEARER = "b" * 32


class Served(NamedTuple):
    app: EngineApp
    backend: FakeBackend
    client: httpx.AsyncClient
    url: str


@contextlib.asynccontextmanager
async def served(
    backend: FakeBackend | None = None, *, bearer: str = "", max_waiting: int | None = None, loaded: bool = True
) -> AsyncIterator[Served]:
    backend = backend or FakeBackend()
    app = EngineApp(backend, MODEL, bearer=bearer, max_waiting=max_waiting)
    if loaded:
        app.opened(backend.load())
    sock = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app, lifespan="off", ws="none", access_log=False, log_level="warning"))
    server.capture_signals = contextlib.nullcontext  # type: ignore[method-assign]
    task = asyncio.create_task(server.serve(sockets=[sock]))
    url = f"http://127.0.0.1:{sock.getsockname()[1]}"
    try:
        async with httpx.AsyncClient(base_url=url, trust_env=False, timeout=60) as client:
            yield Served(app, backend, client, url)
    finally:
        backend.hold.set()
        app.cut()
        server.should_exit = True
        await asyncio.wait_for(task, 60)


async def until(condition: object, what: str = "") -> None:
    """Wait for a condition, called again and again."""
    assert callable(condition)
    for _ in range(3_000):
        if condition():
            return
        await asyncio.sleep(0.01)
    raise AssertionError(f"never: {what}")
