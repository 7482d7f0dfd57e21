"""Requests through two proxies while the providers' processes are killed, frozen and slowed at random, one at a time: nobody notices."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest

from apps.contracts.snapshot import Deadlines, Endpoint, ProviderFragment, RouteFragment
from apps.simulator.harness import SimulatorServer
from tests.accept.conftest import FULL
from tests.accept.load import until
from tests.proxy.lab import KEY, ORG, Got, at, keys, prices, providers, route
from tests.proxy.standalone import StandaloneProxy

pytestmark = [pytest.mark.slow, pytest.mark.kill, pytest.mark.timeout(1_500)]

REQUESTS = 10_000 if FULL else 300
CALLERS = 24 if FULL else 8
NAMES = ("east", "west", "north")
TOKENS = 40
SPEED = {"tokens_per_second": 250, "tokens_per_event": 2}
SLOW = {"first_byte_ms": {"kind": "fixed", "value": 1_200}, "tokens_per_second": 30}
TOOL = {"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {"a": {"const": "x" * 140}}}}}


@dataclass
class Crowd:
    """What became of each request. unsafe: streams that ended in an in-band error, because no seam was safe."""

    urls: list[str]
    left: int
    counts: Counter[str] = field(default_factory=Counter)
    bad: list[str] = field(default_factory=list)
    rescued: int = 0

    async def caller(self, number: int) -> None:
        dice = random.Random(number)
        headers = {"authorization": f"Bearer {KEY}"}
        async with httpx.AsyncClient(headers=headers, timeout=90, trust_env=False) as client:
            while self.left > 0:
                self.left -= 1
                await self._one(client, dice)

    async def _one(self, client: httpx.AsyncClient, dice: random.Random) -> None:
        stream, tool = dice.random() < 0.6, dice.random() < 0.1
        body: dict[str, Any] = {
            "model": "upheaval",
            "stream": stream,
            "temperature": 0,
            "messages": [{"role": "user", "content": f"question {dice.randrange(50)}"}],
            "bulkhead_sim": {"output_tokens": TOKENS},
        }
        if tool:
            body |= {"tools": [TOOL], "tool_choice": "required"}
        began = time.monotonic()
        text, clean = "", True
        try:
            async with client.stream("POST", f"{dice.choice(self.urls)}/v1/chat/completions", json=body) as answer:
                try:
                    async for part in answer.aiter_text():
                        text += part
                except httpx.RemoteProtocolError:
                    clean = False
        except httpx.HTTPError as error:
            self.bad.append(f"{type(error).__name__} after {time.monotonic() - began:.1f} s")
            return
        got = Got(answer.status_code, answer.headers, text, clean, time.monotonic() - began)
        if got.whole:
            self.counts["whole"] += 1
            if not tool and len(got.text) != TOKENS * 4:
                self.bad.append(f"a truncated success: {len(got.text)} characters, request {got.id}")
        elif got.is_stream and got.code == "stream_interrupted":
            self.counts["unsafe with tools" if tool else "unsafe"] += 1
        else:
            self.bad.append(f"{got.status} {got.code} after {got.seconds:.1f} s, request {got.id}: {got.body[:200]}")


class Fleet:
    """The providers' processes, each always at its own port."""

    def __init__(self) -> None:
        self.running = {name: self._start(name, 0) for name in NAMES}
        self.done: Counter[str] = Counter()

    @staticmethod
    def _start(name: str, port: int) -> SimulatorServer:
        server = SimulatorServer(f"sim-{name}", port=port, process=True, scenario={"server": SPEED})
        server.start()
        return server

    def stop(self) -> None:
        for server in self.running.values():
            server.stop()

    async def trouble(self, dice: random.Random) -> None:
        """One process is killed and started again, frozen for a while, or slow for a while; all others are well."""
        name = dice.choice(NAMES)
        kind = dice.choice(("kill", "freeze", "slow"))
        server = self.running[name]
        self.done[kind] += 1
        pid = server.pid
        assert pid is not None
        if kind == "kill":
            port = server.port
            server.kill()
            await asyncio.sleep(dice.uniform(0.1, 1.0))
            self.running[name] = await asyncio.to_thread(self._start, name, port)
        elif kind == "freeze":
            os.kill(pid, signal.SIGSTOP)
            await asyncio.sleep(dice.uniform(0.5, 3.0))
            os.kill(pid, signal.SIGCONT)
        else:
            await asyncio.to_thread(server.control, server=SLOW)
            await asyncio.sleep(dice.uniform(0.5, 2.0))
            await asyncio.to_thread(server.control, server=SPEED)


def _route() -> RouteFragment:
    targets = [at(name, "upheaval", prefill=True, max_concurrency=200) for name in NAMES]
    return route(
        "upheaval",
        targets,
        deadlines=Deadlines(connect_ms=2_000, first_byte_ms=1_500, idle_ms=1_500, total_ms=60_000),
        attempts=6,
        strategy="least_latency",
        max_concurrency=500,
        queue_ms=30_000,
    )


def test_nobody_notices(tmp_path: Path) -> None:
    fleet = Fleet()
    one = _route()
    east, west, north = (fleet.running[name].base_url for name in NAMES)
    third = ProviderFragment(
        id="p-north",
        name="north",
        kind="openai",
        organisation=ORG,
        simulated=True,
        allow_private_addresses=True,
        endpoints=[Endpoint(name="main", base_url=north, credential="c-1")],
    )
    config = [*providers(east, west), third, *keys(), *prices([one]), one]
    try:
        with StandaloneProxy(config, tmp_path) as first, StandaloneProxy(config, tmp_path, name="proxy-2") as second:
            proxies = [first, second]
            crowd = Crowd([proxy.url for proxy in proxies], REQUESTS)
            asyncio.run(_play(crowd, fleet))
            _wait_idle(proxies)
            said = "".join(proxy.log.read_text() for proxy in proxies)
    finally:
        fleet.stop()
    print(dict(crowd.counts), "troubles", dict(fleet.done))
    assert crowd.bad == [], f"{len(crowd.bad)} of {REQUESTS}: " + "\n".join(crowd.bad[:10])
    assert sum(crowd.counts.values()) == REQUESTS
    assert crowd.counts["unsafe"] <= REQUESTS // 100, "plain texts are nearly always gone on with"
    assert "failed inside the proxy" not in said and "given back that nobody had" not in said, said[-3000:]


async def _play(crowd: Crowd, fleet: Fleet) -> None:
    dice = random.Random(7)
    callers = [asyncio.create_task(crowd.caller(number)) for number in range(CALLERS)]
    while not all(caller.done() for caller in callers):
        await asyncio.sleep(dice.uniform(0.2, 0.8))
        await fleet.trouble(dice)
    await asyncio.gather(*callers)


def _wait_idle(proxies: list[StandaloneProxy]) -> None:
    def held() -> list[dict[str, Any]]:
        rows = [row for proxy in proxies for row in httpx.get(f"{proxy.admin_url}/states", timeout=60).json()["bulkheads"]]
        assert rows
        return [row for row in rows if row["running"] or row["waiting"]]

    asyncio.run(until(lambda: not held(), seconds=120, what="every slot is given back"))
