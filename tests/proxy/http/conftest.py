"""The HTTP layer's test bench: real loopback sockets under uvloop, or the protocol objects alone on a transport in memory."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import uvloop

from apps.proxy.http.client import ClientLimits, Connection, Origin, Pool
from apps.proxy.http.limits import ServerLimits
from apps.proxy.http.server import make_protocol
from apps.proxy.http.types import Request

PATIENCE = 30.0


def pytest_asyncio_loop_factories() -> dict[str, Callable[[], asyncio.AbstractEventLoop]]:
    """The proxy runs on uvloop; so do the tests of its sockets."""
    return {"uvloop": uvloop.new_event_loop}


async def eventually(condition: Callable[[], Any], what: str = "") -> None:
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"never came true: {what or condition}"
        await asyncio.sleep(0.005)


async def soon(awaitable: Awaitable[Any]) -> Any:
    async with asyncio.timeout(PATIENCE):
        return await awaitable


class State:
    """What uvicorn's ServerState is to a protocol."""

    def __init__(self) -> None:
        self.connections: set[Any] = set()
        self.total_requests = 0


class Wire:
    """A raw client: bytes out, bytes in until the server closes or a number of answers came."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def rest(self) -> bytes:
        return await soon(self.reader.read())

    async def until(self, needle: bytes) -> bytes:
        return await soon(self.reader.readuntil(needle))

    async def answer(self) -> tuple[int, dict[bytes, bytes], bytes]:
        """One final answer with content-length or chunks."""
        head = await self.until(b"\r\n\r\n")
        line, *fields = head[:-4].split(b"\r\n")
        headers = {name.lower(): value for name, value in (field.split(b": ", 1) for field in fields)}
        body = b""
        if b"content-length" in headers:
            body = await soon(self.reader.readexactly(int(headers[b"content-length"])))
        elif headers.get(b"transfer-encoding") == b"chunked":
            while size := int(await self.until(b"\r\n"), 16):
                body += (await soon(self.reader.readexactly(size + 2)))[:-2]
            assert await self.until(b"\r\n") == b"\r\n"
        return int(line.split()[1]), headers, body

    def close(self) -> None:
        self.writer.close()


class Served:
    """A listening server: its app's requests, its state, raw clients to it."""

    def __init__(self, server: asyncio.Server, state: State) -> None:
        self.server = server
        self.state = state
        self.port: int = server.sockets[0].getsockname()[1]

    async def wire(self, **how: Any) -> Wire:
        return Wire(*await asyncio.open_connection("127.0.0.1", self.port, **how))

    async def one(self, raw: bytes) -> bytes:
        """Everything the server says to these bytes until it closes."""
        wire = await self.wire()
        wire.send(raw)
        try:
            return await wire.rest()
        finally:
            wire.close()


class Recorder:
    """An app that remembers requests and answers each at once with its body."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def __call__(self, request: Request, reply: Any) -> None:
        self.requests.append(request)
        reply.send(200, b"content-type: text/plain\r\n", request.path.encode() + b":" + request.body)


class Held:
    """An app that leaves every request to the test."""

    def __init__(self) -> None:
        self.calls: list[tuple[Request, Any]] = []
        self.gone = 0

    def __call__(self, request: Request, reply: Any) -> None:
        reply.on_gone = self._left
        self.calls.append((request, reply))

    def _left(self) -> None:
        self.gone += 1

    async def reply(self, number: int = 0) -> Any:
        await eventually(lambda: len(self.calls) > number, "the app was called")
        return self.calls[number][1]


Serve = Callable[..., Awaitable[Served]]


@pytest.fixture
async def serve() -> AsyncIterator[Serve]:
    running: list[Served] = []

    async def start(app: Any, limits: ServerLimits | None = None, ssl: Any = None) -> Served:
        loop = asyncio.get_running_loop()
        state = State()
        protocol: Any = make_protocol(app, limits)
        server = await loop.create_server(
            lambda: protocol(config=None, server_state=state, app_state={}, _loop=loop), "127.0.0.1", 0, ssl=ssl
        )
        served = Served(server, state)
        running.append(served)
        return served

    yield start
    for served in running:
        served.server.close()
        for connection in tuple(served.state.connections):
            connection.transport.abort()


class Answer:
    """A sink that remembers; ``done`` is set at the end, whichever it was."""

    def __init__(self) -> None:
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.chunks: list[bytes] = []
        self.error: Exception | None = None
        self.ended = False
        self.done = asyncio.Event()

    @property
    def body(self) -> bytes:
        return b"".join(self.chunks)

    def head(self, status: int, headers: dict[bytes, bytes]) -> None:
        assert not self.status and not self.done.is_set()
        self.status = status
        self.headers = headers

    def data(self, chunk: bytes) -> None:
        assert self.status and chunk and not self.done.is_set()
        self.chunks.append(chunk)

    def flush(self) -> None:
        pass

    def end(self) -> None:
        assert self.status and not self.done.is_set()
        self.ended = True
        self.done.set()

    def failed(self, error: Exception) -> None:
        assert not self.done.is_set()
        self.error = error
        self.done.set()


class Upstream:
    """A scripted server: ``script(number, data, transport)`` sees every read of connection ``number``."""

    def __init__(self, script: Callable[[int, bytes, asyncio.Transport], None]) -> None:
        self.script = script
        self.transports: list[Any] = []
        self.lost: list[int] = []
        self.heard = b""
        self.server: Any = None

    def protocol(self) -> asyncio.Protocol:
        upstream = self

        class Scripted(asyncio.Protocol):
            def connection_made(self, transport: asyncio.BaseTransport) -> None:
                self.transport: Any = transport
                self.number = len(upstream.transports)
                upstream.transports.append(transport)

            def data_received(self, data: bytes) -> None:
                upstream.heard += data
                upstream.script(self.number, data, self.transport)

            def connection_lost(self, exc: Exception | None) -> None:
                upstream.lost.append(self.number)

        return Scripted()

    @property
    def port(self) -> int:
        return int(self.server.sockets[0].getsockname()[1])


@pytest.fixture
async def upstream() -> AsyncIterator[Callable[..., Awaitable[Upstream]]]:
    running: list[Upstream] = []

    async def start(script: Any, ssl: Any = None) -> Upstream:
        """``script``: bytes to answer every read with, or the function that ``Upstream`` wants."""
        play = script if callable(script) else lambda number, data, transport: transport.write(script)
        up = Upstream(play)
        up.server = await asyncio.get_running_loop().create_server(up.protocol, "127.0.0.1", 0, ssl=ssl)
        running.append(up)
        return up

    yield start
    for up in running:
        up.server.close()
        for transport in up.transports:
            transport.abort()


def pool_of(port: int, tls: Any = None, limits: ClientLimits | None = None, host: str = "127.0.0.1", sni: str = "") -> Pool:
    return Pool(Origin("https" if tls else "http", host, port, sni, allow_private=True), tls, limits)


async def fetch(pool: Pool, data: bytes = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", *, replay_safe: bool = False) -> tuple[Answer, Connection]:
    """One exchange to its end."""
    connection = pool.take() or await pool.connect(PATIENCE)
    answer = Answer()
    connection.send(data, answer, replay_safe=replay_safe)
    await soon(answer.done.wait())
    return answer, connection
