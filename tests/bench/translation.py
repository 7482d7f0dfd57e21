"""What translating costs: CPU per event of a translated stream beside a stream of the same format, and the time of a long request.

usage: python -m tests.bench.translation [--seconds 4] [--streams 16] [--part requests|streams|all] [--apps openai ...]

Requests: a conversation of 100 messages (tools, calls, results) as each format of apps writes it, read and written to each format of
providers, in this process; the best of many runs. Streams: a proxy of its own, without a database, between this process and an upstream
that gives 200 events, each in a write of its own; CPU is the proxy's user and system time over the events that passed. The same run has the
stream of the same format, which passes through; ratios are the point, absolute figures belong to the machine. Whether the proxy was
compiled is in the first line.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import uvloop

from apps.contracts.snapshot import (
    CredentialFragment,
    Endpoint,
    Fragment,
    KeyFragment,
    PriceFragment,
    PriceVersion,
    ProviderFragment,
    RouteFragment,
    Target,
)
from apps.proxy.dialects import DIALECTS, FRONTS
from apps.proxy.dialects.anthropic import AnthropicBack
from apps.proxy.dialects.bedrock import BedrockBack
from apps.proxy.dialects.cohere import CohereBack
from apps.proxy.dialects.gemini import GeminiBack
from apps.proxy.dialects.ollama import OllamaBack
from apps.proxy.dialects.responses import ResponsesBack
from apps.proxy.dialects.translation import Back
from apps.proxy.dialects.wire_json import written
from apps.simulator import formats
from apps.simulator.http import LAST_CHUNK, chunk
from apps.simulator.openai import ChatCall, Choice, usage_object
from tests.bench.http_layer import free_port
from tests.proxy.standalone import StandaloneProxy, digest_of, seal

KEY = "bench-virtual-key"
TOKENS = 200
GAP = 0.002
ROUNDS = 3
"""Of each figure, of which the least counts."""
BACKS: dict[str, Back] = {
    "anthropic": AnthropicBack(),
    "gemini": GeminiBack(),
    "responses": ResponsesBack(),
    "bedrock": BedrockBack(),
    "cohere": CohereBack(),
    "ollama": OllamaBack(),
}
MODELS = {"anthropic": "claude-sonnet-4-5", "gemini": "gemini-2.5-flash", "bedrock": "anthropic.claude-sonnet-4-5-v1:0"}
BASES = {"openai": "/v1", "anthropic": "/v1", "gemini": "/v1beta", "responses": "/v1"}
APPS = ("openai", "anthropic", "gemini", "responses")

# --- requests ---


def conversation() -> dict[str, Any]:
    """A hundred messages: an agent's, with a call and its result in every fifth turn, under eight tools."""
    schema = {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}, "required": ["city"]}
    tools = [
        {"type": "function", "function": {"name": f"tool_{number}", "description": "Looks something up.", "parameters": schema}}
        for number in range(8)
    ]
    messages: list[dict[str, Any]] = [{"role": "system", "content": "You are a careful assistant. " * 20}]
    while len(messages) < 98:
        at = len(messages)
        messages.append({"role": "user", "content": f"Question {at}: " + "what about bulkheads in ships? " * 10})
        if at % 10 == 1:
            call = {"id": f"call_{at}", "type": "function", "function": {"name": "tool_1", "arguments": '{"city": "Bonn", "days": 3}'}}
            messages.append({"role": "assistant", "content": "I look.", "tool_calls": [call]})
            messages.append({"role": "tool", "tool_call_id": f"call_{at}", "content": "sunny, 21 degrees " * 5})
        messages.append({"role": "assistant", "content": f"Answer {at}: " + "they keep one flooded compartment to itself. " * 8})
    messages.append({"role": "user", "content": "And now?"})
    return {"model": "bench", "messages": messages[:99] + messages[-1:], "tools": tools, "max_tokens": 500, "temperature": 0.5}


def best(act: Callable[[], object], *, rounds: int = 40) -> float:
    """Seconds of CPU of the quickest of many runs."""
    least = 1e9
    for _ in range(rounds):
        begun = time.process_time_ns()
        act()
        least = min(least, (time.process_time_ns() - begun) / 1e9)
    return least


def bodies() -> dict[str, bytes]:
    """The conversation as apps of each format write it."""
    pivot = conversation()
    found = {"openai": json.dumps(pivot).encode()}
    for name in APPS[1:]:
        found[name] = json.dumps({"model": "bench", **BACKS[name].request(pivot, MODELS.get(name, "bench"), stream=False).body}).encode()
    return found


