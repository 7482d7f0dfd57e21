"""CPU microseconds per request of the HTTP layer alone, both sides, beside a bare uvicorn hello-world in the same run.

usage: python -m tests.bench.http_layer [--seconds 4] [--connections 32]

Four processes: a mock upstream, a toy that proxies through the layer (no policy at all), a bare uvicorn ASGI app on
httptools, and this one, which drives them (``wrk`` if there is one for JSON, else raw asyncio). The process measured is
pinned to the last core, load and upstream to the first. CPU is user + system of the measured process, divided by answers.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import uvloop

ANSWER = (
    b'{"id":"chatcmpl-bench","object":"chat.completion","choices":[{"index":0,"message":{"role":"assistant","content":"%b"},'
    b'"finish_reason":"stop"}],"usage":{"prompt_tokens":57,"completion_tokens":42,"total_tokens":99}}'
) % (b"x" * 300)
JSON = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(ANSWER), ANSWER)
SSE = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
EVENT = (
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":" word"},'
    b'"finish_reason":null}]}\n\n'
)
LAST = (
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":57,"completion_tokens":50,"total_tokens":107}}\n\ndata: [DONE]\n\n'
)
CHUNK = b"%x\r\n%b\r\n" % (len(EVENT), EVENT)
END = b"%x\r\n%b\r\n0\r\n\r\n" % (len(LAST), LAST)
EVENTS = 50
GAP = 0.002
SLOW_GAP = 0.25
"""Seconds between events of a stream that is asked for by the user "slow"."""
STREAM_BODY = (
    b'{"model":"bench","stream":true,"stream_options":{"include_usage":true},"messages":[{"role":"user","content":"A few words."}]}'
)
BODY = b'{"model":"bench","messages":[{"role":"user","content":"Say a few words about bulkheads in ships, please."}]}'
KEY = "bench-virtual-key"
HEADERS = (
    b"host: 127.0.0.1\r\nauthorization: Bearer bench-virtual-key\r\ncontent-type: application/json\r\nuser-agent: bench\r\naccept: */*\r\n"
)


class Ask(NamedTuple):
    """What is asked again and again."""

    path: bytes
    stream: bool = False

    def rendered(self) -> bytes:
        body = STREAM_BODY if self.stream else BODY
        return b"POST %b HTTP/1.1\r\n%bcontent-length: %d\r\n\r\n%b" % (self.path, HEADERS, len(body), body)


class MockUpstream(asyncio.Protocol):
    """Every read is one request: the toy sends each in one write."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.loop = asyncio.get_running_loop()

    def data_received(self, data: bytes) -> None:
        if b"/stream " in data[:40] or b'"stream":true' in data:
            self.transport.write(SSE)
            self.gap = SLOW_GAP if b'"user":"slow"' in data else GAP
            self.loop.call_later(self.gap, self.tick, 1)
        else:
            self.transport.write(JSON)

    def tick(self, number: int) -> None:
        if self.transport.is_closing():
            return
        if number < EVENTS:
            self.transport.write(CHUNK)
            self.loop.call_later(self.gap, self.tick, number + 1)
        else:
            self.transport.write(CHUNK + END)


