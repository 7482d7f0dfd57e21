"""A provider answers 503 under load: its breaker opens, the fallback answers everybody, and traffic returns soon after it is well.

Writes what happened, second by second, as ``brownout.json`` and ``brownout.svg`` under the test's temporary path.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest

from apps.proxy.breaker import TRICKLE_SECONDS
from apps.simulator.harness import SimulatorServer
from tests.accept.conftest import FULL
from tests.accept.graph import Series, svg_lines
from tests.proxy.lab import KEY, both, keys, prices, providers, route
from tests.proxy.standalone import StandaloneProxy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

BEFORE, DOWN, AFTER = (5.0, 60.0, 10.0) if FULL else (1.0, 5.0, 7.0)
CALLERS = 8
RETURNS_SECONDS = 5.0
PACE_SECONDS = 0.02
BUCKET = 0.5


class Load:
    """What each answer was: (seconds since the start, status, target)."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.began = time.monotonic()
        self.answers: list[tuple[float, int, str]] = []
        self.stop = asyncio.Event()

    def now(self) -> float:
        return time.monotonic() - self.began

    async def caller(self, number: int) -> None:
        body = {"model": "brownout", "stream": number % 2 == 0, "messages": [{"role": "user", "content": "x"}], "max_tokens": 5}
        headers = {"authorization": f"Bearer {KEY}"}
        async with httpx.AsyncClient(base_url=self.url, headers=headers, timeout=30, trust_env=False) as client:
            while not self.stop.is_set():
                answer = await client.post("/v1/chat/completions", json=body)
                whole = not body["stream"] or answer.text.endswith("data: [DONE]\n\n")
                target = answer.headers.get("x-bulkhead-target", "").split("/")[0]
                self.answers.append((self.now(), answer.status_code if whole else 0, target))
                await asyncio.sleep(PACE_SECONDS)


LATE = pytest.mark.skipif(
    not FULL, reason="live tests of breakers show it in small; it takes a longer outage to be seen whole: make accept"
)
WHOLE = pytest.param("everything", id="everything", marks=LATE)
PARTLY = pytest.param("completions", id="completions", marks=LATE)
"""What is down: the provider, or its completions only, while its list of models (the free probe) says that all is well."""


@pytest.mark.parametrize("what", [WHOLE, PARTLY])
def test_a_brownout_is_not_seen(tmp_path: Path, what: str) -> None:
    routes = [route("brownout", both("brownout"))]
    with SimulatorServer("sim-east", process=True) as east, SimulatorServer("sim-west", process=True) as west:
        config = [*providers(east.base_url, west.base_url), *keys(), *prices(routes), *routes]
        with StandaloneProxy(config, tmp_path) as proxy:
            story = asyncio.run(_play(proxy, east, what))
            states = httpx.get(f"{proxy.admin_url}/states", timeout=60).json()
    (tmp_path / "brownout.json").write_text(json.dumps(story, indent=1))
    marks = {"down": story["down_at"], "well": story["well_at"]}
    (tmp_path / "brownout.svg").write_text(svg_lines("A provider answers 503", _series(story), marks=marks, unit="answers/s"))
    print(f"artefact: {tmp_path}/brownout.svg", {name: value for name, value in story.items() if name != "answers"})
    assert story["statuses"] == {"200": len(story["answers"])}, "every request was answered, and whole"
    during = sum(story["down_at"] < at < story["well_at"] for at, _, _ in story["answers"])
    assert during > 100
    handful = 4 * CALLERS + (DOWN / TRICKLE_SECONDS if what == "completions" else 0)
    assert story["seen_while_down"] <= handful, f"of {during} requests the provider saw a handful"
    assert story["returned_after"] is not None and story["returned_after"] <= RETURNS_SECONDS
    assert all(not row["running"] for row in states["bulkheads"])


async def _play(proxy: StandaloneProxy, east: SimulatorServer, what: str) -> dict[str, Any]:
    ill: dict[str, Any] = {"down": 503} if what == "everything" else {"models": {"brownout": {"faults": ["503x1000000"]}}}
    well: dict[str, Any] = {"down": 0} if what == "everything" else {"models": {"brownout": {"faults": []}}}
    load = Load(proxy.url)
    callers = [asyncio.create_task(load.caller(number)) for number in range(CALLERS)]
    await asyncio.sleep(BEFORE)
    await asyncio.to_thread(lambda: east.control(**ill))
    down_at, seen = load.now(), (await asyncio.to_thread(east.bill, seen=False))["error"]
    await asyncio.sleep(DOWN)
    seen_while_down = (await asyncio.to_thread(east.bill, seen=False))["error"] - seen
    await asyncio.to_thread(lambda: east.control(**well))
    well_at = load.now()
    await asyncio.sleep(AFTER)
    load.stop.set()
    await asyncio.gather(*callers)
    back = next((at for at, status, target in load.answers if at > well_at and status == 200 and target == "east"), None)
    return {
        "down_at": down_at,
        "well_at": well_at,
        "returned_after": None if back is None else back - well_at,
        "seen_while_down": seen_while_down,
        "statuses": {str(status): count for status, count in Counter(status for _, status, _ in load.answers).items()},
        "answers": load.answers,
    }


def _series(story: dict[str, Any]) -> list[Series]:
    answers = story["answers"]
    end = max(at for at, _, _ in answers)
    found = []
    for name, wanted in (("east, ill for a while", "east"), ("west, the fallback", "west")):
        counts = Counter(int(at / BUCKET) for at, _, target in answers if target == wanted)
        found.append(Series(name, [(bucket * BUCKET, counts[bucket] / BUCKET) for bucket in range(int(end / BUCKET))]))
    return found
