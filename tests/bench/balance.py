"""The balancer: what a decision costs, and how much of a real trace's prompts it sends to where they were read before.

    python -m tests.bench.balance [--trace FILE] [--replicas 8] [--cache 40000] [--prefill 8000] [--itl 20] [--bound 1.25] [--only trace]

Decisions are timed one by one with the proxy's own classes: pick, take and give, and what the blocks of a body cost. The trace is
Mooncake's conversation trace (one hour, 512 tokens a block). Its replicas are **simulated**: each keeps the last ``--cache`` blocks it
read (0: all), reads ``--prefill`` tokens a second that are not among them, one prompt after another, and then writes a token each ``--itl``
milliseconds. The balancer is told what a proxy knows: the prompt's length, what it believes to be cached, and the mean of past answers'
lengths.

hits: blocks found in the replica's cache, of all blocks. imbalance: tokens that had to be read or written at the busiest replica, over the
mean of all.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
import statistics
import sys
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from time import perf_counter_ns
from typing import NamedTuple

from apps.proxy.fleet.balance import Balancer, Seat
from apps.proxy.fleet.prefixes import blocks_of

TRACE = Path(__file__).resolve().parents[3] / "shared/material/traces/mooncake/conversation_trace.jsonl"
BLOCK_TOKENS = 512


class Ask(NamedTuple):
    """at: seconds since the beginning; read, write: tokens."""

    at: float
    read: int
    write: int
    blocks: list[int]


def asks_of(path: Path) -> list[Ask]:
    with path.open() as file:
        rows = [json.loads(line) for line in file if line.strip()]
    return [Ask(row["timestamp"] / 1000, row["input_length"], row["output_length"], row["hash_ids"]) for row in rows]


class Engine:
    """A simulated replica. room: blocks it keeps, 0: all."""

    def __init__(self, room: int, prefill: float, itl: float) -> None:
        self._room = room
        self._prefill = prefill
        self._itl = itl
        self._kept: OrderedDict[int, None] = OrderedDict()
        self._free_at = 0.0
        self.work = 0
        self.hits = 0

    def run(self, ask: Ask) -> tuple[float, float]:
        """(seconds to its first token, when it ends)."""
        kept = self._kept
        hits = 0
        for block in ask.blocks:
            if block not in kept:
                break
            hits += 1
        for block in ask.blocks:
            kept[block] = None
            kept.move_to_end(block)
        if self._room:
            while len(kept) > self._room:
                kept.popitem(last=False)
        self.hits += hits
        fresh = max(0, ask.read - hits * BLOCK_TOKENS)
        self.work += fresh + ask.write
        self._free_at = max(self._free_at, ask.at) + fresh / self._prefill
        return self._free_at - ask.at, self._free_at + ask.write * self._itl


class Result(NamedTuple):
    hits: float
    imbalance: float
    requests: float
    p50: float
    p95: float


def replay(asks: list[Ask], options: argparse.Namespace, policy: str) -> Result:
    fleet = Balancer(
        bound=options.bound, worth=options.worth, blocks=max(2, (options.cache or 200_000) * options.replicas), random=random.Random(1)
    )
    seats = [Seat(f"replica-{number}") for number in range(options.replicas)]
    fleet.settle(seats)
    engines = {seat.id: Engine(options.cache, options.prefill, options.itl / 1000) for seat in seats}
    counts = dict.fromkeys(engines, 0)
    running: list[tuple[float, int, Seat, int]] = []
    mean_write, waits, turn = 300.0, [], 0
    for number, ask in enumerate(asks):
        while running and running[0][0] <= ask.at:
            _, ended, seat, tokens = heapq.heappop(running)
            fleet.give(seat, tokens)
            mean_write += 0.01 * (asks[ended].write - mean_write)
        tokens = ask.read + int(mean_write)
        blocks: list[int] = []
        if policy == "round robin":
            seat, turn = seats[turn % len(seats)], turn + 1
        else:
            blocks = ask.blocks if policy == "prefix affinity" else []
            picked = fleet.pick(tokens, blocks)
            assert picked is not None
            seat = picked.seat
            tokens = max(int(mean_write), tokens - picked.matched * BLOCK_TOKENS)
        fleet.take(seat, tokens, blocks)
        wait, ends = engines[seat.id].run(ask)
        counts[seat.id] += 1
        waits.append(wait)
        heapq.heappush(running, (ends, number, seat, tokens))
    total = sum(len(ask.blocks) for ask in asks)
    work = [engine.work for engine in engines.values()]
    quantiles = statistics.quantiles(waits, n=100)
    return Result(
        sum(engine.hits for engine in engines.values()) / total,
        max(work) / statistics.mean(work),
        max(counts.values()) / statistics.mean(counts.values()),
        quantiles[49],
        quantiles[94],
    )


def upper_bound(asks: list[Ask]) -> float:
    """Of all blocks, those that an endless cache shared by all would have."""
    seen: set[int] = set()
    hits = 0
    for ask in asks:
        hits += sum(block in seen for block in ask.blocks)
        seen.update(ask.blocks)
    return hits / sum(len(ask.blocks) for ask in asks)


def decisions(count: int, blocks: int, *, session: bool = False, rounds: int = 20_000) -> tuple[float, float]:
    """(median, 99th percentile) microseconds of pick + take + give among ``count`` replicas."""
    fleet = Balancer(random=random.Random(1))
    fleet.settle([Seat(f"replica-{number}") for number in range(count)])
    chosen = random.Random(2)
    chains = [[chosen.getrandbits(32) for _ in range(blocks)] for _ in range(500)]
    held: list[tuple[Seat, int]] = []
    times = []
    for number in range(rounds):
        chain = chains[chosen.randrange(500)]
        named = b"session %d" % (number % 997) if session else b""
        began = perf_counter_ns()
        picked = fleet.pick(1_000, chain, named)
        assert picked is not None
        fleet.take(picked.seat, 1_000, chain)
        times.append(perf_counter_ns() - began)
        held.append((picked.seat, 1_000))
        if len(held) > 200:
            seat, tokens = held.pop(0)
            began = perf_counter_ns()
            fleet.give(seat, tokens)
            times[-1] += perf_counter_ns() - began
    return _two(times)


def hashing(size: int) -> tuple[float, float]:
    body = b'{"model":"m","messages":[{"role":"user","content":"' + b"x" * size + b'"}]}'
    times = []
    for _ in range(5_000):
        began = perf_counter_ns()
        blocks_of(body)
        times.append(perf_counter_ns() - began)
    return _two(times)


def _two(times: list[int]) -> tuple[float, float]:
    times.sort()
    return times[len(times) // 2] / 1000, times[len(times) * 99 // 100] / 1000


def _rows() -> Iterator[tuple[str, tuple[float, float]]]:
    for count in (2, 8, 16, 64, 256):
        yield f"{count} replicas, by load", decisions(count, 0)
        yield f"{count} replicas, 16 blocks", decisions(count, 16)
        yield f"{count} replicas, session", decisions(count, 0, session=True)
    for size in (500, 4_000, 16_000, 200_000):
        yield f"blocks of a body of {size:,} bytes", hashing(size)


def main() -> int:
    parser = argparse.ArgumentParser(description="Decisions of the balancer, and prefix hits on a trace.")
    parser.add_argument("--trace", type=Path, default=TRACE)
    parser.add_argument("--replicas", type=int, default=8)
    parser.add_argument("--cache", type=int, default=40_000, help="blocks that a replica keeps; 0: all")
    parser.add_argument("--prefill", type=float, default=8_000, help="tokens a second that a replica reads")
    parser.add_argument("--itl", type=float, default=20, help="milliseconds between the tokens it writes")
    parser.add_argument("--bound", type=float, default=1.25)
    parser.add_argument("--worth", type=float, default=0.25)
    parser.add_argument("--only", choices=("decisions", "trace"))
    options = parser.parse_args()
    if options.only != "trace":
        print(f"{'one decision (pick, take, give)':44}{'p50 us':>10}{'p99 us':>10}")
        for name, (p50, p99) in _rows():
            print(f"{name:44}{p50:10.1f}{p99:10.1f}")
    if options.only == "decisions":
        return 0
    if not options.trace.is_file():
        print(f"no trace at {options.trace}: give one with --trace", file=sys.stderr)
        return 2
    asks = asks_of(options.trace)
    cache = f"{options.cache:,} blocks" if options.cache else "endless"
    print(
        f"\n{len(asks):,} requests, {options.replicas} simulated replicas, cache of each: {cache}, {options.prefill:,.0f} tokens/s read, "
        f"{options.itl:g} ms a token; upper bound of hits: {upper_bound(asks):.1%}"
    )
    print(f"{'policy':20}{'hits':>8}{'imbalance':>12}{'of requests':>13}{'TTFT p50 s':>12}{'TTFT p95 s':>12}")
    for policy in ("round robin", "least outstanding", "prefix affinity"):
        found = replay(asks, options, policy)
        print(f"{policy:20}{found.hits:8.1%}{found.imbalance:12.3f}{found.requests:13.3f}{found.p50:12.2f}{found.p95:12.2f}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