async def upstream(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(MockUpstream, "127.0.0.1", port)
    await server.serve_forever()


class Relay(asyncio.Protocol):
    """Passes bytes on, both ways, and looks at none: what a process in between costs on this machine before it does anything.

    One connection upstream for each of the client's, made at once.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.other: Any = None
        self.early: list[bytes] = []

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        if self.port:
            self.task = asyncio.get_running_loop().create_task(self.connect())

    async def connect(self) -> None:
        _, back = await asyncio.get_running_loop().create_connection(lambda: Relay(0), "127.0.0.1", self.port)
        back.other, self.other = self.transport, back.transport
        self.other.writelines(self.early)

    def data_received(self, data: bytes) -> None:
        if self.other is None:
            self.early.append(data)
        else:
            self.other.write(data)

    def connection_lost(self, error: Exception | None) -> None:
        if self.other is not None:
            self.other.close()


async def relay(port: int, upstream_port: int) -> None:
    server = await asyncio.get_running_loop().create_server(lambda: Relay(upstream_port), "127.0.0.1", port)
    await server.serve_forever()


def toy(port: int, upstream_port: int) -> None:
    import uvicorn

    from apps.proxy.http.client import Origin, Pool
    from apps.proxy.http.server import make_protocol

    pool = Pool(Origin("http", "127.0.0.1", upstream_port, allow_private=True))
    tasks: set[asyncio.Task[None]] = set()

    class Exchange:
        __slots__ = ("chunks", "connection", "reply", "request", "streaming")

        def __init__(self, request: Any, reply: Any) -> None:
            self.request = request
            self.reply = reply
            self.chunks: list[bytes] = []
            self.streaming = False
            connection = pool.take()
            if connection is None:
                task = asyncio.get_running_loop().create_task(self.connect())
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            else:
                self.go(connection)

        async def connect(self) -> None:
            self.go(await pool.connect(2.0))

        def go(self, connection: Any) -> None:
            self.connection = connection
            request = self.request
            self.reply.on_gone = connection.abort
            body = request.body
            connection.send(
                b"POST %b HTTP/1.1\r\nhost: up\r\ncontent-type: application/json\r\n"
                b"authorization: Bearer up\r\ncontent-length: %d\r\n\r\n%b" % (request.path.encode(), len(body), body),
                self,
                replay_safe=False,
            )

        def head(self, status: int, headers: dict[bytes, bytes]) -> None:
            if b"transfer-encoding" in headers:
                self.streaming = True
                self.reply.flow = self.connection
                self.reply.start(status, b"content-type: text/event-stream\r\n")

        def data(self, chunk: bytes) -> None:
            if self.streaming:
                self.reply.write(chunk)
            else:
                self.chunks.append(chunk)

        def flush(self) -> None:
            pass

        def end(self) -> None:
            if self.streaming:
                self.reply.finish()
            else:
                chunks = self.chunks
                self.reply.send(200, b"content-type: application/json\r\n", chunks[0] if len(chunks) == 1 else b"".join(chunks))

        def failed(self, error: Exception) -> None:
            self.reply.send(502, b"", str(error).encode()) if not self.streaming else self.reply.abort()

    config = uvicorn.Config(
        bare_app, host="127.0.0.1", port=port, http=make_protocol(Exchange), loop="uvloop", lifespan="off", log_level="warning"
    )
    uvicorn.Server(config).run()


async def bare_app(scope: Any, receive: Any, send: Any) -> None:
    """The yardstick: reads the body, answers the same bytes."""
    while (await receive()).get("more_body"):
        pass
    await send(
        {
            "type": "http.response.start",
            "status": 200,
            "headers": [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(ANSWER))],
        }
    )
    await send({"type": "http.response.body", "body": ANSWER})


def bare(port: int) -> None:
    import uvicorn

    config = uvicorn.Config(
        bare_app, host="127.0.0.1", port=port, http="httptools", loop="uvloop", lifespan="off", log_level="warning", access_log=False
    )
    uvicorn.Server(config).run()


def free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def start(role: str, core: int, *arguments: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.http_layer", "--role", role, *map(str, arguments)])
    os.sched_setaffinity(process.pid, {core})
    deadline = time.monotonic() + 15
    while True:
        try:
            socket.create_connection(("127.0.0.1", arguments[0]), 1).close()
            return process
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)


def cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Load(asyncio.Protocol):
    """One connection that asks again as soon as it has the answer."""

    answers = 0

    def __init__(self, request: bytes, ending: bytes, length: int) -> None:
        self.request = request
        self.ending = ending
        self.length = length
        self.got = 0
        self.head = b""
        self.headed = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.transport.write(self.request)

    def data_received(self, data: bytes) -> None:
        if not self.length:
            done = data.endswith(self.ending)
        elif self.headed:
            self.got += len(data)
            done = self.got >= self.length
        else:
            self.head += data
            end = self.head.find(b"\r\n\r\n")
            self.headed = end >= 0  # a server may send its head first, and its body in a segment of its own
            self.got = len(self.head) - end - 4
            done = self.headed and self.got >= self.length
        if done:
            self.got, self.head, self.headed = 0, b"", False
            Load.answers += 1
            self.transport.write(self.request)


async def drive(port: int, ask: Ask, connections: int, seconds: float) -> int:
    loop = asyncio.get_running_loop()
    length = 0 if ask.stream else len(ANSWER)
    Load.answers = 0
    pairs = [
        await loop.create_connection(lambda: Load(ask.rendered(), b"0\r\n\r\n", length), "127.0.0.1", port) for _ in range(connections)
    ]
    await asyncio.sleep(seconds)
    for transport, _ in pairs:
        transport.abort()
    return Load.answers


def wrk(port: int, ask: Ask, connections: int, seconds: float) -> int:
    lua = f"/tmp/bulkhead-bench-{os.getpid()}.lua"
    with open(lua, "w") as script:
        headers = "".join(f'wrk.headers["{n}"]="{v}"\n' for n, v in (line.split(": ", 1) for line in HEADERS.decode().split("\r\n")[1:-1]))
        script.write(f"wrk.method='POST'\nwrk.body=[[{BODY.decode()}]]\n{headers}")
    try:
        command = ["wrk", "-t1", f"-c{connections}", f"-d{int(seconds)}s", "-s", lua, f"http://127.0.0.1:{port}{ask.path.decode()}"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    finally:
        os.unlink(lua)
    if "Socket errors" in said or "Non-2xx" in said:
        raise RuntimeError(said)
    found = re.search(r"(\d+) requests in", said)
    assert found
    return int(found[1])


class Measured(float):
    """Microseconds of CPU for each answer. rate: answers per second."""

    rate: float


def measure(name: str, pid: int, port: int, ask: Ask, connections: int, seconds: float) -> Measured:
    def load(how_long: float) -> int:
        if not ask.stream and shutil.which("wrk"):
            return wrk(port, ask, connections, how_long)
        return uvloop.run(drive(port, ask, connections, how_long))

    load(1)
    before, started = cpu_seconds(pid), time.monotonic()
    answers = load(seconds)
    used, took = cpu_seconds(pid) - before, time.monotonic() - started
    micros = used / max(1, answers) * 1e6
    print(f"{name:34} {answers / took:9.0f}/s  {micros:7.1f} us CPU each  ({used / took:.0%} of the core)", flush=True)
    found = Measured(micros)
    found.rate = answers / took
    return found


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--role", nargs="+")
    options = parser.parse_args()
    if options.role:
        role, *ports = options.role
        if role == "upstream":
            uvloop.run(upstream(int(ports[0])))
        elif role == "relay":
            uvloop.run(relay(int(ports[0]), int(ports[1])))
        elif role == "toy":
            toy(int(ports[0]), int(ports[1]))
        else:
            bare(int(ports[0]))
        return
    cores = sorted(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {cores[0]})
    up, toy_port, bare_port = free_port(), free_port(), free_port()
    processes = []
    try:
        processes.append(start("upstream", cores[0], up))
        processes.append(start("toy", cores[-1], toy_port, up))
        processes.append(start("bare", cores[-1], bare_port))
        yardstick = measure("bare uvicorn hello-world", processes[2].pid, bare_port, Ask(b"/json"), options.connections, options.seconds)
        json = measure("layer, both sides, JSON", processes[1].pid, toy_port, Ask(b"/json"), options.connections, options.seconds)
        stream = measure(
            f"layer, both sides, {EVENTS} events", processes[1].pid, toy_port, Ask(b"/stream", True), options.connections, options.seconds
        )
        print(f"JSON / yardstick: {json / yardstick:.2f}   stream: {stream / EVENTS:.1f} us an event")
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(10)


if __name__ == "__main__":
    main()