def requests() -> None:
    decode = msgspec.json.Decoder().decode
    print("A request of 100 messages, CPU in microseconds (read by the app's format, said in the provider's, encoded):")
    print(f"{'app':10} {'bytes':>7} {'decode':>7} {'read':>7} " + " ".join(f"{'-> ' + name:>12}" for name in ("openai", *BACKS)))
    for name, body in bodies().items():
        asked = decode(body)
        read = FRONTS[name].read if name in FRONTS else None
        pivot = read(asked).payload if read is not None else asked
        row = [best(lambda body=body: decode(body)), best(lambda read=read, asked=asked: read(asked)) if read is not None else 0.0]
        cells = []
        for other in ("openai", *BACKS):
            if other == name:
                cells.append(f"{'-':>12}")
                continue

            def said(other: str = other, asked: Any = asked, read: Any = read) -> object:
                payload = read(asked).payload if read is not None else asked
                if other == "openai":
                    return written(payload)
                return written(BACKS[other].request(payload, MODELS.get(other, "bench"), stream=False).body)

            assert pivot
            cells.append(f"{best(said) * 1e6:12.0f}")
        print(f"{name:10} {len(body):7} {row[0] * 1e6:7.0f} {row[1] * 1e6:7.0f} " + " ".join(cells))


# --- streams ---


