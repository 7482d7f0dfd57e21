"""Runs an engine: listens at once, loads its backend beside, serves, and on SIGTERM finishes what runs before it ends."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from typing import Any, NamedTuple

import uvicorn

from apps.engine.backend import Facts
from apps.engine.errors import UnfitModel
from apps.engine.http.app import EngineApp

log = logging.getLogger("bulkhead.engine")

UNFIT, BROKEN = 3, 70
"""Exit codes: the model, an argument or the port cannot be used; the backend died."""


class Listen(NamedTuple):
    """drain_seconds: what SIGTERM lets run."""

    host: str
    port: int
    drain_seconds: float


class _Server(uvicorn.Server):
    """Signals are ours: a drain comes before uvicorn's own shutdown."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve(app: EngineApp, listen: Listen) -> int:
    """The process's exit code."""
    loop = asyncio.get_running_loop()
    stop, hurry = asyncio.Event(), asyncio.Event()

    def told() -> None:
        (hurry if stop.is_set() else stop).set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, told)
    try:
        sock = _bound(listen.host, listen.port)
    except OSError as error:
        print(f"cannot listen on {listen.host}:{listen.port}: {error.strerror}", file=sys.stderr, flush=True)
        return UNFIT
    config = uvicorn.Config(
        app, loop="none", http="httptools", ws="none", lifespan="off", access_log=False, log_level="warning", server_header=False,
        timeout_keep_alive=75, timeout_graceful_shutdown=5,
    )  # fmt: skip
    server = _Server(config)
    serving = asyncio.create_task(server.serve(sockets=[sock]))
    print(f"engine: listens on http://{listen.host}:{sock.getsockname()[1]}, loads {app.model}", flush=True)
    code = await _live(app, stop, serving)
    if code == 0:
        drain = asyncio.create_task(app.gate.drained(listen.drain_seconds))
        hurried = asyncio.create_task(hurry.wait())
        await asyncio.wait({drain, hurried}, return_when=asyncio.FIRST_COMPLETED)
        for task in (drain, hurried):
            task.cancel()
        if cut := app.cut():
            log.warning("ended with %d requests still running", cut)
    server.should_exit = True
    await serving
    await asyncio.to_thread(app.backend.close)
    return code


async def _live(app: EngineApp, stop: asyncio.Event, serving: asyncio.Task[None]) -> int:
    """Load, then serve until told to stop (0) or until nothing can come of it any more."""
    stopped = asyncio.create_task(stop.wait())
    loading = _loading(app)
    waited: list[asyncio.Future[Any]] = [loading, stopped, serving]
    try:
        await asyncio.wait({*waited}, return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            try:
                facts = loading.result()
            except UnfitModel as error:
                print(f"engine: {error}", file=sys.stderr, flush=True)
                return UNFIT
            except Exception:
                log.exception("the model %s cannot be loaded", app.model)
                return BROKEN
            app.opened(facts)
            print(f"engine: serves {app.model} ({', '.join(sorted(facts.tasks))}; context {facts.context:,}; {facts.version})", flush=True)
        while not stopped.done():
            if serving.done():
                serving.result()
                return BROKEN
            if app.facts is not None and (problem := app.backend.problem()):
                print(f"engine: {problem}", file=sys.stderr, flush=True)
                return BROKEN
            await asyncio.wait({stopped, serving}, timeout=1.0, return_when=asyncio.FIRST_COMPLETED)
        return 0
    finally:
        stopped.cancel()


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        sock.bind((host, port))
    except OSError:
        sock.close()
        raise
    sock.setblocking(False)
    return sock


def _loading(app: EngineApp) -> asyncio.Future[Facts]:
    """In a thread that nobody waits for: an engine that is told to end while it loads ends."""
    loop = asyncio.get_running_loop()
    loaded: asyncio.Future[Facts] = loop.create_future()

    def tell(facts: Facts | None, error: BaseException | None) -> None:
        if loaded.done():
            return
        if facts is not None:
            loaded.set_result(facts)
        else:
            loaded.set_exception(error or RuntimeError("the backend loaded nothing"))

    def load() -> None:
        try:
            found, error = app.backend.load(), None
        except BaseException as failed:
            found, error = None, failed
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(tell, found, error)

    threading.Thread(target=load, name="load", daemon=True).start()
    return loaded
