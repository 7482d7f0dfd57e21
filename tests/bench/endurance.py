"""What a proxy adds to an answer's time at half load, what two thousand open streams cost it, and what it keeps of a million requests.

Used by ``python -m tests.bench``; all against a proxy that runs already. The load comes from this process: raw protocol objects on uvloop.
"""

from __future__ import annotations

import asyncio
import ctypes
import itertools
import os
import re
import statistics
import sys
import time
from pathlib import Path
from typing import Any

import uvloop

from tests.bench.http_layer import KEY

BODY = b'{"model":"bench","messages":[{"role":"user","content":"Say a few words about bulkheads in ships, please."}]%b}'
SLOW = b',"stream":true,"user":"slow"'


ROUNDS, MOST_ROUNDS, LOOK_S = 7, 40, 1.2
"""Rounds of three looks, directly, through a relay, through the proxy, of so many seconds each. Rounds are looked at until so many were
quiet, or at most so often."""
TAKEN = 0.002
"""A look is quiet where the machine's host took at most this share of its cores' time for others (``steal`` in proc(5)): a hundredth of the
answers is all that a 99th percentile is about. What a process waits for a core that is not there says nothing of the process; the
looks are chosen by this, never by what they say."""


def request(extra: bytes = b"") -> bytes:
    body = BODY % extra
    return (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer %b\r\ncontent-type: application/json\r\n"
        b"content-length: %d\r\n\r\n%b" % (KEY.encode(), len(body), body)
    )


