"""The simulated engine: ``apps.simulator.engine`` in a process of its own. Its replicas are labelled as simulated in every answer."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from apps.agent.artifacts import Unfit
from apps.agent.engines.protocol import EngineSettings, Launch, Place, number_of
from apps.contracts.fleet import ReplicaSpec
from apps.contracts.fleet_facts import EngineKind, EngineOffer

NUMBERS = {
    "ttft_ms": float, "itl_ms": float, "load_seconds": float, "output_tokens": int, "kv_tokens": int, "max_running": int,
    "crash_after_tokens": int, "freeze_after_tokens": int, "seed": int,
}  # fmt: skip
FLAGS = ("broken",)
_ROOT = Path(__file__).resolve().parents[3]


class SimulatedEngine:
    """Arguments: the fields of ``EngineDocument``, and ``seed``; ``broken`` is a flag."""

    kind: EngineKind = "simulated"

    def offers(self, settings: EngineSettings) -> list[EngineOffer]:
        problem = "" if settings.simulated else "The worker's settings refuse simulated engines (BULKHEAD_AGENT_SIMULATED)."
        return [EngineOffer(engine="simulated", version="simulation", problem=problem, bearer=True)]

    def launch(self, spec: ReplicaSpec, place: Place, settings: EngineSettings) -> Launch:
        if not settings.simulated:
            raise Unfit("engine_missing", self.offers(settings)[0].problem)
        if spec.artifact.source != "none":
            raise Unfit("artifact_malformed", "A simulated engine loads no model: leave the artifact out.")
        model = spec.model or "simulated"
        document: dict[str, object] = {"model": model, "drain_seconds": place.drain_seconds}
        for name in sorted(spec.arguments):
            if name in FLAGS and spec.arguments[name] is None:
                document[name] = True
                continue
            value = number_of(spec.arguments, name) if name in NUMBERS else None
            if value is None:
                raise Unfit(
                    "argument_refused", f"A simulated engine takes no argument {name!r} so. It takes: {', '.join([*NUMBERS, *FLAGS])}."
                )
            document[name] = NUMBERS[name](value)
        if spec.max_waiting is not None:
            document["max_waiting"] = spec.max_waiting
        seed = document.pop("seed", 0)
        argv = (
            sys.executable, "-m", "apps.simulator", "--name", f"replica-{spec.replica[-12:]}", "--host", place.host,
            "--port", str(place.port), "--seed", str(seed), "--engine", json.dumps(document),
        )  # fmt: skip
        environment = {"PYTHONPATH": str(_ROOT)}
        if spec.bearer:
            environment["BULKHEAD_ENGINE_BEARER"] = spec.bearer
        return Launch(argv, model, environment, vocabulary="vllm", version="/version", finishes=True)
