"""What tells that an engine serves while its line is full: what it writes, or, where it writes nothing, what it reads."""

from __future__ import annotations

from typing import Any

import pytest

from apps.agent.engines.protocol import Launch
from apps.agent.failures import Broken
from apps.agent.probe import Failed, Health
from apps.agent.watching import Pace, Vitals, Watch
from apps.contracts.fleet import HealthPolicy
from tests.agent.worker import spec


class Enough(Exception):
    """The test has seen what it wanted."""


class BusyEngine:
    """Computes without end, and has no place for a probe."""

    def __init__(self) -> None:
        self.read = 0

    async def metrics(self, timeout: float) -> str:
        self.read += 100
        return f"vllm:num_requests_running 64\nvllm:prompt_tokens_total {self.read}\nvllm:generation_tokens_total 0\n"

    async def generate(self, timeout: float, **asked: Any) -> Failed:
        return Failed("POST was answered 503: The engine's line is full.")

    async def health(self, timeout: float) -> Health:
        return Health.WELL


@pytest.mark.parametrize(("task", "ending"), [("embeddings", Enough), ("rerank", Enough), ("chat", Broken)])
async def test_an_engine_that_reads_is_not_ended_for_a_full_line(task: Any, ending: type[Exception]) -> None:
    order = spec(engine="onnx", tasks=[task], health=HealthPolicy(interval_seconds=0.005, failures=2, stall_seconds=60.0))
    vitals, looks = Vitals(), 0

    def seen() -> None:
        nonlocal looks
        looks += 1
        if looks > 10:
            raise Enough

    watch = Watch(BusyEngine(), lambda: order, Launch((), "m", vocabulary="vllm"), vitals, Pace(watch=0.02))  # type: ignore[arg-type]
    with pytest.raises(ending):
        await watch.keep(seen=seen, steady=lambda: None)
    assert (vitals.healthy_at_ms is not None) == (ending is Enough)
