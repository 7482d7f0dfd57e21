"""Graceful shutdown under a real uvicorn.Server: idle connections close at once, a running stream ends well."""

from __future__ import annotations

import asyncio
from typing import Any

import uvicorn

from apps.proxy.http.server import make_protocol
from tests.proxy.http.conftest import Held, Wire, eventually, soon

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


async def nothing(scope: Any, receive: Any, send: Any) -> None:
    raise AssertionError("the ASGI app is never called")


async def test_shutdown_finishes_running_answers_and_closes_the_rest() -> None:
    app = Held()
    config = uvicorn.Config(nothing, host="127.0.0.1", port=0, http=make_protocol(app), lifespan="off", log_level="warning")
    server = uvicorn.Server(config)
    running = asyncio.ensure_future(server._serve())
    await eventually(lambda: server.started)
    port = server.servers[0].sockets[0].getsockname()[1]
    idle, streaming, waiting, half = [Wire(*await asyncio.open_connection("127.0.0.1", port)) for _ in range(4)]
    streaming.send(GET + GET)
    stream = await app.reply(0)
    stream.start(200, b"")
    stream.write(b"one")
    waiting.send(GET)
    late = await app.reply(1)
    half.send(GET[:10])
    await eventually(lambda: len(server.server_state.connections) == 4)
    await asyncio.sleep(0.05)

    server.should_exit = True
    assert await idle.rest() == b""
    assert not running.done()
    late.send(200, b"", b"late")
    assert b"connection: close\r\n" in (answer := await waiting.rest()) and answer.endswith(b"late")
    stream.write(b"two")
    stream.finish()
    whole = await streaming.rest()
    assert whole.endswith(b"3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n") and whole.count(b"HTTP/1.1") == 1
    half.send(GET[10:])
    (await app.reply(2)).send(503, b"", b"draining")
    assert b"connection: close\r\n" in await half.rest()
    await soon(running)
    assert app.gone == 0
