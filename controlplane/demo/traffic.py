"""The demo's own light traffic: about one request every three seconds, through the real proxy, to the simulated providers.

``python -m controlplane.demo.traffic``, one process beside the others, without a database. It sends only with the demo's key and only to
the demo's routes; it rests while it is switched off, and for good once the demo is removed. Every request says that it is
an example (tag ``demo-traffic``). What it sends varies in feature, user, size and streaming; some leave early, a few fail on purpose.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from apps.usage.choices import EXAMPLE_TAG
from controlplane.demo.simulators import GOOD_DAYS, NAMES, SimulatorAway, simulator_scenario, simulator_set
from controlplane.demo.state import demo_state

log = logging.getLogger("controlplane.demo.traffic")

EVERY_SECONDS = 3.0
"""Between two requests, on average."""
REST_SECONDS = 2.0
LOOK_SECONDS = 20.0
"""Between two looks at whether the simulators behave as on a good day: one that was restarted has forgotten."""
REFUSED_SECONDS = 30.0
CHAT_ROUTE, EMBED_ROUTE = "demo-chat", "demo-embed"
FEATURES = (("support-chat", 46, 0.9), ("search-answers", 22, 0.6), ("summaries", 10, 0.0), ("search-index", 16, 0.0), ("", 6, 0.3))
"""Feature, weight, and how many of its requests stream. ``search-index`` asks for embeddings."""
QUESTIONS = (
    "Where is my parcel?",
    "How do I change the address of an order?",
    "Which plan fits a team of twelve?",
    "Summarise this week's tickets.",
    "Why was I charged twice?",
    "Draft an answer to this complaint.",
    "What changed in the last release?",
    "Find the clause about notice.",
)
LEAVES_EARLY = 0.02
FAILS_ON_PURPOSE = 0.01


class Call:
    """One request to send: ``path``, ``body``, ``headers``; ``leaves``: hang up in the middle of the stream."""

    def __init__(self, rng: random.Random, *, calm: bool = False) -> None:
        """calm: without failures on purpose, so that what a broken provider does can be seen alone."""
        feature, _, streams = rng.choices(FEATURES, [weight for _, weight, _ in FEATURES])[0]
        text = " ".join(rng.choices(QUESTIONS, k=1 + int(rng.expovariate(0.35))))
        self.headers = {"x-bulkhead-tags": EXAMPLE_TAG}
        if feature:
            self.headers["x-bulkhead-feature"] = feature
        self.leaves = False
        if feature == "search-index":
            self.path, self.body = "/v1/embeddings", {"model": EMBED_ROUTE, "input": text}
            return
        self.path = "/v1/chat/completions"
        self.body: dict[str, Any] = {
            "model": CHAT_ROUTE,
            "messages": [{"role": "user", "content": text}],
            "max_tokens": rng.choice((64, 160, 320)),
            "user": f"user-{rng.randrange(60):03d}",
        }
        if rng.random() < streams:
            self.body |= {"stream": True, "stream_options": {"include_usage": True}}
            self.leaves = rng.random() < LEAVES_EARLY
        if rng.random() < FAILS_ON_PURPOSE and not calm:
            self.body["bulkhead_sim"] = {"fault": "400"}  # understood by simulators alone: refused as a mistake of the app's
            # A fault that makes every target fail would paint sim-west red on a good day: it is asked for little else.


async def send(client: httpx.AsyncClient, call: Call) -> int:
    """Send one request and read its answer; the status, 0 where none came."""
    try:
        async with client.stream("POST", call.path, json=call.body, headers=call.headers) as answer:
            async for _ in answer.aiter_raw():
                if call.leaves:
                    break
            return answer.status_code
    except httpx.HTTPError:
        return 0


def demo_key(data_dir: Path) -> str:
    """The demo's token, empty where there is none (any more)."""
    try:
        return (data_dir / "secrets" / "demo_key").read_text().strip()
    except OSError:
        return ""


def simulators_tend() -> None:
    """Give a simulator that has just started the behaviour of a good day; one that was broken on purpose stays so."""
    for name in NAMES:
        with suppress(SimulatorAway):
            if not simulator_scenario(name).get("server"):
                simulator_set(name, GOOD_DAYS[name])


async def run(data_dir: Path, proxy_url: str, *, stop: asyncio.Event, rng: random.Random, every: float = EVERY_SECONDS) -> None:
    """Send until ``stop``; nothing more once the demo is removed."""
    tended = -LOOK_SECONDS
    waiting: set[asyncio.Task[int]] = set()
    said = [0]

    def ended(task: asyncio.Task[int]) -> None:
        waiting.discard(task)
        said[0] = 0 if task.cancelled() else task.result()

    limits = httpx.Limits(max_connections=16)
    async with httpx.AsyncClient(base_url=proxy_url, timeout=30.0, limits=limits, trust_env=False) as client:
        while not stop.is_set():
            state = demo_state(data_dir)
            if state.removed:
                log.info("the demo is removed: nothing more is sent")
                await stop.wait()  # the launcher ends this process
                break
            pause = REST_SECONDS
            if state.traffic and (token := demo_key(data_dir)):
                if time.monotonic() - tended >= LOOK_SECONDS:
                    await asyncio.to_thread(simulators_tend)
                    tended = time.monotonic()
                client.headers["authorization"] = f"Bearer {token}"
                task = asyncio.create_task(send(client, Call(rng, calm=state.broken_at > state.undone_at)))
                waiting.add(task)
                task.add_done_callback(ended)
                pause = rng.uniform(0.3, 1.7) * every
                if said[0] in (401, 403):
                    pause = REFUSED_SECONDS  # the key was revoked: ask again now and then, it may be replaced
            with suppress(TimeoutError):
                await asyncio.wait_for(stop.wait(), pause)
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)


def proxy_address(environ: Mapping[str, str]) -> str:
    """Where the proxies of this machine listen."""
    host = environ.get("BULKHEAD_PROXY_HOST") or "127.0.0.1"
    return f"http://{ {'0.0.0.0': '127.0.0.1', '::': '[::1]'}.get(host, host) }:{environ.get('BULKHEAD_PROXY_PORT') or '8080'}"


async def main() -> None:
    stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    await run(Path(os.environ["BULKHEAD_DATA_DIR"]), proxy_address(os.environ), stop=stop, rng=random.Random())


if __name__ == "__main__":
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    logging.getLogger("httpx").setLevel("WARNING")
    asyncio.run(main())
