"""A scale decision does not wait for the rhythm of heartbeats: what moved is told early, and no more often than was agreed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from apps.accounts.models import Organisation
from apps.agent.load import broke, load_moved
from apps.agent.watching import Pace
from apps.audit.actors import Actor
from apps.contracts.early import Early, moved
from apps.contracts.fleet import EARLY_SECONDS
from apps.contracts.fleet_facts import EngineMetrics, GpuFacts
from apps.fleet import heartbeats
from apps.fleet.agents.batch import CALM, LONGEST, RATE_SECONDS, Rate, early_seconds
from apps.fleet.autoscaling import Kept, fleet_scale
from apps.fleet.models import Deployment, Replica, ScaleDecision
from tests.fleet.stage import Stage, stage, token_made
from tests.scale import FULL

PACE = Pace(grace=5.0, orphan=600.0)
"""As agents have it, but for the end."""


@pytest.mark.parametrize(
    ("before", "now", "least", "said"),
    [
        (None, None, 2, False),
        (5, None, 2, False),
        (None, 1, 2, False),
        (None, 2, 2, True),
        (0, 2, 2, True),
        (4, 5, 2, False),
        (3, 5, 2, True),
        (100, 110, 2, False),
        (100, 140, 2, True),
        (140, 100, 2, True),
        (0.5, 0.55, 0.1, False),
        (0.5, 0.7, 0.1, True),
    ],
)
def test_what_moved(before: float | None, now: float | None, least: float, said: bool) -> None:
    assert moved(before, now, least) is said


def test_two_at_once_then_one_a_pause() -> None:
    early = Early(2.0, 100.0)
    assert [early.take(100.0 + at) for at in (0, 0, 0, 1.9, 2.0, 2.1, 4.1, 60, 60, 60)] == [
        True, True, False, False, True, False, True, True, True, False,
    ]  # fmt: skip
    early.seconds = 10.0
    assert [early.take(160.0 + at) for at in (2, 9, 11)] == [False, False, True], "a longer pause holds from now on"


def test_an_engines_load_and_a_card_that_breaks() -> None:
    def of(**figures: Any) -> dict[str, EngineMetrics | None]:
        return {"a": EngineMetrics(at_ms=1, **figures)}

    assert not load_moved({}, of(waiting=9)), "a replica that was not told yet is told with its state"
    assert not load_moved(of(waiting=9), {"a": None}), "what is unknown tells nothing"
    assert load_moved({"a": None}, of(waiting=9))
    assert not load_moved(of(running=1, output_tokens=5), of(running=200, output_tokens=9_000)), "no signal"
    assert load_moved(of(kv_used=0.2), of(kv_used=0.9)) and load_moved(of(ttft_p95=0.2), of(ttft_p95=3.0))
    card = GpuFacts(uuid="GPU-1", index=0, name="L4", xids=[])
    assert broke([card], [GpuFacts(uuid="GPU-1", index=0, name="L4", xids=[79])])
    assert not broke([card], [GpuFacts(uuid="GPU-1", index=0, name="L4", xids=[], power=300.0, utilisation=1.0)])


def test_where_too_many_come_early_they_are_asked_to_come_less_often() -> None:
    rate = Rate()
    assert [rate.add(25, at / 4) for at in range(41)][-1] == pytest.approx(25 * 41 / RATE_SECONDS)
    assert rate.add(0, 1_000.0) == 0.0
    assert early_seconds(CALM) == EARLY_SECONDS and early_seconds(CALM * 1.5) > 5 * EARLY_SECONDS and early_seconds(1e6) == LONGEST
    balanced = next(each for each in range(100, 600) if 1_000 / early_seconds(each) <= each)
    assert balanced < 165, "a thousand workers whose load always moves come to so many a second"


@pytest.mark.kill
@pytest.mark.parametrize("signal", ["waiting", "kv", "ttft"] if FULL else ["waiting"])  # what of each counts is looked at above
def test_a_decision_follows_an_engines_load_long_before_the_next_heartbeat(
    signal: str,
    demo: Organisation,
    actor: Actor,
    deploy: Callable[..., Deployment],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Heartbeats come every minute here: a decision within the test's patience can only come by an early one."""
    monkeypatch.setattr(heartbeats, "HEARTBEAT_SECONDS", 60.0)
    engine, policy = {
        "waiting": ({"max_running": "1", "itl_ms": "500", "output_tokens": "100"}, {"waiting_each": 2}),
        "kv": ({"kv_tokens": "1000", "itl_ms": "500", "output_tokens": "100"}, {"kv_target": 0.2, "waiting_each": 0}),
        "ttft": ({"max_running": "1", "ttft_ms": "300", "output_tokens": "2"}, {"ttft_target": 0.5, "waiting_each": 0, "kv_target": 0}),
    }[signal]
    token = token_made(demo, actor)
    deploy(most=4, scaling=policy, scaling_mode="on", arguments=engine)
    keeper = Kept()

    def look() -> None:
        fleet_scale(keeper, send=lambda event: None)

    async def load(s: Stage, replica: Replica) -> None:
        body = {"model": "sim-chat", "messages": [{"role": "user", "content": "word " * 60}], "stream": True}
        await s.client.post(f"{replica.url}/v1/chat/completions", json=body, headers=s.headers(replica))

    async def play() -> tuple[float, int]:
        async with stage(tmp_path, token, pace=PACE) as s:
            replica = await s.until(lambda: Replica.objects.filter(state="ready").first())
            await s.until(lambda: s.agent.replicas[str(replica.pk)].metrics, each=look)
            beats, began = s.agent._sequence, time.monotonic()
            calls = [asyncio.create_task(load(s, replica)) for _ in range(8)]
            await s.until(lambda: ScaleDecision.objects.exists(), looks=900, each=look)
            spent = time.monotonic() - began
            for call in calls:
                call.cancel()
            await asyncio.gather(*calls, return_exceptions=True)
            return spent, s.agent._sequence - beats

    spent, beats = async_to_sync(play)()
    kept = ScaleDecision.objects.get()
    assert kept.before == 1 and kept.after > 1 and signal in [one["name"] for one in kept.facts["signals"] if one["need"] > 1]
    with capsys.disabled():
        print(f"\n  {signal}: decided {spent:.2f} s after the load came, by heartbeat {beats} since then ({kept.reason})")