def rss_mb(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1024


class _Caller(asyncio.Protocol):
    """One connection; notes how long each answer took, in seconds. An answer is one write of the server's."""

    def __init__(self, wire: bytes) -> None:
        self.wire = wire
        self.took: list[float] = []
        self.late = 0
        self.sent = 0.0

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def ask(self) -> None:
        if self.sent:
            self.late += 1  # the answer before is still on its way
        else:
            self.sent = time.perf_counter()
            self.transport.write(self.wire)

    def data_received(self, data: bytes) -> None:
        assert data.startswith(b"HTTP/1.1 200"), data[:300]
        self.took.append(time.perf_counter() - self.sent)
        self.sent = 0.0


class _Ticks:
    """A descriptor that is readable at a steady rate (timerfd_create(2)). An event loop's own timers are whole milliseconds: they would ask
    several times at once and then not at all, and each answer would wait for those before it."""

    def __init__(self, rate: float) -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        self.fd = libc.timerfd_create(time.CLOCK_MONOTONIC, os.O_NONBLOCK | os.O_CLOEXEC)
        period = (ctypes.c_long * 4)(0, int(1e9 / rate), 0, int(1e9 / rate))  # interval and first: seconds, nanoseconds each
        if self.fd < 0 or libc.timerfd_settime(self.fd, 0, ctypes.byref(period), None):
            raise OSError(ctypes.get_errno(), "timerfd")

    def taken(self) -> int:
        """How many came since."""
        return int.from_bytes(os.read(self.fd, 8), sys.byteorder)


async def _paced(port: int, rate: float, seconds: float, connections: int) -> tuple[list[float], int]:
    """One request after the other at a steady pace, on each connection in turn."""
    loop = asyncio.get_running_loop()
    callers = [(await loop.create_connection(lambda: _Caller(request()), "127.0.0.1", port))[1] for _ in range(connections)]
    turns = itertools.cycle(callers)
    await asyncio.sleep(0.2)
    ticks = _Ticks(rate)

    def due() -> None:
        for _ in range(ticks.taken()):
            next(turns).ask()

    loop.add_reader(ticks.fd, due)
    await asyncio.sleep(seconds)
    loop.remove_reader(ticks.fd)
    os.close(ticks.fd)
    await asyncio.sleep(0.2)
    for caller in callers:
        caller.transport.close()
    return sorted(t for caller in callers for t in caller.took), sum(caller.late for caller in callers)


def _taken() -> tuple[float, float]:
    """Seconds of all cores since boot: what the host took for others, and all of it. A machine of its own is never taken from."""
    ticks = [int(field) for field in Path("/proc/stat").read_text().split("\n", 1)[0].split()[1:9]]
    return ticks[7] / os.sysconf("SC_CLK_TCK"), sum(ticks) / os.sysconf("SC_CLK_TCK")


def half_load(proxy_port: int, relay_port: int, upstream_port: int, capacity: float, connections: int) -> None:
    """capacity: requests per second that the proxy was seen to answer at most.

    What a machine takes to wake a process that sleeps is in every answer that passes one, whatever the process does; a relay that looks at
    nothing shows how much that is here and now, and what the proxy adds beyond it is the proxy's.
    """
    rate = capacity / 2
    ports = {"directly": upstream_port, "through a bare relay": relay_port, "through the proxy": proxy_port}
    quiet: list[list[tuple[float, float]]] = []
    shares: list[float] = []
    for _ in range(MOST_ROUNDS):
        looks, worst, skipped = [], 0.0, 0
        for port in ports.values():
            taken, all_of_it = _taken()
            took, late = uvloop.run(_paced(port, rate, LOOK_S, connections))
            skipped += late  # not asked, because the answer before was still on its way: they would have waited
            taken, all_of_it = _taken()[0] - taken, _taken()[1] - all_of_it
            worst = max(worst, taken / all_of_it)
            looks.append((took[len(took) // 2] * 1000, took[int(len(took) * 0.99)] * 1000))
        shares.append(worst)
        words = "   ".join(f"{name} {p50:.3f} / {p99:.3f}" for name, (p50, p99) in zip(ports, looks, strict=True))
        print(
            f"{rate:.0f}/s, p50 / p99 in ms: {words}   ({skipped} skipped, host took {worst:.1%}{', not judged' if worst > TAKEN else ''})",
            flush=True,
        )
        if worst <= TAKEN:
            quiet.append(looks)
        if len(quiet) == ROUNDS:
            break
    if len(quiet) < 3:
        print(
            f"added at half load: not to be told here; the host took {statistics.median(shares):.1%} of the cores' time in the median round"
        )
        return
    for name, after, before in (
        ("a bare relay, over the upstream", 1, 0),
        ("the proxy, over the upstream", 2, 0),
        ("the proxy, over a bare relay", 2, 1),
    ):
        p50, p99 = (statistics.median(looks[after][at] - looks[before][at] for looks in quiet) for at in (0, 1))
        print(f"added at half load by {name}, median of {len(quiet)} quiet rounds of {len(shares)}: p50 {p50:.3f} ms   p99 {p99:.3f} ms")
    print("(hold: the proxy adds at most 0.3 and 2 ms over a bare relay)")


class _Stream(asyncio.Protocol):
    def __init__(self) -> None:
        self.begun = self.whole = False
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        transport.write(request(SLOW))

    def data_received(self, data: bytes) -> None:
        self.begun = True
        if data.endswith(b"0\r\n\r\n"):
            self.whole = True
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if not self.over.done():
            self.over.set_result(None)


async def _streams(pid: int, port: int, count: int) -> tuple[float, int, int]:
    loop = asyncio.get_running_loop()
    open_ones = []
    for _ in range(count):
        _, stream = await loop.create_connection(_Stream, "127.0.0.1", port)
        open_ones.append(stream)
    most, begun = 0.0, 0
    while not all(stream.over.done() for stream in open_ones):
        running = sum(stream.begun and not stream.over.done() for stream in open_ones)
        if running >= begun:
            begun = running
        most = max(most, rss_mb(pid))
        await asyncio.sleep(0.2)
    return most, begun, sum(stream.whole for stream in open_ones)


def many_streams(pid: int, port: int, count: int) -> None:
    before = rss_mb(pid)
    most, at_once, whole = uvloop.run(_streams(pid, port, count))
    print(f"{at_once} streams at once, {whole} of {count} whole: memory {before:.0f} -> at most {most:.0f} MB (hold: 300 MB with 2,000)")


async def _hammer(port: int, count: int, connections: int) -> None:
    loop = asyncio.get_running_loop()
    left = count

    class Hammer(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport = transport
            self.over: asyncio.Future[None] = loop.create_future()
            self.ask()

        def ask(self) -> None:
            nonlocal left
            if left <= 0:
                self.over.set_result(None)
                self.transport.close()
                return
            left -= 1
            self.transport.write(wire)

        def data_received(self, data: bytes) -> None:
            self.ask()

    wire = request()
    hammers = [(await loop.create_connection(Hammer, "127.0.0.1", port))[1] for _ in range(connections)]
    await asyncio.gather(*(hammer.over for hammer in hammers))


def growth(pid: int, port: int, count: int, connections: int) -> None:
    """Memory after ``count`` requests, beside what it was after the first tenth of them."""
    uvloop.run(_hammer(port, count // 10, connections))
    time.sleep(1)
    early = rss_mb(pid)
    uvloop.run(_hammer(port, count - count // 10, connections))
    time.sleep(1)
    late = rss_mb(pid)
    print(
        f"memory after {count // 10} and {count} requests: {early:.1f} and {late:.1f} MB, {late - early:+.1f} (hold: 10 MB over a million)"
    )