def canned(name: str) -> list[bytes]:
    """A stream's writes: the first event with the head, each further one alone."""
    form = next(form for form in formats.FORMATS if form.name == name)
    call = ChatCall(
        {"model": "bench", "messages": [{"role": "user", "content": "x"}], "stream_options": {"include_usage": True}, "stream": True}
    )
    choice = Choice("some " * (TOKENS * 4 // 5), TOKENS, "stop")
    events = form.events(f"{form.identity}bench-000000000000", 1, call, usage_object(10, TOKENS))
    head = b"HTTP/1.1 200 OK\r\n" + form.stream_headers + b"transfer-encoding: chunked\r\n\r\n"
    opening = events.opening(0, choice)
    pieces = [chunk(event) for _, event in events.pieces(0, choice, 1)]
    end = events.closing(0, choice) + events.ending(usage=True, done=True)
    return [head + (chunk(opening) if opening else b""), *pieces, chunk(end) + LAST_CHUNK]


class Upstream(asyncio.Protocol):
    """Every read is one request: the proxy sends each in one write, or its beginning in the first."""

    streams: dict[str, list[bytes]]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        self.loop = asyncio.get_running_loop()
        self.left = 0
        self.path = ""

    def data_received(self, data: bytes) -> None:
        if not self.left:
            head, _, body = data.partition(b"\r\n\r\n")
            self.path = head.split(b" ", 2)[1].decode()
            length = next(int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
            self.left = length - len(body)
        else:
            self.left -= len(data)
        if not self.left:
            found = formats.format_of(self.path.partition("?")[0])
            assert found is not None, self.path
            self.tick(self.streams[found[0].name], 0)

    def tick(self, stream: list[bytes], at: int) -> None:
        if self.transport.is_closing():
            return
        self.transport.write(stream[at])
        if at + 1 < len(stream):
            self.loop.call_later(GAP, self.tick, stream, at + 1)


async def upstream(port: int) -> None:
    Upstream.streams = {form.name: canned(form.name) for form in formats.FORMATS}
    server = await asyncio.get_running_loop().create_server(Upstream, "127.0.0.1", port)
    await server.serve_forever()


class App(asyncio.Protocol):
    """Asks for a stream as soon as it has the one before."""

    answers = 0

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.begun = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport: Any = transport
        transport.write(self.request)  # type: ignore[attr-defined]

    def data_received(self, data: bytes) -> None:
        if len(self.begun) < 12:
            self.begun += data[:200]
            if not self.begun.startswith(b"HTTP/1.1 200"):
                raise SystemExit(f"no stream came: {data[:600]!r}")
        if data.endswith(LAST_CHUNK):
            self.begun = b""
            App.answers += 1
            self.transport.write(self.request)


async def drive(port: int, request: bytes, count: int, seconds: float, pid: int) -> tuple[float, int]:
    """(CPU seconds of the process, streams that ended), after a beginning that does not count."""
    loop = asyncio.get_running_loop()
    transports = []
    for number in range(count):
        transports.append((await loop.create_connection(lambda: App(request), "127.0.0.1", port))[0])
        await asyncio.sleep(GAP * TOKENS / count if number < count else 0)  # spread: streams end one after the other
    await asyncio.sleep(0.5)
    cpu, answers = cpu_of(pid), App.answers
    await asyncio.sleep(seconds)
    cpu, answers = cpu_of(pid) - cpu, App.answers - answers
    for transport in transports:
        transport.abort()
    await asyncio.sleep(0.1)
    return cpu, answers


def cpu_of(pid: int) -> float:
    """Seconds, of all threads."""
    return sum(int(Path(f"/proc/{pid}/task/{task}/schedstat").read_text().split()[0]) for task in os.listdir(f"/proc/{pid}/task")) / 1e9


def asked(front: str, route: str) -> bytes:
    paths = {
        "openai": "/v1/chat/completions",
        "anthropic": "/v1/messages",
        "gemini": f"/v1beta/models/{route}:streamGenerateContent?alt=sse",
        "responses": "/v1/responses",
    }
    said: dict[str, Any] = {"model": route, "stream": True, "messages": [{"role": "user", "content": "hi"}], "max_tokens": 500}
    if front == "openai":
        said["stream_options"] = {"include_usage": True}
    elif front == "gemini":
        said = {"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "generationConfig": {"maxOutputTokens": 500}}
    elif front == "responses":
        said = {"model": route, "input": "hi", "stream": True, "max_output_tokens": 500}
    body = json.dumps(said).encode()
    head = f"POST {paths[front]} HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer {KEY}\r\ncontent-type: application/json\r\n"
    return f"{head}content-length: {len(body)}\r\n\r\n".encode() + body


def fragments(port: int, kinds: list[str]) -> list[Fragment]:
    found: list[Fragment] = [
        CredentialFragment(id="c", sealed=seal("secret")),
        KeyFragment(id="k", name="k", public_id="k", organisation="o", digests=[digest_of(KEY)]),
    ]
    price = PriceVersion(version="p1", input=150_000_000, output=600_000_000)
    for kind in kinds:
        model = MODELS.get(kind, "bench")
        endpoint = Endpoint(name="e", base_url=f"http://127.0.0.1:{port}{BASES.get(kind, '')}", credential="c")
        found += [
            ProviderFragment(id=kind, name=kind, kind=kind, organisation="o", allow_private_addresses=True, endpoints=[endpoint]),
            PriceFragment(id=f"{kind}/{model}", provider=kind, model=model, versions=[price]),
            RouteFragment(id=kind, name=kind, organisation="o", targets=[Target(provider=kind, model=model)]),
        ]
    return found


def streams(seconds: float, count: int, apps: list[str]) -> None:
    kinds = [kind for kind in ("openai", *BACKS) if kind in DIALECTS]
    left = [kind for kind in BACKS if kind not in DIALECTS]
    port = free_port()
    served = subprocess.Popen([sys.executable, "-m", "tests.bench.translation", "--upstream", str(port)])
    cores = sorted(os.sched_getaffinity(0))
    try:
        with tempfile.TemporaryDirectory() as folder, StandaloneProxy(fragments(port, kinds), Path(folder)) as proxy:
            assert proxy.process is not None
            pid = proxy.process.pid
            for task in os.listdir(f"/proc/{pid}/task"):
                os.sched_setaffinity(int(task), {cores[-1]})
            os.sched_setaffinity(served.pid, {cores[0]})
            os.sched_setaffinity(0, {cores[0]})
            with urllib.request.urlopen(f"{proxy.admin_url}/readyz") as answer:
                print(f"The proxy: {json.load(answer).get('compiled')}. {count} streams of {TOKENS} events, {seconds:g} s each.")
            if left:
                print(f"Not measured, because no provider is of that kind yet: {', '.join(left)}.")
            print("CPU of the proxy, microseconds an event; in brackets beside the app's own format:")
            print(f"{'app':10} " + " ".join(f"{'-> ' + kind:>16}" for kind in kinds))
            for front in apps:
                figures = dict.fromkeys(kinds, 1e9)
                for _ in range(ROUNDS):  # in turn: whatever else the machine does meets all of them alike
                    for kind in kinds:
                        figures[kind] = min(figures[kind], figure(proxy.port, asked(front, kind), count, seconds / ROUNDS, pid))
                own = figures[front]
                print(f"{front:10} " + " ".join(f"{found:8.1f} ({found / own:4.2f})" for found in figures.values()), flush=True)
    finally:
        served.terminate()
        served.wait()


def figure(port: int, request: bytes, count: int, seconds: float, pid: int) -> float:
    cpu, answers = uvloop.run(drive(port, request, count, seconds, pid))
    if not answers:
        raise SystemExit("no stream ended")
    return cpu / (answers * TOKENS) * 1e6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--apps", nargs="+", choices=APPS, default=list(APPS))
    parser.add_argument("--part", choices=("all", "requests", "streams"), default="all")
    parser.add_argument("--upstream", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.upstream:
        uvloop.run(upstream(options.upstream))
        return
    if options.part != "streams":
        requests()
    if options.part != "requests":
        streams(options.seconds, options.streams, options.apps)


if __name__ == "__main__":
    main()
