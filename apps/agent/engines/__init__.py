"""The engines that an agent can run: one file each, none knows another. Whoever adds one names it here."""

from __future__ import annotations

from collections.abc import Mapping

from apps.agent.engines.built_in import BuiltInEngine
from apps.agent.engines.command import CommandEngine
from apps.agent.engines.onnx import OnnxEngine
from apps.agent.engines.protocol import Engine
from apps.agent.engines.simulated import SimulatedEngine
from apps.agent.engines.vllm import VllmEngine

ENGINES: Mapping[str, Engine] = {
    engine.kind: engine for engine in (SimulatedEngine(), CommandEngine(), VllmEngine(), BuiltInEngine(), OnnxEngine())
}
